// The test of the test: kernels with one seeded fault each must be reported, the same kernel without it must pass.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>

#include "core/cost.h"
#include "experiments/kernel_check.h"
#include "quant/formats.h"
#include "tests/catch.h"

namespace kerf {
namespace {

// A right matmul (f32 activations, any weights), with a hook after it for the fault.
template <void (*fault)(const Problem&, const Call&)>
void matmul_then(const Problem& p, const Call& call) {
  std::vector<float> w(static_cast<size_t>(p.in[1].cols()));
  for (int64_t n = 0; n < p.in[1].rows(); ++n) {
    quant::decode_row(p.in[1].dtype, call.in[1].row<const std::byte>(n), p.in[1].cols(), w.data());
    for (int64_t t = 0; t < p.in[0].rows(); ++t) {
      float sum = 0;
      for (size_t k = 0; k < w.size(); ++k) sum += call.in[0].row<const float>(t)[k] * w[k];
      call.out[0].row<float>(t)[n] = sum;
    }
  }
  fault(p, call);
}

float& last(const Call& call) { return call.out[0].as<float>()[call.out[0].desc.size() - 1]; }

void none(const Problem&, const Call&) {}
void off_by_a_thousandth(const Problem&, const Call& call) { last(call) *= 1.001f; }
void off_by_one_ulp_of_exact(const Problem&, const Call& call) { last(call) = std::nextafter(last(call), 1e30f); }
void leaves_the_last_column(const Problem&, const Call& call) {  // as if it had never been written: what was there before
  static_assert(sizeof(float) == 4);
  std::memcpy(&last(call), reinterpret_cast<const std::byte*>(&last(call)) + 4, 4);  // the guard behind has the same pattern
}
void leaves_the_rest_of_a_tile(const Problem& p, const Call& call) {
  const int64_t T = p.in[0].rows();
  if (T > kTileRows && T % kTileRows != 0) leaves_the_last_column(p, call);
}
void writes_behind(const Problem&, const Call& call) { (&last(call))[1] = 0; }
void writes_before(const Problem&, const Call& call) { call.out[0].as<float>()[-1] = 0; }
void writes_behind_scratch(const Problem&, const Call& call) { call.scratch.data()[call.scratch.size()] = std::byte{1}; }
void changes_its_input(const Problem&, const Call& call) { call.in[0].as<float>()[0] += 1; }
void reads_behind(const Problem&, const Call& call) { last(call) += 1e-30f * call.in[0].as<const float>()[call.in[0].desc.size()]; }
void trusts_scratch(const Problem&, const Call& call) { last(call) += static_cast<float>(call.scratch[0]) * 1e-30f; }
void depends_on_threads(const Problem&, const Call& call) { last(call) *= call.pool.size() > 1 ? 1 + 0x1p-22f : 1.f; }
void drops_a_product(const Problem& p, const Call& call) {
  if (p.in[1].dtype == DType::f32)
    last(call) -= call.in[0].row<const float>(p.in[0].rows() - 1)[0] * call.in[1].row<const float>(p.in[1].rows() - 1)[0];
}
void hides_nan(const Problem&, const Call& call) {
  for (int64_t i = 0; i < call.out[0].desc.size(); ++i)
    if (std::isnan(call.out[0].as<float>()[i])) call.out[0].as<float>()[i] = 0;
}
void throws(const Problem&, const Call&) { throw std::runtime_error("no"); }

template <void (*fault)(const Problem&, const Call&)>
KernelReport report(bool seeded_for_one_case = false) {
  Registry registry;
  registry.backend("wrong").add(
      {.op = MatMul::name,
       .variant = "seeded",
       .note = "a fault on purpose",
       .accepts = [](const Problem& p) { return require(p.in[0].dtype == DType::f32 && p.in[1].size() < 20000, "small ones are enough here"); },
       .scratch_bytes = [](const Problem&) { return size_t{64}; },
       .run = matmul_then<fault>});
  KernelChecker checker;
  KernelChecker::Selection select{.op = "matmul", .dtype = DType::f32, .seed = 3};
  if (seeded_for_one_case) select.only = 1;
  return checker.test(registry, select).at(0);
}

TEST_CASE("the kernel without a fault passes") {
  const auto r = report<none>();
  CHECK(r.cases > 40);
  CHECK(r.failed == 0);
  CHECK(r.worst_ulp > 0);
  CHECK(r.worst < 1);
  CHECK(r.cosine > 1 - 1e-11);
}

TEST_CASE("every seeded fault is found") {
  const auto found = [](const KernelReport& r, std::string_view why) {
    REQUIRE(r.failed > 0);
    INFO(r.failures[0].failure);
    CHECK(r.failures[0].failure.find(why) != std::string::npos);
  };
  found(report<off_by_a_thousandth>(), "must be");
  found(report<off_by_one_ulp_of_exact>(), "must be exactly");
  found(report<leaves_the_last_column>(), "must be");
  found(report<writes_behind>(), "wrote outside of output 0");
  found(report<writes_before>(), "wrote outside of output 0");
  found(report<writes_behind_scratch>(), "wrote outside of its scratch");
  found(report<changes_its_input>(), "changed input 0");
  found(report<reads_behind>(), "nan");
  found(report<trusts_scratch>(), "must be");
  found(report<depends_on_threads>(), "threads differs from run 1");
  found(report<drops_a_product>(), "must be");
  found(report<hides_nan>(), "nan");
  found(report<throws>(), "threw: no");
}

TEST_CASE("a fault in one element of a random case is found with normal data too") {
  const auto r = report<off_by_a_thousandth>(true);
  CHECK(r.cases == 1);
  CHECK(r.failed == 1);
  CHECK(r.failures[0].data == DataKind::normal);
  CHECK(r.failures[0].seed == 3);
}

TEST_CASE("a kernel that no case reaches fails, and a failure says how to repeat it") {
  Registry registry;
  registry.backend("wrong").add({.op = Add::name,
                                 .variant = "lonely",
                                 .note = "n",
                                 .accepts = [](const Problem&) { return Support{"never"}; },
                                 .run = [](const Problem&, const Call&) {}});
  registry.backend("wrong").add({.op = Add::name,
                                 .variant = "idle",
                                 .note = "writes nothing",
                                 .accepts = [](const Problem&) { return Support{}; },
                                 .run = [](const Problem&, const Call&) {}});
  registry.backend("wrong").add({.op = Add::name,
                                 .variant = "other",
                                 .note = "n",
                                 .isa = Isa::vnni,
                                 .accepts = [](const Problem&) { return Support{}; },
                                 .run = [](const Problem&, const Call&) {}});
  std::vector<std::string> texts;
  KernelChecker checker;
  const auto reports = checker.test(registry, {.op = "add", .isa = Isa::base, .seed = 42}, [&](const std::string& t) { texts.push_back(t); });
  REQUIRE(reports.size() == 3);
  CHECK(reports[0].failed == 1);
  CHECK(reports[0].failures[0].failure.find("no case reaches") == 0);
  CHECK(reports[1].failed == reports[1].cases);
  CHECK(reports[2].skipped.find("needs vnni") == 0);
  REQUIRE_FALSE(texts.empty());
  CHECK(texts[0].find("repeat: kerf kernels test wrong/add.idle --case 0 --seed 42") != std::string::npos);
}

TEST_CASE("few cases: every type, ragged edges, the least work, and a kernel that none reaches fails") {
  const auto cases = kernel_cases("matmul");
  std::vector<size_t> all(cases.size());
  std::iota(all.begin(), all.end(), size_t{0});
  const Kernel reads_f32{.op = MatMul::name, .accepts = [](const Problem& p) { return require(p.in[0].dtype == DType::f32, "reads f32"); }};
  const auto types_of = [&](const std::vector<size_t>& some) {
    std::set<DType> types;
    for (const size_t i : some) types.insert(cases[i].problem.in[1].dtype);
    return types;
  };
  std::vector<size_t> accepted;
  for (const size_t i : all)
    if (reads_f32.accepts(cases[i].problem)) accepted.push_back(i);
  const auto is_ragged = [](int64_t n) { return n > kTileRows && n % kTileRows != 0; };
  const auto T = [&](size_t i) { return cases[i].problem.out[0].rows(); };
  const auto N = [&](size_t i) { return cases[i].problem.out[0].cols(); };

  const auto one = few_cases(reads_f32, cases, all, 1), three = few_cases(reads_f32, cases, all, 3);
  CHECK(types_of(one) == types_of(accepted));
  CHECK(one.size() == types_of(accepted).size());
  CHECK(three.size() == 3 * one.size());
  for (const auto& some : {one, three}) {
    CHECK(std::is_sorted(some.begin(), some.end()));
    CHECK(std::any_of(some.begin(), some.end(), [&](size_t i) { return is_ragged(T(i)); }));
    CHECK(std::any_of(some.begin(), some.end(), [&](size_t i) { return is_ragged(N(i)); }));
    CHECK(std::any_of(some.begin(), some.end(), [&](size_t i) { return T(i) == 1; }));
    CHECK(std::all_of(some.begin(), some.end(), [&](size_t i) { return cases[i].data == DataKind::exact; }));
  }
  for (const DType t : types_of(accepted)) {  // with three, each type has each of them
    const auto has = [&](auto&& what) {
      return std::any_of(three.begin(), three.end(), [&](size_t i) { return cases[i].problem.in[1].dtype == t && what(i); });
    };
    INFO(name_of(t));
    CHECK(has([&](size_t i) { return is_ragged(T(i)); }));
    CHECK(has([&](size_t i) { return is_ragged(N(i)); }));
    CHECK(has([&](size_t i) { return T(i) == 1; }));
  }
  const auto work = [&](const std::vector<size_t>& some) {
    int64_t flops = 0;
    for (const size_t i : some) flops += cost(cases[i].problem).flops;
    return flops;
  };
  CHECK(work(three) * 10 < work(accepted));
  CHECK(few_cases(reads_f32, cases, all, cases.size()) == accepted);

  // A fault in the rows behind the last whole tile is found with one case, and what no case reaches is no success.
  Registry registry;
  registry.backend("wrong").add({.op = MatMul::name,
                                 .variant = "ragged",
                                 .note = "leaves what is behind the last whole tile of rows",
                                 .accepts = reads_f32.accepts,
                                 .run = matmul_then<leaves_the_rest_of_a_tile>});
  registry.backend("wrong").add({.op = MatMul::name,
                                 .variant = "lonely",
                                 .note = "n",
                                 .accepts = [](const Problem&) { return Support{"never"}; },
                                 .run = [](const Problem&, const Call&) {}});
  const auto reports = KernelChecker().test(registry, {.op = "matmul", .few = 1});
  CHECK(reports.at(0).failed > 0);
  CHECK(reports.at(0).failed < reports.at(0).cases);
  CHECK(reports.at(0).cases == static_cast<int>(one.size()));
  CHECK(reports.at(1).failed == 1);
}

TEST_CASE("exact data is exact: float sums in any order equal the double sum") {
  // All cases of exact data must keep sum |x w| below 2^24 units of the smallest step, or bit-equality could not be asked for.
  for (const auto& c : kernel_cases("matmul")) {
    if (c.data != DataKind::exact || c.problem.in[1].cols() < 256) continue;
    const auto inputs = make_inputs(c.problem, c.data, 1);
    std::vector<double> largest(2), step(2, std::numeric_limits<double>::infinity());
    for (size_t i = 0; i < 2; ++i) {
      std::vector<float> row(static_cast<size_t>(c.problem.in[i].cols()));
      for (int64_t r = 0; r < c.problem.in[i].rows(); ++r) {
        quant::decode_row_of(c.problem.in[i], inputs.bytes[i].data(), r, row.data());
        double sum = 0;
        for (const float v : row) {
          sum += std::fabs(v);
          if (v == 0) continue;
          int exponent = 0;  // v = m 2^exponent with m odd
          double m = std::frexp(std::fabs(double(v)), &exponent);
          while (m != std::floor(m)) m *= 2, --exponent;
          step[i] = std::min(step[i], std::ldexp(1.0, exponent));
        }
        largest[i] = std::max(largest[i], sum / static_cast<double>(row.size()));
      }
    }
    INFO(to_text(c.problem));
    CHECK(largest[0] * largest[1] * static_cast<double>(c.problem.in[1].cols()) < 0x1p24 * step[0] * step[1]);
  }
}

TEST_CASE("data is a function of its seed") {
  const auto cases = kernel_cases("attention");
  const auto a = make_inputs(cases[1].problem, cases[1].data, 7, cases[1].depth), b = make_inputs(cases[1].problem, cases[1].data, 7, cases[1].depth);
  CHECK(a.bytes == b.bytes);
  CHECK(a.bytes != make_inputs(cases[1].problem, cases[1].data, 8, cases[1].depth).bytes);
}

}  // namespace
}  // namespace kerf
