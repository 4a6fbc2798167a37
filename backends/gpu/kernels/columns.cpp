// columns: columns first .. first+count-1 of every group, one group after the other.
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 256;

struct ColumnsArgs {
  const float* x;  // [groups, group]
  float* y;        // [groups, count]
  unsigned n, group, first, count;
};

KERF_GLOBAL(kThreads) copy_columns(ColumnsArgs a) {
  const unsigned i = block_x() * kThreads + thread_x();
  if (i >= a.n) return;
  a.y[i] = a.x[static_cast<int64_t>(i / a.count) * a.group + a.first + i % a.count];
}

void run(const Problem& p, const Call& call) {
  const auto& c = std::get<Columns>(p.op);
  const ColumnsArgs args{.x = call.in[0].as<const float>(),
                         .y = call.out[0].as<float>(),
                         .n = static_cast<unsigned>(call.out[0].desc.size()),
                         .group = static_cast<unsigned>(c.group),
                         .first = static_cast<unsigned>(c.first),
                         .count = static_cast<unsigned>(c.count)};
  launch(call, {.kernel = "copy_columns", .blocks = {blocks_for(args.n, kThreads)}, .threads = kThreads}, copy_columns, args);
}

}  // namespace

void columns(Registry::Adder registry) {
  registry.add({.op = Columns::name,
                .variant = "1_thread",
                .note = "a thread per value; indices of 32 bits, whose division takes a quarter of the instructions that 64 bits would",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.in[0].size() < (int64_t{1} << 31), "x has 2^31 values or more"); },
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
