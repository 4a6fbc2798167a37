#include "tests/kernels/tile_emulator_avx512.h"

#include <asm/prctl.h>
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "tests/kernels/tile_emulator.h"

namespace kerf::tiles {
namespace {

// Plain C and intrinsics only: an inline function of the standard library, compiled with this file's flags, might be the copy
// that the linker keeps for everybody.

enum Register { rsp = 4, rbp = 5 };

struct Instruction {
  int length = 0;
  int map = 0, pp = 0, opcode = 0;       // pp: 0 none, 1 66, 2 F3, 3 F2
  bool w = false, wide = false;          // wide: VEX.256
  int mod = 0, reg = 0, rm = 0, v = 15;  // register numbers with their extension bits; v: not inverted
  bool sib = false;
  uint64_t base = 0, stride = 0;  // base: with the displacement; without a SIB byte the address
};

uint64_t segment_base(uint8_t prefix) {
  uint64_t base = 0;
  if (prefix) syscall(SYS_arch_prctl, prefix == 0x64 ? ARCH_GET_FS : ARCH_GET_GS, &base);
  return base;
}

/// SDM vol. 2, 2.1 (ModRM, SIB) and 2.3 (VEX). Length 0: no three-byte VEX instruction.
Instruction decode(const uint8_t* const code, const uint64_t* general) {
  const uint8_t* p = code;
  uint8_t segment = 0;
  bool short_addresses = false;
  for (;; ++p) {
    if (*p == 0x64 || *p == 0x65)
      segment = *p;
    else if (*p == 0x67)
      short_addresses = true;
    else if (*p != 0x26 && *p != 0x2E && *p != 0x36 && *p != 0x3E)  // the other segments start at 0
      break;
  }
  Instruction i;
  if (*p != 0xC4) return i;
  const int R = p[1] & 0x80 ? 0 : 8, X = p[1] & 0x40 ? 0 : 8, B = p[1] & 0x20 ? 0 : 8;
  i.map = p[1] & 31, i.w = p[2] & 0x80, i.v = ~(p[2] >> 3) & 15, i.wide = p[2] & 4, i.pp = p[2] & 3;
  i.opcode = p[3];
  const int modrm = p[4];
  p += 5;
  i.mod = modrm >> 6, i.reg = (modrm >> 3 & 7) | R, i.rm = (modrm & 7) | B;
  if (i.mod < 3) {
    bool relative = false;
    int displacement = i.mod == 1 ? 1 : i.mod == 2 ? 4 : 0;
    i.sib = (modrm & 7) == rsp;
    if (i.sib) {
      const int sib = *p++, index = (sib >> 3 & 7) | X, base = sib & 7;
      if (index != rsp) i.stride = general[index] << (sib >> 6);
      if (base == rbp && i.mod == 0)
        displacement = 4;
      else
        i.base = general[base | B];
    } else if ((modrm & 7) == rbp && i.mod == 0) {
      relative = true, displacement = 4;
    } else {
      i.base = general[i.rm];
    }
    if (displacement == 1) i.base += static_cast<uint64_t>(static_cast<int8_t>(*p));
    if (displacement == 4) {
      int32_t d = 0;
      memcpy(&d, p, 4);
      i.base += static_cast<uint64_t>(d);
    }
    p += displacement;
    if (relative) i.base += reinterpret_cast<uint64_t>(p);
    if (short_addresses) i.base &= 0xFFFFFFFF, i.stride &= 0xFFFFFFFF;
    i.base += segment_base(segment);
  }
  i.length = static_cast<int>(p - code);
  return i;
}

using Fault = const char*;

// The numbers of 2.10's conditions are kept in the order in which a processor would find them.

Fault bad_tile(const State& s, int t) {
  if (s.palette == 0) return "no tiles are configured";
  if (t >= 8) return "there are eight tiles";
  if (s.rows[t] == 0) return "the tile has no rows and columns";
  return nullptr;
}

/// Class AMX-E3.
Fault bad_transfer(const State& s, const Instruction& i) {
  if (!i.sib) return "the address has no SIB byte";
  if (const Fault f = bad_tile(s, i.reg)) return f;
  if (s.row_bytes[i.reg] % 4) return "the tile's rows are no multiple of 4 bytes";
  if (s.start_row >= s.rows[i.reg]) return "the row to go on with is beyond the tile's last";
  return nullptr;
}

/// Class AMX-E4. C += A B.
Fault bad_product(const State& s, int c, int a, int b) {
  if (c == a || c == b || a == b) return "the three tiles must be different ones";
  const int tiles[] = {c, a, b};
  for (const int t : tiles) {
    if (const Fault f = bad_tile(s, t)) return f;
    if (s.row_bytes[t] % 4) return "a tile's rows are no multiple of 4 bytes";
  }
  if (s.row_bytes[c] != s.row_bytes[b]) return "the sums and the second factor have rows of different length";
  if (s.rows[c] != s.rows[a]) return "the sums and the first factor have different numbers of rows";
  if (s.row_bytes[a] / 4 != s.rows[b]) return "the first factor's columns are not as many as the second's rows";
  return nullptr;
}

struct Configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Configuration) == 64);

