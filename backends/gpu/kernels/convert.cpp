// From f32 to f16, bf16, and q8_g16, the activations of integer products (quant/q8_g16.h defines its roundings).
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 256;

struct ConvertArgs {
  const float* x;
  void* y;
  int64_t rows, cols;
};

template <DType to>
KERF_GLOBAL(kThreads)
round_values(ConvertArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i < a.rows * a.cols) static_cast<uint16_t*>(a.y)[i] = to == DType::f16 ? to_half(a.x[i]) : float_to_bf16(a.x[i]);
}

/// Of the sixteen lanes around this one.
KERF_DEVICE float largest_of_group(float x) {
  for (unsigned bits = 8; bits > 0; bits /= 2) x = larger(x, shfl_xor(x, bits));
  return x;
}
KERF_DEVICE int sum_of_group(int x) {
  for (unsigned bits = 8; bits > 0; bits /= 2) x += shfl_xor(x, bits);
  return x;
}

/// A lane per value; a row is a whole number of warps.
KERF_GLOBAL(kThreads) encode_q8_g16(ConvertArgs a) {
  const int64_t i = static_cast<int64_t>(block_x()) * kThreads + thread_x();
  if (i >= a.rows * a.cols) return;
  const float x = a.x[i], size = fabsf(x);
  const bool finite = largest_of_group(size <= 0x1.fffffep127f ? 0.f : 1.f) == 0;
  const float largest = largest_of_group(size);  // by all lanes, also where one of two groups is not finite
  const float d = finite ? largest / 127 : std::bit_cast<float>(0x7FC00000u);
  const float ratio = d > 0 ? x / d : 0;
  const float code = rintf(ratio < -127 ? -127 : ratio > 127 ? 127 : ratio);
  const int q = static_cast<int>(code), sum = sum_of_group(q);
  const int64_t row = i / a.cols, column = i % a.cols;
  auto* codes = static_cast<int8_t*>(a.y) + row * (a.cols + a.cols / 2);
  codes[column] = static_cast<int8_t>(q);
  if (column % 16 != 0) return;
  auto* scales = reinterpret_cast<float*>(codes + a.cols);
  scales[column / 16] = d;
  scales[(a.cols + column) / 16] = static_cast<float>(sum);
}

void run(const Problem& p, const Call& call) {
  const TensorView& x = call.in[0];
  const ConvertArgs a{.x = x.as<const float>(), .y = call.out[0].data, .rows = x.desc.rows(), .cols = x.desc.cols()};
  const DType to = p.out[0].dtype;
  const unsigned blocks = blocks_for(a.rows * a.cols, kThreads);
  if (to == DType::q8_g16)
    launch(call, {.kernel = "encode_q8_g16", .blocks = {blocks}, .threads = kThreads}, encode_q8_g16, a);
  else
    launch(call, {.kernel = "round_values", .blocks = {blocks}, .threads = kThreads},
           to == DType::f16 ? round_values<DType::f16> : round_values<DType::bf16>, a);
}

Support fits(const Problem& p) {
  const DType to = p.out[0].dtype;
  if (p.in[0].dtype != DType::f32) return {"reads f32"};
  return require(to == DType::f16 || to == DType::bf16 || to == DType::q8_g16, "writes f16, bf16 and q8_g16");
}

}  // namespace

void convert(Registry::Adder registry) {
  registry.add({.op = Convert::name,
                .variant = "1_value",
                .note = "a thread per value; groups of sixteen meet in shuffles",
                .preference = 1,
                .accepts = fits,
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
