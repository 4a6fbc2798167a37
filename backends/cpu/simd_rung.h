// Registration of the float ops' rungs. A file built for an instruction set hands over plain data only: everything with
// std::string or std::vector in it is compiled once, in simd_rung.cpp, without vector flags. Otherwise the linker could
// keep the AVX-512 copy of such an inline function for the whole program (the trap of core/half.h, for code of others).
#pragma once
#include <string_view>

#include "core/kernel.h"

namespace kerf::cpu {

struct Rung {
  std::string_view op{}, variant{}, improves{}, note{};
  int preference = 0;
  Isa isa = Isa::base;
  double unit = 0x1p-24;
  bool writes_formats = false;  // q8_g16 and bf16_t16 besides f32 (Kernel::writes)
  Support (*accepts)(const Problem&) = nullptr;
  void (*run)(const Problem&, const Call&) = nullptr;
  size_t (*scratch_bytes)(const Problem&) = nullptr;
};
void add_rung(Registry::Adder registry, const Rung& rung);

/// The float ops have f32 in by their shape rules, and f32 out where a rung writes no other: nothing is left to refuse.
Support accepts_all(const Problem&);
/// Any cache type (quant/encode.h); a quantized one needs heads of whole blocks.
Support accepts_kv_write(const Problem& p);

/// f32 out, or q8_g16 or bf16_t16 if blocks of 32 values do not cross the groups that are normalised.
Support accepts_rms_norm(const Problem& p);
/// f32 out, or q8_g16 or bf16_t16 if rows are blocks of 32 values.
Support accepts_elementwise(const Problem& p);
/// Only where the sum over all experts is needed: 8 exponentials of 128 take vectors as long as the plain loop.
Support accepts_router_sum(const Problem& p);
/// Scratch of argmax: what is found in each piece of each row.
size_t argmax_scratch(const Problem& p);
/// At most eight taps.
Support accepts_causal_conv(const Problem& p);
/// The caches are as accepts_kv_write wants them; keys and values may differ.
Support accepts_rope_cache(const Problem& p);
/// Scratch of rope_cache: a row of rotated keys for each token, of which the first of each range of tokens is used.
size_t rope_cache_scratch(const Problem& p);

/// Parameters of the op of a problem (std::get and its exception stay out of the vector files).
const RmsNorm& rms_norm_of(const Problem& p);
const Rope& rope_of(const Problem& p);  // of rope and of rope_cache
const L2Norm& l2_norm_of(const Problem& p);
const GatedRmsNorm& gated_rms_norm_of(const Problem& p);
const Router& router_of(const Problem& p);
const GatedDeltaRule& gated_delta_rule_of(const Problem& p);

}  // namespace kerf::cpu