void release(State& s) { memset(&s, 0, sizeof s); }

Fault load_configuration(State& s, uint64_t address) {
  Configuration c;
  memcpy(&c, reinterpret_cast<const void*>(address), sizeof c);
  if (c.palette > 1) return "there are only palettes 0 and 1";
  if (c.palette == 1) {
    for (const uint8_t byte : c.reserved)
      if (byte) return "a reserved byte is not 0";
    for (int t = 0; t < 16; ++t) {
      if (t >= 8 && (c.row_bytes[t] || c.rows[t])) return "there are eight tiles";
      if (c.row_bytes[t] > 64) return "a tile's rows are longer than 64 bytes";
      if (c.rows[t] > 16) return "a tile has more than 16 rows";
      if (!c.row_bytes[t] != !c.rows[t]) return "a tile has rows without columns or columns without rows";
    }
  }
  release(s);
  if (c.palette == 0) return nullptr;
  s.palette = c.palette, s.start_row = c.start_row;
  memcpy(s.row_bytes, c.row_bytes, sizeof s.row_bytes);
  memcpy(s.rows, c.rows, sizeof s.rows);
  return nullptr;
}

void store_configuration(const State& s, uint64_t address) {
  Configuration c{};
  c.palette = s.palette, c.start_row = s.start_row;
  memcpy(c.row_bytes, s.row_bytes, sizeof s.row_bytes);
  memcpy(c.rows, s.rows, sizeof s.rows);
  memcpy(reinterpret_cast<void*>(address), &c, sizeof c);
}

void load(State& s, const Instruction& i) {
  const int t = i.reg;
  for (uint64_t r = s.start_row; r < s.rows[t]; ++r) memcpy(s.data[t][r], reinterpret_cast<const void*>(i.base + r * i.stride), s.row_bytes[t]);
  s.start_row = 0;
}

void store(State& s, const Instruction& i) {
  for (uint64_t r = s.start_row; r < s.rows[i.reg]; ++r) memcpy(reinterpret_cast<void*>(i.base + r * i.stride), s.data[i.reg][r], s.row_bytes[i.reg]);
  s.start_row = 0;
}

uint32_t dword(const State& s, int t, int row, int column) {
  uint32_t x = 0;
  memcpy(&x, &s.data[t][row][4 * column], 4);
  return x;
}

