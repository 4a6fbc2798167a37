// A kernel to step through with a debugger (step.gdb): compiled without optimisation in every build.
#include <cstdio>
#include <numeric>
#include <vector>

#include "backends/gpu/gpu.h"
#include "core/threadpool.h"

namespace kerf::KERF_GPU_NS {
namespace {

struct AverageArgs {
  const float* x;  // [blocks, 64]
  float* y;        // [blocks]
};
/// The mean of each block's 64 values.
KERF_GLOBAL(64) average(AverageArgs a) {
  KERF_SHARED(float, part, [64 / kLanes]);
  const float mine = a.x[block_x() * 64 + thread_x()];
  const float sum = block_sum<64>(mine, part);
  if (thread_x() == 0) a.y[block_x()] = sum / 64;
}

int run() {
  std::vector<float> x(4 * 64), y(4);
  std::iota(x.begin(), x.end(), 0.f);
  simt::Queue queue({});
  ThreadPool pool(1);
  launch({.pool = pool, .queue = &queue}, {.kernel = "average", .blocks = {4}, .threads = 64}, average, AverageArgs{x.data(), y.data()});
  for (const float mean : y) std::printf("%g\n", static_cast<double>(mean));
  return 0;
}

}  // namespace
}  // namespace kerf::KERF_GPU_NS

int main() { return kerf::KERF_GPU_NS::run(); }
