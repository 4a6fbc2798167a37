// The tile emulator against plain loops, and against the processor. Every instruction below was encoded by the assembler and runs
// twice: by tiles::step() on a state of this test, and for real, where the real thing is the processor if it has tiles and
// the handler of SIGILL if not. Results must agree bit by bit.
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "core/half.h"
#include "tests/catch.h"
#include "tests/kernels/tile_code.h"
#include "tests/kernels/tile_emulator.h"

using namespace kerf;

namespace {

constexpr uint64_t kSeed = 11;

enum Register { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };
using Registers = std::array<uint64_t, 16>;
using TileBytes = std::array<uint8_t, 1024>;

/// False, with a line that CTest takes for "not run", on a machine that can not even emulate. In every test case, since Catch2
/// sets a handler of its own at the start of each.
bool provided() {
  const tiles::Provider provider = tiles::provide();
  if (provider == tiles::Provider::nobody) fmt::print("skipped: tiles are emulated on Linux with AVX512 VNNI, VBMI, VBMI2 and BF16\n");
  return provider != tiles::Provider::nobody;
}

struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14]{};
  uint16_t row_bytes[16]{};
  uint8_t rows[16]{};
};

uint64_t address(const void* p) { return reinterpret_cast<uint64_t>(p); }

/// Two machines: the emulator's state here, and the thread's real tiles.
class Both {
 public:
  Both() { std::memset(&model_, 0, sizeof model_); }
  ~Both() { run(tile_release, {}); }

  /// An instruction that writes no memory.
  void run(Code code, const Registers& general) {
    const auto s = tiles::step(model_, code, general.data());
    INFO(s.name << ": " << (s.fault ? s.fault : "done"));
    REQUIRE(s.length > 0);
    REQUIRE(s.fault == nullptr);
    REQUIRE(code[s.length] == 0xC3);  // the return behind it
    tile_call(code, general.data());
  }
  void configure(const Configuration& c) { run(tile_configure, {address(&c)}); }
  void load(int t, const void* from, int64_t stride = 64) { run(tile_loads[t], {address(from), static_cast<uint64_t>(stride)}); }

  /// The tile, once the two agree about it: also about the bytes that a store leaves alone.
  TileBytes tile(int t, int64_t stride = 64) {
    TileBytes model, real;
    model.fill(0xEE), real.fill(0xEE);
    const int64_t first = stride < 0 ? -15 * stride : 0;
    const Registers to_model{address(&model[static_cast<size_t>(first)]), static_cast<uint64_t>(stride)},
        to_real{address(&real[static_cast<size_t>(first)]), static_cast<uint64_t>(stride)};
    REQUIRE(tiles::step(model_, tile_stores[t], to_model.data()).fault == nullptr);
    tile_call(tile_stores[t], to_real.data());
    REQUIRE(model == real);
    return real;
  }
  Configuration configuration() {
    Configuration model, real;
    const Registers to_model{address(&model)}, to_real{address(&real)};
    REQUIRE(tiles::step(model_, tile_tell, to_model.data()).fault == nullptr);
    tile_call(tile_tell, to_real.data());
    REQUIRE(std::memcmp(&model, &real, sizeof model) == 0);
    return real;
  }

 private:
  tiles::State model_;
};

std::vector<uint8_t> random_bytes(size_t n, std::mt19937_64& random) {
  std::vector<uint8_t> bytes(n);
  for (auto& b : bytes) b = static_cast<uint8_t>(random());
  return bytes;
}

/// A configuration with one tile, number 5, of this shape.
Configuration only_tile5(int rows, int row_bytes) {
  Configuration c;
  c.rows[5] = static_cast<uint8_t>(rows), c.row_bytes[5] = static_cast<uint16_t>(row_bytes);
  return c;
}

/// Row r of tile 5 must be the `row_bytes` bytes at from + r stride, and nothing else.
void check_tile5(Both& both, int rows, int row_bytes, const uint8_t* from, int64_t stride) {
  TileBytes want;
  want.fill(0xEE);
  for (int r = 0; r < rows; ++r) std::copy_n(from + r * stride, row_bytes, want.begin() + 64 * r);
  CHECK(both.tile(5) == want);
}

}  // namespace

