// add in vectors: three memory streams and one addition, so the vector width only matters while the rows are in cache.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "core/kernel.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
void add(const Problem&, const Call& call) {
  const TensorView &a = call.in[0], &b = call.in[1], &out = call.out[0];
  const int64_t cols = a.desc.cols(), step = b.desc.rows() == 1 ? 0 : 1;
  for_each_rows(call.pool, a.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      map<B>(
          out.row<float>(t), cols, [](const B& x, const B& y) { return x + y; }, a.row<float>(t), b.row<float>(t * step));
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
