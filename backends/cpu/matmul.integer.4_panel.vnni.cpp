// <type>.4_panel: for batches of tokens. Sixteen rows of weights are unpacked once per segment and transposed, so that a
// lane is a row: vpdpbusd then adds four products for each of sixteen outputs, the group sums need no shuffles, and one
// broadcast activation serves sixteen rows. 4 dot instructions and 3-4 for scaling per 16 rows x 16 values x token.
// The panel (24 KB) stays in L1 while all tokens pass, eight at a time in registers.
// Additions happen in the order of <type>.3_vnni: group g of all strips goes to accumulator g, then the same tree.
#include "backends/cpu/panel_unpack.h"

namespace kerf::cpu {
void matmul_integer_4_panel_vnni(Registry::Adder);
namespace {

constexpr int kRows = kPanelLanes, kStrips = kSegment / kStrip;

/// Indexed by group, then strip: the order in which the multiplication walks.
struct Panel {
  alignas(64) uint8_t code[16][kStrips][4][64];  // [quad of 4 values][row * 4 + value]
  alignas(64) float scale[16][kStrips][kRows], min[16][kStrips][kRows];
};

/// Hides from the optimizer how a number came about. GCC would otherwise give each of the 24 addresses of the inner loop
/// an induction variable of its own, too many for the registers, and spend a quarter of the time on setting them up.
template <class V>
void opaque(V& v) {
  __asm__("" : "+r"(v));
}

template <class V>
V read(const std::byte* p, int64_t offset) {
  V v;
  std::memcpy(&v, p + offset, sizeof v);
  return v;
}

/// Where the segment's part of an activation row begins: bytes from the row's start to its three planes.
struct Offsets {
  int64_t q, d, sum;
};

/// The segment's share of sixteen outputs of T tokens, whose activation rows are x[t].
template <class F, int T>
void multiply(const Panel& panel, int groups_of_last, int strips, const std::byte* const (&x)[T], Offsets at, __m512 (&out)[T]) {
  __m512 partial[5][T];
  for (int i = 0; i < 16; ++i) {
    const int g = (i & 1) << 3 | (i & 2) << 1 | (i & 4) >> 1 | (i & 8) >> 3;  // bits reversed: neighbours in i are 8 apart
    const int n = g < groups_of_last ? strips : strips - 1;
    __m512 acc[T];
    for (int t = 0; t < T; ++t) acc[t] = _mm512_setzero_ps();
    for (int s = 0; s < n; ++s) {
      const int64_t group = 16 * s + g;
      int64_t q = at.q + 16 * group, d = at.d + 4 * group, sum = at.sum + 4 * group;
      opaque(q), opaque(d), opaque(sum);
      __m512i dot[T];
      for (int t = 0; t < T; ++t) dot[t] = _mm512_setzero_si512();
      for (int quad = 0; quad < 4; ++quad) {
        const __m512i code = _mm512_load_si512(panel.code[g][s][quad]);
        for (int t = 0; t < T; ++t) dot[t] = _mm512_dpbusd_epi32(dot[t], code, _mm512_set1_epi32(read<int>(x[t], q + 4 * quad)));
      }
      const __m512 scale = _mm512_load_ps(panel.scale[g][s]);
      for (int t = 0; t < T; ++t) {
        __m512 v = _mm512_cvtepi32_ps(dot[t]);
        if constexpr (F::kOffset != 0) v = _mm512_fnmadd_ps(_mm512_set1_ps(F::kOffset), _mm512_set1_ps(read<float>(x[t], sum)), v);
        v = _mm512_mul_ps(scale, v);
        if constexpr (F::kHasMin) v = _mm512_fnmadd_ps(_mm512_load_ps(panel.min[g][s]), _mm512_set1_ps(read<float>(x[t], sum)), v);
        acc[t] = _mm512_fmadd_ps(_mm512_set1_ps(read<float>(x[t], d)), v, acc[t]);
      }
    }
    // A binary counter of partial sums: i ends a pair, a pair of pairs, ... for each trailing one bit.
    int level = 0;
    for (; i >> level & 1; ++level)
      for (int t = 0; t < T; ++t) acc[t] = _mm512_add_ps(partial[level][t], acc[t]);
    for (int t = 0; t < T; ++t) partial[level][t] = acc[t];
  }
  for (int t = 0; t < T; ++t) out[t] = partial[4][t];
}

template <class F, int T>
void multiply_tokens(const MatMulArgs& a, const Panel& panel, int64_t n, int64_t begin, int64_t t0) {
  const int64_t values = a.K - begin < kSegment ? a.K - begin : kSegment;
  const int strips = static_cast<int>((values + kStrip - 1) / kStrip), last = static_cast<int>((values - (strips - 1) * kStrip) / 16);
  const std::byte* x[T];
  for (int t = 0; t < T; ++t) {
    x[t] = activations(a, t0 + t);
    opaque(x[t]);
  }
  const int64_t d = a.K + 4 * (begin / 16);
  __m512 out[T];
  multiply<F, T>(panel, last, strips, x, {.q = begin, .d = d, .sum = d + 4 * (a.K / 16)}, out);
  const __mmask16 rows = a.N - n >= kRows ? __mmask16(0xFFFF) : static_cast<__mmask16>((1u << (a.N - n)) - 1);
  for (int t = 0; t < T; ++t) {
    float* y = a.y + (t0 + t) * a.N + n;
    const __m512 before = begin > 0 ? _mm512_maskz_loadu_ps(rows, y) : _mm512_setzero_ps();
    _mm512_mask_storeu_ps(y, rows, _mm512_add_ps(before, out[t]));
  }
}

/// Sixteen rows, one segment, tokens [t0, t1).
template <class F>
void panel_segment(const MatMulArgs& a, Panel& panel, int64_t n, int64_t begin, int64_t t0, int64_t t1, int64_t next) {
  const typename F::Block* row[kRows];
  panel_rows_of<F>(a, n, row);
  for (int s = 0; s < kStrips && begin + s * kStrip < a.K; ++s)
    unpack_panel_strip<F>(
        row, begin / kStrip + s, a.K, next, [&](int g, int quad, __m512i code) { _mm512_store_si512(panel.code[g][s][quad], code); },
        [&](int g, __m512 scale) { _mm512_store_ps(panel.scale[g][s], scale); }, [&](int g, __m512 min) { _mm512_store_ps(panel.min[g][s], min); });
  int64_t t = t0;
  for (; t + 8 <= t1; t += 8) multiply_tokens<F, 8>(a, panel, n, begin, t);
  for (; t + 2 <= t1; t += 2) multiply_tokens<F, 2>(a, panel, n, begin, t);
  if (t < t1) multiply_tokens<F, 1>(a, panel, n, begin, t);
}

/// A segment of so many tokens (0.4 MB) stays in an L2 cache while all rows of the range pass, and the pages of those tokens
/// and of their outputs within reach of the TLB: with 512 tokens K = 8960 ran 13 % slower.
constexpr int64_t kBlockTokens = 256;

template <class F>
void panel_rows(const MatMulArgs& a, int64_t first, int64_t last) {
  Panel panel;
  for (int64_t t = 0; t < a.T; t += kBlockTokens)
    for (int64_t begin = 0; begin < a.K; begin += kSegment)
      for (int64_t n = first; n < last; n += kRows) {
        const int64_t next = n + kRows < last ? kRows * a.w_bytes : (first - n) * a.w_bytes + row_bytes(F::dtype, kSegment);
        panel_segment<F>(a, panel, n, begin, t, t + kBlockTokens < a.T ? t + kBlockTokens : a.T, next);
      }
}

template <class F>
void run(const Problem&, const Call& call) {
  run_rows(call, kRows, panel_rows<F>);
}

}  // namespace

void matmul_integer_4_panel_vnni(Registry::Adder registry) {
  quant::AffineFormats::for_each([&]<class F>(F) {
    add_panel_rung(registry, F::dtype,
                   {.step = "4_panel",
                    .improves = "3_vnni",
                    .note = "sixteen rows transposed into lanes: unpacked once for all tokens, no shuffles in the inner loop",
                    .preference = 40,
                    .isa = Isa::vnni},
                   run<F>);
  });
}

}  // namespace kerf::cpu