/// The operation of TDPBF16PS: products of the lower halves of all dwords are added up in one chain of fused multiplications
/// and additions, those of the upper halves in another, both from 0; then the two, then the sum there was.
void multiply_bf16(State& s, int c, int a, int b) {
  const int K = s.row_bytes[a] / 4;
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  __m512 low[16], high[16];
  for (int k = 0; k < K; ++k) {
    const __m512i row = _mm512_load_si512(s.data[b][k]);
    low[k] = _mm512_castsi512_ps(_mm512_slli_epi32(row, 16)), high[k] = _mm512_castsi512_ps(_mm512_and_si512(row, upper));
  }
  for (int m = 0; m < s.rows[c]; ++m) {
    __m512 lows = _mm512_setzero_ps(), highs = _mm512_setzero_ps();
    for (int k = 0; k < K; ++k) {
      const __m512i pair = _mm512_set1_epi32(static_cast<int>(dword(s, a, m, k)));
      lows = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)), low[k], lows);
      highs = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(pair, upper)), high[k], highs);
    }
    _mm512_store_ps(s.data[c][m], _mm512_add_ps(_mm512_load_ps(s.data[c][m]), _mm512_add_ps(lows, highs)));
  }
}

/// Subnormal operands and results count as 0, to the nearest or even, exceptions masked; the thread's own mode is not asked
/// (TDPBF16PS). The assembler is ordered with the reads and writes of memory between.
void multiply_bf16_flushing(State& s, int c, int a, int b) {
  const unsigned flush_and_masks = 0x9FC0;
  unsigned before = 0;
  __asm__ volatile("stmxcsr %0\n\tldmxcsr %1" : "=m"(before) : "m"(flush_and_masks) : "memory");
  multiply_bf16(s, c, a, b);
  __asm__ volatile("ldmxcsr %0" ::"m"(before) : "memory");
}

/// Bytes 0 and 2 of every dword, or 1 and 3, as 16-bit numbers.
template <bool is_signed>
__m512i even_bytes(__m512i x) {
  x = _mm512_slli_epi16(x, 8);
  return is_signed ? _mm512_srai_epi16(x, 8) : _mm512_srli_epi16(x, 8);
}
template <bool is_signed>
__m512i odd_bytes(__m512i x) {
  return is_signed ? _mm512_srai_epi16(x, 8) : _mm512_srli_epi16(x, 8);
}

/// TDPBSSD and its unsigned relatives: four products of bytes per dword; int32 wraps.
template <bool a_signed, bool b_signed>
void multiply_bytes(State& s, int c, int a, int b) {
  for (int m = 0; m < s.rows[c]; ++m) {
    __m512i sum = _mm512_load_si512(s.data[c][m]);
    for (int k = 0; k < s.row_bytes[a] / 4; ++k) {
      const __m512i x = _mm512_set1_epi32(static_cast<int>(dword(s, a, m, k))), y = _mm512_load_si512(s.data[b][k]);
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(even_bytes<a_signed>(x), even_bytes<b_signed>(y)));
      sum = _mm512_add_epi32(sum, _mm512_madd_epi16(odd_bytes<a_signed>(x), odd_bytes<b_signed>(y)));
    }
    _mm512_store_si512(s.data[c][m], sum);
  }
}

// The vector registers of a signal's frame: an XSAVE area in standard format (SDM vol. 1, 13.4). A component whose bit in
// XSTATE_BV is clear holds zeros, whatever the memory says.
constexpr int kSse = 1, kAvx = 2, kUpper256 = 6, kUpper16 = 7;
constexpr size_t kXstateBv = 512;

uint8_t* component(uint8_t* area, int number) {
  unsigned size = 256, offset = 160, c = 0, d = 0;
  if (number != kSse) __cpuid_count(0xD, number, size, offset, c, d);
  uint64_t present = 0;
  memcpy(&present, area + kXstateBv, 8);
  if (!(present >> number & 1)) {
    memset(area + offset, 0, size);
    present |= uint64_t{1} << number;
    memcpy(area + kXstateBv, &present, 8);
  }
  return area + offset;
}

__m512i vector_register(uint8_t* area, int n) {
  if (n >= 16) return _mm512_loadu_si512(component(area, kUpper16) + 64 * (n - 16));
  alignas(64) uint8_t bytes[64];
  memcpy(bytes, component(area, kSse) + 16 * n, 16);
  memcpy(bytes + 16, component(area, kAvx) + 16 * n, 16);
  memcpy(bytes + 32, component(area, kUpper256) + 32 * n, 32);
  return _mm512_load_si512(bytes);
}

