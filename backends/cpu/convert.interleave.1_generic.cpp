// convert interleave.1_generic: word by word, as quant/interleaved.h defines the layout; tiles over the pool.
#include "backends/cpu/convert.h"
#include "backends/cpu/simd_rung.h"
#include "quant/interleaved.h"

namespace kerf::cpu {
void convert_interleave_1_generic(Registry::Adder);
namespace {

template <class F>
void interleave_tile(const InterleaveArgs& a, int64_t tile) {
  using R = quant::Interleaved<F>;
  const int64_t first = tile * quant::kTileRows;
  const auto* from = reinterpret_cast<const typename F::Block*>(a.rows) + first * a.blocks;
  std::byte* to = a.tiles + tile * R::tile_bytes(a.blocks);
  for (int r = 0; r < quant::kTileRows; ++r)
    for (int64_t b = 0; b < a.blocks; ++b) R::put(first + r < a.N ? from[r * a.blocks + b] : typename F::Block{}, to, a.blocks, b, r);
}

void run(const Problem&, const Call& call) {
  quant::AffineFormats::visit(call.in[0].desc.dtype, [&]<class F>(F) { run_interleave(call, interleave_tile<F>); });
}

}  // namespace

void convert_interleave_1_generic(Registry::Adder registry) {
  add_rung(registry, {.op = Convert::name,
                      .variant = "interleave.1_generic",
                      .note = "sixteen rows of weights interleaved word by word, tiles over the pool",
                      .preference = 1,
                      .accepts = accepts_interleave,
                      .run = run});
}

}  // namespace kerf::cpu
