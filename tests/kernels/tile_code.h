// Pieces of code for the test of the tile emulator, each one instruction and a return, and tables of them. Written in assembler,
// so that the encodings are not those of whoever wrote the decoder.
#pragma once
#include <cstdint>

extern "C" {
using Code = const uint8_t*;
extern const Code tile_load_from[16][15];  // -64(base, index, 2), tmm5; indices without rsp, which would be none
extern const Code tile_loads[8], tile_stores[8], tile_streams[8], tile_zeros[8];  // (rax, rcx, 1)
extern const Code tile_products[5][336];  // tdpbf16ps, tdpbssd, tdpbsud, tdpbusd, tdpbuud of all triples of different tiles
extern const Code tile_forms[12], tile_refused[6];
extern const uint8_t tile_release[], tile_configure[], tile_configure_here[], tile_tell[], tile_invalid[], tile_configuration[];
/// Sets the general registers but rsp as given, in their order, and calls the code.
void tile_call(Code code, const uint64_t* general);
/// Thirty-two halves; the result twice, from two registers each, and the operands as they are afterwards.
void half_scale(const void* a, const void* b, void* out, void* operands);
void half_round(const void* a, void* out, void* operand);
}
