// kv_write in vectors: the conversion to binary16 is one instruction per vector (F16C, AVX-512F) instead of the dozen
// integer operations of core/half.h; it rounds to nearest even like them. bfloat16 is the integer rounding of
// core/half.h, which compilers turn into vectors by themselves. Blocks are coded by quant/encode.h's rule, bit for bit:
// the same operations in the same order (no contraction), with minimum and maximum taken lane by lane.
#pragma once
#include <cstring>

#include "backends/cpu/simd_batch.h"
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"
#include "core/half.h"
#include "quant/encode.h"

namespace kerf::cpu {
inline namespace KERF_ISA {

template <class B>
inline void round_to_half(const float* x, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes<B> <= n; i += kLanes<B>) Instructions<B>::store_halves(B::load_unaligned(x + i), out + i);
  for (; i < n; ++i) out[i] = float_to_half(x[i]);
}

/// quant::extent_of in vectors. Equal magnitudes of both signs: which came first decides, so the block is read in order.
template <class B>
inline quant::Extent extent_of(const float* x) {
  B least = B::load_unaligned(x), greatest = least, zeros = least * B(0.f);
  for (int i = static_cast<int>(kLanes<B>); i < 32; i += static_cast<int>(kLanes<B>)) {
    const B v = B::load_unaligned(x + i);
    least = xsimd::min(least, v);
    greatest = xsimd::max(greatest, v);
    zeros = zeros + v * B(0.f);  // NaN once a value is not finite
  }
  alignas(64) float low[B::size], high[B::size], zero[B::size];
  least.store_aligned(low);
  greatest.store_aligned(high);
  zeros.store_aligned(zero);
  quant::Extent e{low[0], high[0], 0, true};
  for (size_t i = 0; i < B::size; ++i) {
    e.least = low[i] < e.least ? low[i] : e.least;
    e.greatest = high[i] > e.greatest ? high[i] : e.greatest;
    e.finite &= zero[i] == 0;
  }
  if (!e.finite) return e;
  e.extreme = e.greatest > -e.least ? e.greatest : e.least;
  if (e.greatest == -e.least) {
    int first = 0;
    while (first < 31 && std::fabs(x[first]) != e.greatest) ++first;
    e.extreme = e.greatest == 0 ? 0 : x[first];
  }
  return e;
}

/// quant::encode_block with the codes made in vectors.
template <class F, class B>
inline void encode_block(const float* x, typename F::Block& block) {
  const quant::Step s = quant::step_for<F>(extent_of<B>(x));
  alignas(64) int32_t codes[32] = {};
  for (int i = 0; s.finite && i < 32; i += static_cast<int>(kLanes<B>)) {
    B t = (B::load_unaligned(x + i) - B(s.shift)) * B(s.inverse);
    if constexpr (std::is_same_v<F, quant::Q8_0>)
      t = xsimd::round(t);
    else
      t = xsimd::min(t + B(F::kHasMin ? 0.5f : static_cast<float>(F::kOffset) + 0.5f), B(static_cast<float>(quant::kMaxCode<F>)));
    xsimd::to_int(t).store_aligned(codes + i);
  }
  quant::put_codes<F>(codes, block);
  quant::put_step<F>(s, block);
}

/// n values as one row of a cache type.
template <class B>
inline void write_row(const float* x, DType to, std::byte* out, int64_t n) {
  auto* halves = reinterpret_cast<uint16_t*>(out);
  if (to == DType::f32) {
    std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
  } else if (to == DType::f16) {
    round_to_half<B>(x, halves, n);
  } else if (to == DType::bf16) {
    for (int64_t i = 0; i < n; ++i) halves[i] = float_to_bf16(x[i]);
  } else {
    quant::CacheBlocks::visit(to, [&]<class F>(F) {
      auto* blocks = reinterpret_cast<typename F::Block*>(out);
      for (int64_t b = 0; b < n / 32; ++b) encode_block<F, B>(x + 32 * b, blocks[b]);
    });
  }
}

template <class B>
void kv_write(const Problem&, const Call& call) {
  const TensorView &x = call.in[1], &state = call.out[0];
  const auto* position = call.in[2].as<int32_t>();
  const int64_t heads = state.desc.shape[1], context = state.desc.shape[2], head_dim = state.desc.shape[3];
  for_each_rows(call.pool, x.desc.rows(), x.desc.cols(), [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < heads; ++h)
        write_row<B>(x.row<float>(t) + h * head_dim, state.desc.dtype, state.row<std::byte>(h * context + position[t]), head_dim);
  });
}

}  // namespace KERF_ISA
}  // namespace kerf::cpu
