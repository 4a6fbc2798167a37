// f32 -> q8_g16 over the pool: what the rungs of that conversion share. Compiled without vector flags (see simd_rung.h).
#pragma once
#include <cstdint>
#include <string_view>

#include "core/kernel.h"

namespace kerf::cpu {

/// Encodes one row of K values (quant/q8_g16.h).
using EncodeRowFn = void (*)(const float* x, int64_t K, void* row);

void run_encode(const Call& call, EncodeRowFn encode);
Support accepts_encode(const Problem& p);

}  // namespace kerf::cpu
