// Every kernel against the reference:
//   test_kernels [PREFIX] [--op OP] [--dtype T] [--case I] [--seed S] [--threads] [--exact] [--few N] [--device D] [--emulate-tiles]
// Without --dtype, --case, --exact and --threads also fails for a kernel that no case reaches. --threads takes only the cases that run
// with several thread counts. test_kernels --reach OP...: nothing is run; a kernel that no case reaches fails, and an op that
// is not among the arguments, which are those with an entry in CTest; behind "--tiles" those with --emulate-tiles.
// --exact: only cases of exact data, whose results must be equal in every bit. --few: for each kernel and type of a tensor N
// cases of little work, with ragged edges among them (experiments/kernel_check.h, few_cases). --device: kernels that run there
// ("emu:0=1GiB,reverse"), without it those of the host.
// --emulate-tiles: only kernels that need tiles, on a machine without (tests/kernels/tile_emulator.h).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "backends/backends.h"
#include "core/error.h"
#include "experiments/kernel_check.h"
#include "tests/kernels/tile_emulator.h"

namespace kerf {
namespace {

template <class T>
T number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) throw Error(ErrorKind::usage, fmt::format("\"{}\" is not a number", text));
  return value;
}

/// What CTest takes for "not run" (SKIP_RETURN_CODE).
constexpr int kSkipped = 77;

KernelChecker::Selection parse(std::span<char*> arguments, std::unique_ptr<Device>& device) {
  KernelChecker::Selection select{.isa = detect_isa()};
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view a = arguments[i];
    if (a == "--threads")
      select.threads = true;
    else if (a == "--exact")
      select.exact = true;
    else if (a == "--emulate-tiles")
      select.least = Isa::amx;
    else if (!a.starts_with("--"))
      select.prefix = a;
    else if (i + 1 == arguments.size())
      throw Error(ErrorKind::usage, fmt::format("{} needs a value", a));
    else if (const std::string_view v = arguments[++i]; a == "--op")
      select.op = v;
    else if (a == "--dtype")
      select.dtype = dtype_named(v);
    else if (a == "--case")
      select.only = number<size_t>(v);
    else if (a == "--few")
      select.few = number<size_t>(v);
    else if (a == "--device")
      device = make_device(v, device_kinds());
    else if (a == "--seed")
      select.seed = number<uint64_t>(v);
    else
      throw Error(ErrorKind::usage, fmt::format("unknown option {}", a));
  }
  select.device = device.get();
  return select;
}

int unreached(const Registry& registry, std::span<char*> ops) {
  int count = 0;
  const auto tiles = std::find(ops.begin(), ops.end(), std::string_view("--tiles"));
  for (const auto op : op_names()) {
    if (std::find(ops.begin(), tiles, op) != tiles) continue;
    fmt::print("{}: no CTest entry runs this op's cases\n", op);
    ++count;
  }
  for (const auto& k : registry.all()) {
    if (k.isa == Isa::amx && std::find(tiles, ops.end(), k.op) == ops.end()) {
      fmt::print("{}: no CTest entry runs this op's cases with emulated tiles\n", k.name());
      ++count;
    }
    const auto cases = kernel_cases(k.op);
    if (std::any_of(cases.begin(), cases.end(), [&](const KernelCase& c) { return bool(k.accepts(c.problem)); })) continue;
    fmt::print("{}: no case reaches this kernel\n", k.name());
    ++count;
  }
  return count;
}

int run(std::span<char*> arguments) {
  Registry registry;
  fill_all(registry);
  if (!arguments.empty() && arguments[0] == std::string_view("--reach")) return unreached(registry, arguments.subspan(1)) ? 5 : 0;
  std::unique_ptr<Device> device;
  auto select = parse(arguments, device);
  if (select.least == Isa::amx) {
    const auto provider = tiles::provide();
    if (provider == tiles::Provider::processor)
      fmt::print("skipped: this machine has tiles; without --emulate-tiles their kernels are among the others\n");
    if (provider == tiles::Provider::nobody) fmt::print("skipped: tiles are emulated on Linux with AVX512 VNNI, VBMI, VBMI2 and BF16\n");
    if (provider != tiles::Provider::emulator) return kSkipped;
    select.isa = Isa::amx;
  }
  KernelChecker checker;
  int failed = 0, cases = 0;
  fmt::print("seed {}, {}\n{:<40} {:>6} {:>6} {:>10} {:>9} {:>10}\n", select.seed,
             select.least == Isa::amx ? "amx with emulated tiles" : name_of(select.isa), "kernel", "cases", "failed", "worst ulp", "of limit",
             "1-cosine");
  for (const auto& r : checker.test(registry, select, [](const std::string& text) { fmt::print("FAILED {}\n", text); })) {
    if (!r.skipped.empty())
      fmt::print("{:<40} skipped: {}\n", r.kernel, r.skipped);
    else
      fmt::print("{:<40} {:>6} {:>6} {:>10.2f} {:>9.3f} {:>10.2g}\n", r.kernel, r.cases, r.failed, r.worst_ulp, r.worst, 1 - r.cosine);
    failed += r.failed;
    cases += r.cases;
  }
  if (cases == 0) fmt::print("nothing was tested: no kernel accepts a selected case\n");
  return failed || cases == 0 ? 5 : 0;
}

}  // namespace
}  // namespace kerf

int main(int argc, char** argv) {
  try {
    return kerf::run({argv + 1, argv + argc});
  } catch (const kerf::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return static_cast<int>(e.kind);
  }
}
