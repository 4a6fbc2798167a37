// Reading a key/value cache in any of its formats. A format is looked up once per tile of keys, around the loop over them, so kernels
// are compiled once for all pairs of formats.
#pragma once
#include "attention/spec.h"
#include "backends/gpu/kernels/memory.h"
#include "quant/formats.h"

namespace kerf::KERF_GPU_NS {

/// One head's keys or values, or with `head` those of all heads: [n_kv, n_ctx] rows.
struct CacheRows {
  const std::byte* data;
  DType dtype;
  int64_t row_bytes, n_ctx;

  KERF_DEVICE CacheRows head(int kv) const { return {data + kv * n_ctx * row_bytes, dtype, row_bytes, n_ctx}; }
  KERF_DEVICE const std::byte* row(int64_t s) const { return data + s * row_bytes; }
};

/// f(format) for the format of `type`.
template <class Fn>
KERF_DEVICE void with_format(DType type, Fn&& f) {
  switch (type) {
    case DType::f32:
      return f(quant::F32{});
    case DType::f16:
      return f(quant::F16{});
    case DType::bf16:
      return f(quant::BF16{});
    case DType::q8_0:
      return f(quant::Q8_0{});
    case DType::q5_1:
      return f(quant::Q5_1{});
    case DType::q5_0:
      return f(quant::Q5_0{});
    case DType::q4_1:
      return f(quant::Q4_1{});
    default:
      return f(quant::Q4_0{});
  }
}

template <class F>
KERF_DEVICE float value_at(const std::byte* row, int i) {
  constexpr int n = info(F::dtype).block_values;
  return F::at(reinterpret_cast<const typename F::Block*>(row)[i / n], i % n);
}

/// Eight values of memory at a multiple of 16 bytes.
KERF_DEVICE void load8(const float* at, float (&x)[8]) {
  const auto* quads = reinterpret_cast<const Floats4*>(at);
  const Floats4 low = quads[0], high = quads[1];
  KERF_UNROLL
  for (int i = 0; i < 4; ++i) x[i] = low.v[i], x[4 + i] = high.v[i];
}

/// Four bytes of a block, whose size says what they are a multiple of.
template <class Block>
KERF_DEVICE uint32_t word_of(const void* at) {
  if constexpr (sizeof(Block) % 4 == 0)
    return load<uint32_t>(at);
  else
    return four(at);
}

/// Values j to j + 7 of a block, j a multiple of 8: their codes are eight bytes, or one half of each of eight.
template <class F>
KERF_DEVICE void load8(const typename F::Block& b, int j, float (&x)[8]) {
  constexpr bool whole_bytes = F::dtype == DType::q8_0, five_bits = F::dtype == DType::q5_0 || F::dtype == DType::q5_1;
  const float d = from_half(b.d);
  int high = 0;
  if constexpr (five_bits) high = b.qh[j / 8];
  KERF_UNROLL
  for (int half = 0; half < 2; ++half) {
    const uint32_t w = word_of<typename F::Block>(b.qs + (whole_bytes ? j : j % 16) + 4 * half);
    KERF_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32_t byte = w >> 8 * i & 0xFF;
      int code = static_cast<int8_t>(byte);
      if constexpr (!whole_bytes) code = static_cast<int>(byte >> (j < 16 ? 0 : 4) & 15) - F::kOffset;
      if constexpr (five_bits) code += (high >> (4 * half + i) & 1) << 4;
      x[4 * half + i] = d * static_cast<float>(code);
      if constexpr (F::kHasMin) x[4 * half + i] += from_half(b.m);
    }
  }
}

/// Values d to d + 7 of a row, d a multiple of 8, and so is the row's length.
template <class F>
KERF_DEVICE void load8(const std::byte* row, int d, float (&x)[8]) {
  if constexpr (F::dtype == DType::f32) {
    load8(reinterpret_cast<const float*>(row) + d, x);
  } else if constexpr (F::dtype == DType::f16 || F::dtype == DType::bf16) {
    const Words4 words = reinterpret_cast<const Words4*>(row)[d / 8];
    KERF_UNROLL
    for (int i = 0; i < 8; ++i) {
      const auto bits = static_cast<uint16_t>(words.w[i / 2] >> i % 2 * 16);
      x[i] = F::dtype == DType::f16 ? from_half(bits) : bf16_to_float(bits);
    }
  } else {
    load8<F>(reinterpret_cast<const typename F::Block*>(row)[d / 32], d % 32, x);
  }
}

/// What all attention kernels are given.
struct AttentionArgs {
  const float* q;            // [T, n_head * hd]
  const int32_t* positions;  // [T]
  float* out;                // as q
  CacheRows k, v;
  int T, n_head, group, hd;  // group: query heads of a key/value head
  int window;
  float scale;

  KERF_DEVICE attention::Range keys(int64_t t) const { return attention::visible_keys(positions[t], window); }
  KERF_DEVICE int64_t at(int64_t t, int head) const { return (t * n_head + head) * hd; }  // of q and out
};

inline CacheRows rows_of(const TensorView& state) {
  return {.data = state.as<const std::byte>(), .dtype = state.desc.dtype, .row_bytes = state.desc.row_bytes(), .n_ctx = state.desc.shape[2]};
}
inline AttentionArgs attention_args(const Problem& p, const Call& call) {
  const auto& op = std::get<Attention>(p.op);
  return {.q = call.in[0].as<const float>(),
          .positions = call.in[3].as<const int32_t>(),
          .out = call.out[0].as<float>(),
          .k = rows_of(call.in[1]),
          .v = rows_of(call.in[2]),
          .T = static_cast<int>(p.in[0].rows()),
          .n_head = op.n_head,
          .group = op.n_head / static_cast<int>(p.in[1].shape[1]),
          .hd = static_cast<int>(p.in[1].cols()),
          .window = op.window,
          .scale = op.scale};
}

// The online softmax of attention/online_softmax.h with powers of two: scores carry the factor log2(e).
constexpr float kLog2e = 1.44269504f, kNothing = -__builtin_huge_valf();

/// The weight of a score next to a largest of `max`; 0 of a score that is masked, and of those before the first key.
KERF_DEVICE float weight_of(float score, float max) { return score == kNothing ? 0.f : exp2f(score - max); }

}  // namespace kerf::KERF_GPU_NS
