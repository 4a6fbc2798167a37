// argmax, shared by the rungs: a row is searched in pieces of a fixed length, so that threads share even a single row, and the
// pieces' findings are compared in their order. Neither can change the answer: it is the lowest id among the largest, wherever cut.
#pragma once
#include <cstdint>

#include "backends/cpu/simd_loop.h"
#include "core/kernel.h"

namespace kerf::cpu {

/// The largest of a piece and its place; or ~place, below 0, of its first value that is not finite.
struct Found {
  float value = 0;
  int32_t id = 0;
};

/// Values of a piece. 64 KiB take a microsecond in vectors, about what it costs to wake a thread, and twelve plainly: ten pieces of a
/// vocabulary are few enough for the first and many enough to share.
constexpr int64_t kArgmaxPiece = 16384;

inline namespace KERF_ISA {

inline int64_t argmax_pieces(int64_t V) { return (V + kArgmaxPiece - 1) / kArgmaxPiece; }

/// One value after the other from x[first] on, given the best before it.
inline Found argmax_plainly(const float* x, int64_t first, int64_t end, Found best) {
  for (int64_t i = first; i < end; ++i) {
    if (!(x[i] - x[i] == 0)) return {x[i], ~static_cast<int32_t>(i)};
    if (x[i] > best.value) best = {x[i], static_cast<int32_t>(i)};
  }
  return best;
}

/// search(x, n) -> Found of x[0] .. x[n-1], n >= 1.
template <class Search>
void argmax_rows(const Call& call, const Search& search) {
  const TensorView& logits = call.in[0];
  const int64_t T = logits.desc.rows(), V = logits.desc.cols(), pieces = argmax_pieces(V);
  auto* found = reinterpret_cast<Found*>(call.scratch.data());  // [T, pieces]
  for_each_rows(call.pool, T * pieces, V < kArgmaxPiece ? V : kArgmaxPiece, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % pieces * kArgmaxPiece, n = V - first < kArgmaxPiece ? V - first : kArgmaxPiece;
      Found f = search(logits.row<const float>(i / pieces) + first, n);
      f.id = static_cast<int32_t>(f.id < 0 ? f.id - first : f.id + first);  // ~(id + first) = ~id - first
      found[i] = f;
    }
  });
  for (int64_t t = 0; t < T; ++t) {
    Found best = found[t * pieces];
    for (int64_t i = t * pieces + 1; i < (t + 1) * pieces && best.id >= 0; ++i)
      if (found[i].id < 0 || found[i].value > best.value) best = found[i];
    *call.out[0].row<int32_t>(t) = best.id;
  }
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
