// What happened when: every step of every pass, as it was measured, and the forms it is shown in.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/executor.h"
#include "core/threadpool.h"

namespace kerf {

/// All times are nanoseconds since the trace began.
struct Trace {
  /// What a step of a plan is, whenever it runs.
  struct StepInfo {
    std::string name{}, op{}, device{}, kernel{};  // of a copy: the value, "copy", "FROM -> TO", ""
  };
  struct PlanInfo {
    PlanShape shape{};
    std::vector<StepInfo> steps{};
  };
  struct Step {
    size_t index = 0;  // in the plan
    int64_t begin = 0, ns = 0;
    int64_t idle = 0;              // of all threads together: workers without work, and the caller waiting for them
    int64_t bytes = 0, flops = 0;  // core/cost.h
  };
  /// One run of a plan.
  struct Pass {
    size_t plan = 0;
    int64_t depth = 0;  // positions in the cache before it
    std::vector<Step> steps{};
    int64_t observer = 0;  // time the trace itself took, between steps
  };
  struct Phase {
    std::string name{};  // "prefill", "decode"
    int64_t tokens = 0;
    int64_t ns = 0;  // of all calls of forward(), less what the trace took
    std::vector<Pass> passes{};
  };
  struct Span {
    int thread = 0;
    int64_t begin = 0, ns = 0, indices = 0, stolen = 0;
    std::string name{};  // of the step
  };

  int threads = 1;
  std::vector<PlanInfo> plans{};
  std::vector<Phase> phases{};
  std::vector<Span> spans{};  // which thread worked when
};

/// Sums over steps that have something in common.
struct TraceGroup {
  Trace::StepInfo what{};  // parts that differ within the group are empty
  int64_t calls = 0, ns = 0, idle = 0, bytes = 0, flops = 0;
};
enum class TraceRows { kernels, nodes, steps, ops };
/// Kernels, nodes of all layers together ("blk.*.attn_q") and ops: longest first; steps: in the order of the plan.
std::vector<TraceGroup> group(const Trace& trace, const Trace::Phase& phase, TraceRows rows);

/// Where the time of a phase went; the four add up to it.
struct TraceTotals {
  int64_t steps = 0;    // in kernels and copies
  int64_t between = 0;  // from the end of a step to the begin of the next of its pass
  int64_t around = 0;   // before the first and after the last step of a pass: inputs, logits
  int64_t idle = 0;     // of all threads inside steps; not a part of the sum
  int64_t bytes = 0, flops = 0;
};
TraceTotals totals(const Trace::Phase& phase);

/// The figures of each phase per pass: for people.
std::string trace_table(const Trace& trace, TraceRows rows);
/// One JSON document, schema 1: every step of every pass, and the sums.
std::string trace_json(const Trace& trace, const std::string& command, const std::string& model);
/// Trace Event Format (Google, 2016), for chrome://tracing and Perfetto: a row per device and a row per thread.
std::string trace_chrome(const Trace& trace, const std::string& command);

}  // namespace kerf
