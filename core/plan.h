// What runs where, in which order, and which bytes move: derived from a graph and a placement for one batch shape, or read
// back from its own text. A device boundary is a Copy step and a change of format a Convert step; nothing else moves or
// re-codes a byte.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/graph.h"
#include "core/kernel.h"
#include "core/placement.h"

namespace kerf {

/// One set of bytes: a value, on a device, in a format. A value that was copied or converted has several.
struct Place {
  Value value{};
  DeviceId device{};
  TensorDesc desc{};
  bool in_arena = false;       // else it lives at its home: a weight, a state, an input on the host
  int64_t offset = 0;          // in the device's arena
  size_t first = 0, last = 0;  // steps that write it first and read it last
};

struct RunStep {
  size_t node = 0;
  DeviceId device{};
  std::string kernel{};
  Problem problem{};
  std::vector<size_t> in{}, out{};  // places
  int64_t scratch = 0;
};
struct CopyStep {
  size_t from = 0, to = 0;  // places
  int64_t bytes = 0;
};
struct ConvertStep {
  size_t from = 0, to = 0;
  DeviceId device{};
  std::string kernel{};
  Problem problem{};
  int64_t scratch = 0;
};
using Step = std::variant<RunStep, CopyStep, ConvertStep>;

/// Exact bytes a plan needs on one device, as the executor allocates them.
struct DeviceMemory {
  int64_t weights = 0;  // the host uses them where the file is mapped; one tensor under two names counts once
  int64_t state = 0;
  int64_t arena = 0;  // computed values and scratch
  int64_t total() const { return weights + state + arena; }
};

/// What a pass hands to the host for each row of logits: the row, or the id of its largest value (Argmax), 4 bytes.
enum class PassResult : uint8_t { logits, greedy_ids };
std::string_view name_of(PassResult result);

struct PlanShape {
  int64_t tokens = 1;   // in the micro-batch
  int64_t outputs = 1;  // rows of logits
  int64_t context = 0;  // positions the KV state holds
  PassResult result = PassResult::logits;
  bool operator==(const PlanShape&) const = default;
};

struct Plan {
  PlanShape shape{};
  Placement placement{};
  std::vector<Place> places{};
  std::vector<Step> steps{};
  std::vector<size_t> outputs{};          // places on the host, one per graph output
  std::map<DeviceId, int64_t> arena{};    // bytes of computed values, by device
  std::map<DeviceId, int64_t> scratch{};  // behind the arena
  std::map<DeviceId, DeviceMemory> memory{};

  /// Where the plan runs a node of its graph.
  DeviceId device_of(const Node& node, const Graph& graph) const;
  int64_t boundary_bytes() const;
  int64_t boundary_copies() const;
};

/// Decides for each weight that only products read (experts' only if the policy says so) whether it is stored interleaved (core/dtype.h) at its home:
/// yes if the kernel that then runs its node is preferred to the one that reads the file's layout. `graph` is that of one token.
void prepare(Placement& placement, const Graph& graph, const Registry& registry, const KernelPolicy& policy);

/// Plans `graph` over the devices of `placement`. Rules of where a node runs, in this order: where its state lives; where its
/// largest weight lives; where the fewest bytes must move to, on a tie where the next weight waits.
/// @throws Error(usage) if no kernel fits a node, with every candidate and its reason.
Plan make_plan(const Graph& graph, Placement placement, PlanShape shape, const Registry& registry, const KernelPolicy& policy);

/// One fact a line, stable order: meant for reading and for diff.
std::string to_text(const Plan& plan, const Graph& graph);

/// A plan file may hold several plans (one per batch shape) over one placement.
struct PlanFile {
  Placement placement{};
  struct Line {
    uint64_t offset = 0;
    int number = 0;
    std::vector<std::string> words{};
  };
  struct Section {
    PlanShape shape{};
    std::vector<Line> steps{};
    /// Whether a step runs the node of this name, or a fused one that it is a part of.
    bool runs(std::string_view node) const;
  };
  std::vector<Section> sections{};
  std::string path{};
};
/// @throws FileError naming line, expected and found.
PlanFile parse_plan_file(std::string_view text, const std::string& path);
/// @throws FileError if a weight or state of the graph has no home in the file, or another shape there.
void check_homes(const PlanFile& file, const Graph& graph);
/// The steps of one section, checked against the graph: every input is on the step's device when it is needed, every
/// kernel exists, is allowed and accepts its problem. @throws FileError
Plan plan_from_section(const PlanFile& file, const PlanFile::Section& section, const Graph& graph, const Registry& registry,
                       const KernelPolicy& policy);

/// @throws Error(memory) with the numbers of each device whose limit is below what the plans need together
/// (weights and state once, the largest arena).
void check_fits(const std::vector<const Plan*>& plans, const std::vector<const Device*>& devices);

/// Every candidate kernel for `node` on a device and why it was or was not taken.
std::string explain(const Graph& graph, const Node& node, const DeviceId& device, const Registry& registry, const KernelPolicy& policy,
                    const Placement& placement);

}  // namespace kerf