TEST_CASE("any register may be base or stride") {
  if (!provided()) return;
  std::mt19937_64 random(kSeed);
  const auto bytes = random_bytes(8192, random);
  constexpr Register kIndices[] = {rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15};
  for (const Register base : {rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15})
    for (size_t i = 0; i < 15; ++i) {
      const Register index = kIndices[i];
      INFO("base " << base << " index " << index);
      const bool same = base == index;
      const int64_t stride = same ? 0 : i % 2 ? -100 : 60;
      const Configuration c = only_tile5(same ? 1 : 16, 52);
      Registers general;
      general.fill(0xDEAD);
      general[index] = static_cast<uint64_t>(stride);
      general[base] = address(&bytes[4096]);
      if (base == rsp) {  // a real stack pointer has to point to a stack
        tiles::State s{};
        const Registers configure{address(&c)};
        REQUIRE(tiles::step(s, tile_configure, configure.data()).fault == nullptr);
        REQUIRE(tiles::step(s, tile_load_from[base][i], general.data()).fault == nullptr);
        for (int r = 0; r < 16; ++r) CHECK(std::equal(s.data[5][r], s.data[5][r] + 52, &bytes[static_cast<size_t>(4096 - 64 + 2 * stride * r)]));
      } else {
        Both both;
        both.configure(c);
        both.run(tile_load_from[base][i], general);
        check_tile5(both, c.rows[5], 52, &bytes[4096 - 64], 2 * stride);
      }
    }
}