void set_vector_register(uint8_t* area, int n, __m512i value) {
  if (n >= 16) return _mm512_storeu_si512(component(area, kUpper16) + 64 * (n - 16), value);
  alignas(64) uint8_t bytes[64];
  _mm512_store_si512(bytes, value);
  memcpy(component(area, kSse) + 16 * n, bytes, 16);
  memcpy(component(area, kAvx) + 16 * n, bytes + 16, 16);
  memcpy(component(area, kUpper256) + 32 * n, bytes + 32, 32);
}

struct Floats {
  __m512 low, high;
};
Floats floats_of(__m512i halves) { return {_mm512_cvtph_ps(_mm512_castsi512_si256(halves)), _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1))}; }
__m512i joined(__m256i low, __m256i high) { return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1); }

/// f16 by way of f32: a power of two times 11 bits is exact there, and what leaves f32's range leaves that of f16.
__m512i scaled_halves(__m512i a, __m512i b) {
  const Floats x = floats_of(a), y = floats_of(b);
  return joined(_mm512_cvtps_ph(_mm512_scalef_ps(x.low, y.low), _MM_FROUND_TO_NEAREST_INT),
                _mm512_cvtps_ph(_mm512_scalef_ps(x.high, y.high), _MM_FROUND_TO_NEAREST_INT));
}

/// To the nearest or even; -32768 for what int16 does not hold.
__m512i int16_of_halves(__m512i a) {
  const auto convert = [](__m512 x) {
    const __m512i n = _mm512_cvtps_epi32(x), none = _mm512_set1_epi32(-32768);
    const __mmask16 fits = _mm512_cmpeq_epi32_mask(n, _mm512_cvtepi16_epi32(_mm512_cvtepi32_epi16(n)));
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(none, fits, n));
  };
  const Floats x = floats_of(a);
  return joined(convert(x.low), convert(x.high));
}

/// VSCALEFPH and VCVTPH2W on whole registers without a mask, in the default rounding mode. EVEX: SDM vol. 2, 2.7.
int half_instruction(const uint8_t* p, uint8_t* area) {
  if (p[0] != 0x62 || p[1] & 8 || (p[2] & 0x87) != 0x05 || (p[3] & 0xF7) != 0x40 || p[5] < 0xC0) return 0;
  const int map = p[1] & 7, vvvv = ~(p[2] >> 3) & 15;
  const int reg = (p[5] >> 3 & 7) | (p[1] & 0x80 ? 0 : 8) | (p[1] & 0x10 ? 0 : 16);
  const int rm = (p[5] & 7) | (p[1] & 0x20 ? 0 : 8) | (p[1] & 0x40 ? 0 : 16), v = vvvv | (p[3] & 8 ? 0 : 16);
  if (map == 6 && p[4] == 0x2C)
    set_vector_register(area, reg, scaled_halves(vector_register(area, v), vector_register(area, rm)));
  else if (map == 5 && p[4] == 0x7D && v == 0)
    set_vector_register(area, reg, int16_of_halves(vector_register(area, rm)));
  else
    return 0;
  return 6;
}

/// One line on standard error, by write() alone.
class Line {
 public:
  Line& operator<<(const char* text) {
    for (; *text && n_ < sizeof text_ - 1; ++text) text_[n_++] = *text;
    return *this;
  }
  Line& hex(uint64_t value, int digits) {
    for (int i = digits - 1; i >= 0; --i) {
      const char digit[] = {"0123456789abcdef"[value >> (4 * i) & 15], 0};
      *this << digit;
    }
    return *this;
  }
  void print() {
    text_[n_++] = '\n';
    if (write(STDERR_FILENO, text_, n_) < 0) return;  // then there is nobody to tell
  }

 private:
  char text_[200];
  size_t n_ = 0;
};

