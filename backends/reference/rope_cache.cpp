// rope_cache: q rotated; k rotated and written; v written. The rotated k is rounded to f32 in between, as rope leaves it.
#include <vector>

#include "backends/reference/definitions.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const Rope& rope = std::get<RopeCache>(p.op).rope;
  rotate(rope, call.in[0], call.in[3], call.out[0]);
  std::vector<float> memory(static_cast<size_t>(p.in[1].size()));
  const TensorView k{p.in[1], memory.data()};
  rotate(rope, call.in[1], call.in[3], k);
  write_rows(call.out[1], k, call.in[6]);
  write_rows(call.out[2], call.in[2], call.in[6]);
}

}  // namespace

void rope_cache(Registry::Adder registry) {
  registry.add({.op = RopeCache::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