TEST_CASE("forms of addresses") {
  if (!provided()) return;
  std::mt19937_64 random(kSeed);
  const auto bytes = random_bytes(4096, random);
  auto* low = static_cast<uint8_t*>(
      mmap(reinterpret_cast<void*>(0x23450000), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  REQUIRE(low == reinterpret_cast<uint8_t*>(0x23450000));
  std::copy(bytes.begin(), bytes.end(), low);
  uint64_t thread = 0;  // fs:0 holds the address of itself
  __asm__("mov %%fs:0, %0" : "=r"(thread));
  const uint8_t* from = &bytes[2048];
  const uint64_t at = address(from);
  struct Form {
    Registers general;
    const uint8_t* row0;
    int64_t stride;
  };
  const auto set = [](Register base, uint64_t b, Register index, int64_t i) {
    Registers g{};
    g[base] = b, g[index] = static_cast<uint64_t>(i);
    return g;
  };
  const Form forms[12] = {{set(rax, at, rcx, 64), from, 64},
                          {set(rax, at, rcx, 21), from + 0x20, 84},
                          {set(rax, at - 0x12345, rcx, 9), from, 72},
                          {set(r13, at + 0x12345, r12, -9), from, -72},
                          {set(rbp, at, r12, 65), from, 65},
                          {set(r13, at, rbp, 64), from, 64},
                          {set(rax, at, rsp, 64), from, 0},
                          {set(rax, 0, rcx, 33), low, 66},
                          {set(rax, 0xABC00000000 + 0x23450000, rcx, 0x5500000000 + 40), low + 0x20, 80},
                          {set(rax, at - thread, rcx, 64), from, 64},
                          {set(r9, at, r15, 40), from - 0x20, 80},
                          {set(r12, at, r13, 64), from, 64}};
  for (size_t f = 0; f < 12; ++f) {
    INFO("form " << f);
    Both both;
    both.configure(only_tile5(7, 64));
    both.run(tile_forms[f], forms[f].general);
    check_tile5(both, 7, 64, forms[f].row0, forms[f].stride);
  }
  munmap(low, 4096);
}

TEST_CASE("configurations are kept, told, and cleared; a new one clears the tiles") {
  if (!provided()) return;
  Both both;
  CHECK(both.configuration().palette == 0);
  both.run(tile_configure_here, {});
  const Configuration here = both.configuration();
  CHECK(std::memcmp(&here, tile_configuration, 64) == 0);
  CHECK(here.row_bytes[6] == 64);
  std::mt19937_64 random(kSeed);
  const auto bytes = random_bytes(1024, random);
  both.load(6, bytes.data());
  CHECK(std::memcmp(both.tile(6).data(), bytes.data(), 1024) == 0);
  both.run(tile_zeros[6], {});
  CHECK(both.tile(6) == TileBytes{});
  both.load(6, bytes.data());
  both.run(tile_configure_here, {});
  CHECK(both.tile(6) == TileBytes{});
  both.load(6, bytes.data());
  both.run(tile_release, {});
  CHECK(both.configuration().palette == 0);
  Configuration none = only_tile5(3, 8);
  none.palette = 0;  // the same as a release
  both.run(tile_configure_here, {});
  both.configure(none);
  CHECK(both.configuration().rows[5] == 0);
}

TEST_CASE("loads and stores of every tile, of parts, with gaps and backwards") {
  if (!provided()) return;
  std::mt19937_64 random(kSeed);
  const auto bytes = random_bytes(4096, random);
  for (int t = 0; t < 8; ++t)
    for (const auto& [rows, row_bytes] : {std::pair{16, 64}, {1, 4}, {5, 64}, {16, 12}, {9, 40}}) {
      INFO("tile " << t << ": " << rows << " rows of " << row_bytes);
      Both both;
      Configuration c;
      for (auto& r : c.rows) r = static_cast<uint8_t>(&r - c.rows < 8 ? rows : 0);
      for (auto& b : c.row_bytes) b = static_cast<uint16_t>(&b - c.row_bytes < 8 ? row_bytes : 0);
      both.configure(c);
      both.load(t, bytes.data());
      both.run(tile_streams[t], {address(&bytes[2048]), static_cast<uint64_t>(-96)});  // replaces what was there
      TileBytes want;
      want.fill(0xEE);
      for (int r = 0; r < rows; ++r) std::copy_n(&bytes[static_cast<size_t>(2048 - 96 * r)], row_bytes, want.begin() + 64 * r);
      CHECK(both.tile(t) == want);
      TileBytes backwards;
      backwards.fill(0xEE);
      for (int r = 0; r < rows; ++r) std::copy_n(&bytes[static_cast<size_t>(2048 - 96 * r)], row_bytes, backwards.begin() + 64 * (15 - r));
      CHECK(both.tile(t, -64) == backwards);
      // A load that goes on where a fault of memory interrupted it keeps nothing of what lies below that row.
      if (rows < 3) continue;
      c.start_row = 2;
      both.configure(c);
      both.load(t, bytes.data());
      want.fill(0xEE);
      for (int r = 0; r < rows; ++r)
        for (int i = 0; i < row_bytes; ++i) want[static_cast<size_t>(64 * r + i)] = r < 2 ? 0 : bytes[static_cast<size_t>(64 * r + i)];
      CHECK(both.configuration().start_row == 0);
      CHECK(both.tile(t) == want);
    }
}

namespace {

/// Shapes and operands of one product: C [M, N] += A [M, K] B [K, N], in elements of four bytes.
struct Product {
  int M, N, K;
  std::vector<uint32_t> a, b, c;  // rows of 16
};

Product random_product(std::mt19937_64& random, const std::function<uint32_t(bool is_sum)>& dword) {
  const auto size = [&] { return static_cast<int>(random() % 3 ? 1 + random() % 16 : 16); };
  Product p{size(), size(), size(), {}, {}, {}};
  for (int i = 0; i < 256; ++i) p.a.push_back(dword(false)), p.b.push_back(dword(false)), p.c.push_back(dword(true));
  return p;
}

/// The tile of sums after `code`; element [m][n] at 16 m + n, those outside of the shape left out.
std::vector<uint32_t> multiplied(Code code, const Product& p, int c, int a, int b) {
  Both both;
  Configuration shape;
  const auto set = [&](int t, int rows, int columns) {
    shape.rows[t] = static_cast<uint8_t>(rows), shape.row_bytes[t] = static_cast<uint16_t>(4 * columns);
  };
  set(c, p.M, p.N), set(a, p.M, p.K), set(b, p.K, p.N);
  both.configure(shape);
  both.load(c, p.c.data()), both.load(a, p.a.data()), both.load(b, p.b.data());
  both.run(code, {});
  const TileBytes bytes = both.tile(c);
  std::vector<uint32_t> sums(256);
  std::memcpy(sums.data(), bytes.data(), 1024);
  return sums;
}

/// All triples of different tiles, in the order of the table.
template <class F>
void for_each_triple(F f) {
  size_t i = 0;
  for (int c = 0; c < 8; ++c)
    for (int a = 0; a < 8; ++a)
      for (int b = 0; b < 8; ++b)
        if (c != a && c != b && a != b) f(i++, c, a, b);
}

float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.f, x) : x; }
float bf16_half(uint32_t pair, int half) { return flushed(std::bit_cast<float>(half ? pair & 0xFFFF0000 : pair << 16)); }

/// The SDM's loops over one element.
float bf16_element(const Product& p, int m, int n) {
  float sums[2] = {0, 0};
  for (int k = 0; k < p.K; ++k)
    for (int h : {0, 1}) {
      const float x = bf16_half(p.a[static_cast<size_t>(16 * m + k)], h), y = bf16_half(p.b[static_cast<size_t>(16 * k + n)], h);
      sums[h] = flushed(std::fma(x, y, sums[h]));
    }
  return flushed(flushed(std::bit_cast<float>(p.c[static_cast<size_t>(16 * m + n)])) + flushed(sums[0] + sums[1]));
}

uint32_t int8_element(const Product& p, int m, int n, bool a_signed, bool b_signed) {
  const auto byte = [](uint32_t word, int i, bool is_signed) {
    const auto b = static_cast<uint8_t>(word >> (8 * i));
    return is_signed ? static_cast<int64_t>(static_cast<int8_t>(b)) : static_cast<int64_t>(b);
  };
  int64_t sum = static_cast<int32_t>(p.c[static_cast<size_t>(16 * m + n)]);
  for (int k = 0; k < p.K; ++k)
    for (int i = 0; i < 4; ++i)
      sum += byte(p.a[static_cast<size_t>(16 * m + k)], i, a_signed) * byte(p.b[static_cast<size_t>(16 * k + n)], i, b_signed);
  return static_cast<uint32_t>(sum);
}

void check_bf16(Code code, const Product& p, int c, int a, int b) {
  INFO("tmm" << c << " += tmm" << a << " tmm" << b << ", M " << p.M << " N " << p.N << " K " << p.K << ", seed " << kSeed);
  const auto got = multiplied(code, p, c, a, b);
  int wrong = 0;
  for (int m = 0; m < p.M; ++m)
    for (int n = 0; n < p.N; ++n) {
      const float want = bf16_element(p, m, n), have = std::bit_cast<float>(got[static_cast<size_t>(16 * m + n)]);
      wrong += !(std::isnan(want) ? std::isnan(have) : std::bit_cast<uint32_t>(want) == std::bit_cast<uint32_t>(have));
    }
  CHECK(wrong == 0);
}

}  // namespace