/// The default action follows as soon as the handler, during which the signal waits, returns.
void end_by_signal() {
  signal(SIGILL, SIG_DFL);
  raise(SIGILL);
}

void report(const uint8_t* code, const Step& step) {
  Line line;
  line << "tile emulator: ";
  if (step.length)
    line << step.name << " at 0x";
  else
    line << "unknown instruction at 0x";
  line.hex(reinterpret_cast<uint64_t>(code), 12) << ": ";
  if (step.length) {
    line << step.fault;
  } else {
    line << "bytes";
    for (int i = 0; i < 8; ++i) (line << " ").hex(code[i], 2);
  }
  line.print();
  end_by_signal();
}

thread_local constinit State thread_state{};

}  // namespace

Step step(State& s, const uint8_t* code, const uint64_t* general) {
  const Instruction i = decode(code, general);
  if (i.length == 0 || i.map != 2 || i.w || i.wide) return {};
  const bool registers = i.mod == 3;
  const auto done = [&](const char* name, Fault fault = nullptr) { return Step{i.length, name, fault}; };
  switch (i.opcode) {
    case 0x49:
      if (registers && i.pp == 3 && (i.rm & 7) == 0) {
        const Fault f = i.v ? "VEX.vvvv is used" : bad_tile(s, i.reg);
        if (!f) memset(s.data[i.reg], 0, sizeof s.data[i.reg]), s.start_row = 0;
        return done("tilezero", f);
      }
      if (i.reg & 7 || i.v) return {};
      if (registers && i.pp == 0 && (i.rm & 7) == 0) return release(s), done("tilerelease");
      if (!registers && i.pp == 0) return done("ldtilecfg", load_configuration(s, i.base));
      if (!registers && i.pp == 1) return store_configuration(s, i.base), done("sttilecfg");
      return {};
    case 0x4B: {
      if (registers || i.pp == 0) return {};
      const Fault f = i.v ? "VEX.vvvv is used" : bad_transfer(s, i);
      if (!f) i.pp == 2 ? store(s, i) : load(s, i);
      return done(i.pp == 1 ? "tileloaddt1" : i.pp == 2 ? "tilestored" : "tileloadd", f);
    }
    case 0x5C:
    case 0x5E: {
      struct Product {
        const char* name;
        void (*run)(State&, int, int, int);
      };
      static constexpr Product kBytes[] = {{"tdpbuud", multiply_bytes<false, false>},
                                           {"tdpbusd", multiply_bytes<false, true>},
                                           {"tdpbsud", multiply_bytes<true, false>},
                                           {"tdpbssd", multiply_bytes<true, true>}};
      static constexpr Product kBf16{"tdpbf16ps", multiply_bf16_flushing};
      if (!registers || (i.opcode == 0x5C && i.pp != 2)) return {};
      const Product& product = i.opcode == 0x5C ? kBf16 : kBytes[i.pp];
      const Fault f = bad_product(s, i.reg, i.rm, i.v);
      if (!f) product.run(s, i.reg, i.rm, i.v), s.start_row = 0;
      return done(product.name, f);
    }
    default:
      return {};
  }
}

void on_illegal_instruction(int, siginfo_t*, void* context) {
  auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
  static constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  uint64_t general[16];
  for (int i = 0; i < 16; ++i) general[i] = static_cast<uint64_t>(machine.gregs[kOrder[i]]);
  const auto* first = reinterpret_cast<const uint8_t*>(machine.gregs[REG_RIP]);
  const uint8_t* code = first;
  // Tile instructions come in groups, and a signal costs more than any of them: all that follow, until another one.
  for (;;) {
    Step s = step(thread_state, code, general);
    if (s.length == 0) s.length = half_instruction(code, reinterpret_cast<uint8_t*>(machine.fpregs));
    if (s.length == 0 && code != first) break;
    if (s.length == 0 || s.fault) {
      report(code, s);
      break;
    }
    code += s.length;
  }
  machine.gregs[REG_RIP] = reinterpret_cast<greg_t>(code);
}

}  // namespace kerf::tiles
