// rope in vectors. neox: the two members of a pair stand in two vectors, so a rotation is four multiplications.
// norm: both members stand in one vector x, and the rotation is x * (c0 c0 c1 c1 ..) + swap(x) * (-s0 s0 -s1 s1 ..)
// with swap exchanging neighbours. The two coefficient vectors are made once per token and used by all heads.
#pragma once
#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

struct RopeRow {
  const float *x, *cosine, *sine;
  float* out;
  int64_t cols, head_dim, half;
};

/// Pairs [i, half) that do not fill a vector, and the columns that are not rotated.
inline void rope_rest(const RopeRow& r, int64_t i, int64_t stride, int64_t distance) {
  for (int64_t h = 0; h < r.cols; h += r.head_dim) {
    for (int64_t k = i; k < r.half; ++k) {
      const int64_t first = h + k * stride, second = first + distance;
      const float a = r.x[first], b = r.x[second];
      r.out[first] = a * r.cosine[k] - b * r.sine[k];
      r.out[second] = a * r.sine[k] + b * r.cosine[k];
    }
    for (int64_t k = 2 * r.half; k < r.head_dim; ++k) r.out[h + k] = r.x[h + k];
  }
}

template <class B>
void rope_neox(const RopeRow& r) {
  int64_t i = 0;
  for (; i + kLanes<B> <= r.half; i += kLanes<B>) {
    const B c = B::load_unaligned(r.cosine + i), s = B::load_unaligned(r.sine + i);
    for (int64_t h = i; h < r.cols; h += r.head_dim) {
      const B a = B::load_unaligned(r.x + h), b = B::load_unaligned(r.x + h + r.half);
      (a * c - b * s).store_unaligned(r.out + h);
      (a * s + b * c).store_unaligned(r.out + h + r.half);
    }
  }
  rope_rest(r, i, 1, r.half);
}

template <class B>
void rope_norm(const RopeRow& r) {
  constexpr int64_t w = kLanes<B>;
  int64_t i = 0;
  for (; i + w / 2 <= r.half; i += w / 2) {
    alignas(64) float c[B::size], s[B::size];
    for (int64_t k = 0; k < w / 2; ++k) {
      c[2 * k] = c[2 * k + 1] = r.cosine[i + k];
      s[2 * k] = -r.sine[i + k];
      s[2 * k + 1] = r.sine[i + k];
    }
    const B cc = B::load_aligned(c), ss = B::load_aligned(s);
    for (int64_t h = 2 * i; h < r.cols; h += r.head_dim) {
      const B x = B::load_unaligned(r.x + h);
      (x * cc + Instructions<B>::swap_neighbours(x) * ss).store_unaligned(r.out + h);
    }
  }
  rope_rest(r, i, 2, 1);
}

template <class B>
void rope_row(RopePairing pairing, const RopeRow& row) {
  if (pairing == RopePairing::norm)
    rope_norm<B>(row);
  else
    rope_neox<B>(row);
}

template <class B>
void rope(const Problem& p, const Call& call) {
  const TensorView &x = call.in[0], &table = call.in[1], &out = call.out[0];
  const Rope& op = rope_of(p);
  const int64_t cols = x.desc.cols(), half = table.desc.cols() / 2;
  for_each_rows(call.pool, x.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const float* cosine = table.row<float>(t);
      rope_row<B>(op.pairing, {x.row<float>(t), cosine, cosine + half, out.row<float>(t), cols, op.head_dim, half});
    }
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