TEST_CASE("bf16 products: the loops of the manual") {
  if (!provided()) return;
  std::mt19937_64 random(kSeed);
  std::normal_distribution<float> normal;
  const auto ordinary = [&](bool is_sum) -> uint32_t {
    if (is_sum) return std::bit_cast<uint32_t>(normal(random));
    const uint32_t low = float_to_bf16(normal(random)), high = float_to_bf16(normal(random));
    return high << 16 | low;
  };
  // Exponents such that sums and products are subnormal as often as not; operands that are.
  const auto small = [&](bool is_sum) -> uint32_t {
    const auto exponent = [&](uint64_t from, uint64_t n) { return static_cast<uint32_t>(from + random() % n) << 23; };
    const auto rest = static_cast<uint32_t>(random()) & 0x807FFFFF;
    if (is_sum) return rest | exponent(0, 4);
    const uint32_t low = (static_cast<uint32_t>(random()) & 0x807F0000) | exponent(random() % 4 ? 55 : 0, 12);
    return ((rest | exponent(random() % 4 ? 55 : 0, 12)) & 0xFFFF0000) | low >> 16;
  };
  const auto any = [&](bool) { return static_cast<uint32_t>(random()); };  // infinities, NaN, overflow
  for_each_triple([&](size_t i, int c, int a, int b) { check_bf16(tile_products[0][i], random_product(random, ordinary), c, a, b); });
  for (int i = 0; i < 100; ++i) check_bf16(tile_products[0][0], random_product(random, small), 0, 1, 2);
  for (int i = 0; i < 100; ++i) check_bf16(tile_products[0][0], random_product(random, any), 0, 1, 2);
}

