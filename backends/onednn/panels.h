// Y = X W^T by oneDNN's matmul, panel by panel over the pool, with operands in f32 or bf16 and sums in f32.
//
// Weights whose type is the operands' are read where they lie. Others are decoded, `depth` columns of `rows` rows at a time,
// into the scratch of a slot; from the second piece of columns on the product is added to Y. Slot i computes the panels
// i, i + slots, ...: by the problem alone, so that the number of threads changes nothing.
//
// Primitives are made in every call, at most eight of them (whole and last panel, whole and last piece, first and later
// pieces). oneDNN keeps generated code in a cache of its own: making one again takes 2 to 5 us, the first time 10 to 60 us
// and 9 ms for the first of all (Xeon with AVX-512, one thread). Its GEMM allocates packing buffers by itself, and a
// failure to do so is an exception: what comes out of here is std::bad_alloc or dnnl::error, which ends a run.
#pragma once
#include <cstdint>

#include "core/kernel.h"

namespace kerf::onednn {

enum class Operands : uint8_t { f32, bf16 };

Support accepts_panels(const Problem& p);
size_t panel_scratch(const Problem& p, Operands operands);
void run_panels(const Problem& p, const Call& call, Operands operands);

}  // namespace kerf::onednn
