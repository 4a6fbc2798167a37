// convert q15_t16.1_generic: the definition of the format (quant/q15_t16.h), group by group.
#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "quant/q15_t16.h"

namespace kerf::cpu {
void convert_q15_t16_1_generic(Registry::Adder);
namespace {

using quant::Q15_T16;

void encode_group(const float* x, int64_t stride, int rows, int64_t n, std::byte* tiles, float* steps) {
  Q15_T16::Code codes[Q15_T16::kGroup];
  for (int t = 0; t < 16; ++t) {
    const float step = t < rows ? Q15_T16::encode_group(x + t * stride, n, codes) : 0;
    for (int64_t k = 0; k < n; ++k) {
      std::byte* at = tiles + Q15_T16::code_at(t, k, 0);
      at[0] = t < rows ? static_cast<std::byte>(codes[k].hi) : std::byte{};
      at[Q15_T16::kTileBytes] = t < rows ? static_cast<std::byte>(codes[k].lo) : std::byte{};
    }
    for (int64_t block = 0; block < n / Q15_T16::kCols; ++block) steps[block * 16 + t] = step;
  }
}

void run(const Problem&, const Call& call) { run_encode_groups(call, encode_group); }

}  // namespace

void convert_q15_t16_1_generic(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "q15_t16.1_generic",
                      .note = "the definition of the format, sixteen rows of a group at a time over the threads",
                      .preference = 1,
                      .accepts = accepts_encode_groups,
                      .run = run});
}

}  // namespace kerf::cpu