TEST_CASE("products of bytes, signed and not") {
  if (!provided()) return;
  std::mt19937_64 random(kSeed);
  constexpr bool kASigned[] = {true, true, false, false}, kBSigned[] = {true, false, true, false};
  for (size_t op = 0; op < 4; ++op)
    for_each_triple([&](size_t i, int c, int a, int b) {
      // Every other time the extremes only, and sums that wrap.
      const Product p = random_product(random, [&](bool is_sum) {
        const auto word = static_cast<uint32_t>(random());
        return i % 2 ? word : is_sum ? (word % 2 ? 0x7FFFFFFF : 0x80000000) : 0x80808080 ^ (word & 0x01010101) * 0x7F;
      });
      INFO("operation " << op << ": tmm" << c << " += tmm" << a << " tmm" << b << ", seed " << kSeed);
      const auto got = multiplied(tile_products[op + 1][i], p, c, a, b);
      int wrong = 0;
      for (int m = 0; m < p.M; ++m)
        for (int n = 0; n < p.N; ++n) wrong += got[static_cast<size_t>(16 * m + n)] != int8_element(p, m, n, kASigned[op], kBSigned[op]);
      CHECK(wrong == 0);
    });
}

namespace {

struct Ending {
  int signal = 0;
  std::string said;
};

/// Runs pieces of code in a child process, with rax and rcx as given.
Ending ending_of(const std::vector<std::pair<Code, Registers>>& pieces) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    for (const auto& [code, general] : pieces) tile_call(code, general.data());
    _exit(0);
  }
  close(ends[1]);
  Ending e;
  char text[256];
  for (ssize_t n = 0; (n = read(ends[0], text, sizeof text)) > 0;) e.said.append(text, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFSIGNALED(status)) e.signal = WTERMSIG(status);
  return e;
}

}  // namespace

TEST_CASE("what a processor refuses ends the process, with a line from the emulator") {
  if (!provided()) return;
  const bool real = tiles::provide() == tiles::Provider::processor;
  const std::vector<uint8_t> memory(4096);
  const Registers at{address(memory.data()), 64};
  Configuration good;  // tiles 0-2: [4, 8] += [4, 16] [16, 8]; 7 has 3 rows
  good.rows[0] = 4, good.row_bytes[0] = 32, good.rows[1] = 4, good.row_bytes[1] = 64, good.rows[2] = 16, good.row_bytes[2] = 32;
  good.rows[7] = 3, good.row_bytes[7] = 32;
  const auto with = [&](auto change) {
    Configuration c = good;
    change(c);
    return c;
  };
  struct Case {
    Configuration configuration;
    Code code;  // nullptr: the configuration itself is refused
    std::string name, fault;
  };
  const Code product = tile_products[0][0];  // tmm0 += tmm1 tmm2
  const Case cases[] = {
      {good, tile_refused[0], "tdpbf16ps", "different ones"},
      {good, tile_refused[1], "tdpbf16ps", "different length"},
      {good, tile_refused[2], "tdpbssd", "eight tiles"},
      {good, tile_refused[3], "tilezero", "eight tiles"},
      {good, tile_refused[4], "tileloadd", "no SIB byte"},
      {good, tile_refused[5], "tilezero", "no rows and columns"},
      {good, tile_loads[4], "tileloadd", "no rows and columns"},
      {good, tile_stores[4], "tilestored", "no rows and columns"},
      {with([](auto& c) { c.palette = 0; }), product, "tdpbf16ps", "no tiles are configured"},
      {with([](auto& c) { c.palette = 0; }), tile_streams[0], "tileloaddt1", "no tiles are configured"},
      {with([](auto& c) { c.rows[0] = 5; }), product, "tdpbf16ps", "numbers of rows"},
      {with([](auto& c) { c.row_bytes[0] = 36; }), product, "tdpbf16ps", "different length"},
      {with([](auto& c) { c.rows[2] = 15; }), product, "tdpbf16ps", "not as many"},
      {with([](auto& c) { c.row_bytes[1] = 62; }), product, "tdpbf16ps", "multiple of 4"},
      {with([](auto& c) { c.row_bytes[1] = 62; }), tile_loads[1], "tileloadd", "multiple of 4"},
      {with([](auto& c) { c.start_row = 4; }), tile_loads[1], "tileloadd", "beyond"},
      {with([](auto& c) { c.palette = 2; }), nullptr, "ldtilecfg", "palettes"},
      {with([](auto& c) { c.reserved[13] = 1; }), nullptr, "ldtilecfg", "reserved"},
      {with([](auto& c) { c.rows[3] = 17, c.row_bytes[3] = 4; }), nullptr, "ldtilecfg", "16 rows"},
      {with([](auto& c) { c.rows[3] = 1, c.row_bytes[3] = 68; }), nullptr, "ldtilecfg", "64 bytes"},
      {with([](auto& c) { c.rows[3] = 1; }), nullptr, "ldtilecfg", "without columns"},
      {with([](auto& c) { c.rows[8] = 1, c.row_bytes[8] = 4; }), nullptr, "ldtilecfg", "eight tiles"},
  };
  CHECK(ending_of({{tile_configure, {address(&good)}}, {product, {}}, {tile_release, {}}}).signal == 0);
  for (const Case& c : cases) {
    INFO(c.name << ": " << c.fault);
    const Registers configuration{address(&c.configuration)};
    std::vector<std::pair<Code, Registers>> pieces{{tile_configure, configuration}};
    if (c.code) pieces.emplace_back(c.code, at);
    tiles::State s{};
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto step = tiles::step(s, pieces[i].first, pieces[i].second.data());
      REQUIRE(step.length > 0);
      if (i + 1 < pieces.size()) {
        REQUIRE(step.fault == nullptr);
        continue;
      }
      CHECK(step.name == c.name);
      REQUIRE(step.fault != nullptr);
      CHECK(std::string(step.fault).find(c.fault) != std::string::npos);
      const Ending e = ending_of(pieces);
      if (real) {
        CHECK((e.signal == SIGILL || e.signal == SIGSEGV));
      } else {
        CHECK(e.signal == SIGILL);
        CHECK(e.said == fmt::format("tile emulator: {} at 0x{:012x}: {}\n", c.name, address(pieces[i].first), step.fault));
      }
    }
  }
}

