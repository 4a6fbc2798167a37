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
  Support (*accepts)(const Problem&) = nullptr;
  void (*run)(const Problem&, const Call&) = nullptr;
  size_t (*scratch_bytes)(const Problem&) = nullptr;
};
void add_rung(Registry::Adder registry, const Rung& rung);

/// The float ops have f32 in and out by their shape rules: nothing is left to refuse.
Support accepts_all(const Problem&);
/// Any cache type (quant/encode.h); a quantized one needs heads of whole blocks.
Support accepts_kv_write(const Problem& p);

/// Parameters of the op of a problem (std::get and its exception stay out of the vector files).
const RmsNorm& rms_norm_of(const Problem& p);
const Rope& rope_of(const Problem& p);

}  // namespace kerf::cpu
