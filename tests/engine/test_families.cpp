// Models with experts and with Gated DeltaNet, tiny and random: what whole sessions must not depend on. Whether the numbers
// are right is a matter of the golden models.
#include <fmt/format.h>

#include "tests/catch.h"
#include "tests/engine/golden.h"
#include "tests/loaders/temp_dir.h"
#include "tests/loaders/tiny_family.h"

using namespace kerf;
using namespace kerf::test;

namespace {

const std::vector<int32_t> kTokens{7, 0, 299, 12, 250, 31, 31, 8, 77, 150, 3};

class Families {
 public:
  std::string path(const std::string& family, void (*change)(GgufWriter&) = nullptr) {
    GgufWriter w = tiny_family(family);
    if (change) change(w);
    return dir_.write(fmt::format("{}.gguf", n_++), w.bytes());  // a name of its own: other sessions may have theirs mapped
  }

 private:
  TempDir dir_;
  int n_ = 0;
};

SessionOptions tiny(const std::string& path) {
  auto o = options(path, "reference");
  o.context = 64;
  o.micro_batch = o.max_outputs = 16;
  return o;
}

}  // namespace

TEST_CASE("a prompt in pieces, and again from the start, gives the same logits") {
  Families files;
  for (const auto& family : tiny_families()) {
    INFO(family);
    Session session(tiny(files.path(family)), kernels());
    const auto whole = logits(session, kTokens);
    CHECK(same_bits(logits(session, kTokens), whole));
    // The reference keeps a batch's state in double and rounds it to f32 between batches.
    for (const int64_t chunk : {1, 3, 7}) CHECK(nmse(logits(session, kTokens, chunk), whole) <= 1e-12);
  }
}

TEST_CASE("weights that are put together are the same bits, mapped, read and on another device") {
  Families files;
  const std::vector<std::pair<std::string, void (*)(GgufWriter&)>> dialects{
      {"mixtral", split_experts}, {"qwen35moe", to_ollama}, {"qwen3next", fuse_ssm_in}, {"qwen35moe", merge_gate_up}, {"qwen35", add_nextn}};
  for (const auto& [family, dialect] : dialects) {
    INFO(family);
    Session standard(tiny(files.path(family)), kernels());
    const auto want = logits(standard, kTokens);
    for (const auto access : {gguf::Access::mmap, gguf::Access::read})
      for (const int64_t layers : {0, 3}) {
        auto o = tiny(files.path(family, dialect));
        o.file.access = access;
        o.devices = {"pretend:0=64MiB"};
        o.gpu_layers = layers;
        Session session(o, kernels());
        CHECK(session.warnings().size() == (dialect == merge_gate_up ? 0u : 1u));
        const auto got = logits(session, kTokens);
        CHECK(nmse(got, want) <= 1e-12);
        // With gate and up in one tensor both are rounded before silu(gate) * up, which one step computes in double else.
        CHECK(same_bits(got, want) == (dialect != merge_gate_up));
      }
  }
}