TEST_CASE("any other invalid instruction ends the process") {
  if (!provided()) return;
  const Ending e = ending_of({{tile_invalid, {}}});
  CHECK(e.signal == SIGILL);
  if (tiles::provide() == tiles::Provider::emulator)
    CHECK(e.said.starts_with(fmt::format("tile emulator: unknown instruction at 0x{:012x}: bytes 0f 0b", address(tile_invalid))));
}

TEST_CASE("the two instructions on f16") {
  if (!provided()) return;
  for (uint32_t first = 0; first < 65536; first += 32) {
    uint16_t a[32], b[32], out[64], operands[64];
    for (uint32_t i = 0; i < 32; ++i) a[i] = static_cast<uint16_t>(first + i);
    for (const float n : {0.f, 3.f, -4.f, 14.5f, -14.25f, -30.f, 40.f, -1000.f}) {
      std::fill(b, b + 32, float_to_half(n));
      half_scale(a, b, out, operands);
      CHECK((std::equal(a, a + 32, operands) && std::equal(b, b + 32, operands + 32) && std::equal(out, out + 32, out + 32)));
      for (size_t i = 0; i < 32; ++i) {
        const float x = half_to_float(a[i]), want = half_to_float(float_to_half(std::ldexp(x, static_cast<int>(std::floor(n)))));
        const float got = half_to_float(out[i]);
        if (std::isnan(want) ? !std::isnan(got) : std::bit_cast<uint32_t>(want) != std::bit_cast<uint32_t>(got))
          FAIL(x << " scaled by 2^" << n << " gives " << got << ", not " << want);
      }
    }
    half_round(a, out, operands);
    CHECK((std::equal(a, a + 32, operands) && std::equal(out, out + 32, out + 32)));
    for (size_t i = 0; i < 32; ++i) {
      const double x = std::nearbyint(half_to_float(a[i]));
      const int want = x >= -32768 && x <= 32767 ? static_cast<int>(x) : -32768;
      if (static_cast<int16_t>(out[i]) != want) FAIL(half_to_float(a[i]) << " gives " << static_cast<int16_t>(out[i]) << ", not " << want);
    }
  }
}
