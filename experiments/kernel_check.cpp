#include "experiments/kernel_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "backends/backends.h"
#include "core/cost.h"
#include "core/error.h"
#include "experiments/kernel_attempt.h"
#include "experiments/kernel_gates.h"
#include "quant/formats.h"

namespace kerf {
namespace {

std::string element(const TensorDesc& d, size_t i) {
  return fmt::format("[{}, {}]", static_cast<int64_t>(i) / d.cols(), static_cast<int64_t>(i) % d.cols());
}

/// Compares with the truth; fills worst, worst_ulp, cosine and failure.
void compare(CheckResult& r, const TensorDesc& d, const std::vector<std::byte>& got_bytes, const std::vector<std::byte>& want_bytes,
             const std::vector<float>& want, const Gate& gate, double unit) {
  if (gate.allowed.empty() && got_bytes == want_bytes) return;
  if (info(d.dtype).block_values > 1 && gate.allowed.empty()) {
    const auto at = std::mismatch(got_bytes.begin(), got_bytes.end(), want_bytes.begin()).first - got_bytes.begin();
    r.failure = fmt::format("byte {} of row {} differs", at % d.row_bytes(), at / d.row_bytes());
    // A NaN has many encodings; the format's scales may hold any of them.
    if (decoded(d, got_bytes).size() == want.size()) {
      const auto got = decoded(d, got_bytes);
      const bool same = std::equal(got.begin(), got.end(), want.begin(), [](float a, float b) { return a == b || (std::isnan(a) && std::isnan(b)); });
      if (same && std::any_of(want.begin(), want.end(), [](float x) { return std::isnan(x); })) r.failure.clear();
    }
    return;
  }
  const auto got = decoded(d, got_bytes);
  double dot = 0, gg = 0, ww = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double g = got[i], w = want[i];
    if (gate.allowed.empty()) {
      if (g == w || (std::isnan(g) && std::isnan(w))) continue;
      r.worst = std::numeric_limits<double>::infinity();
      r.failure = fmt::format("element {} is {:.9g}, must be exactly {:.9g}", element(d, i), g, w);
      return;
    }
    if (!std::isfinite(g) || !std::isfinite(w)) {  // which of NaN and infinity depends on the order of sums
      if (std::isfinite(g) == std::isfinite(w)) continue;
      r.failure = fmt::format("element {} is {:.9g}, must be {:.9g}", element(d, i), g, w);
      return;
    }
    dot += g * w, gg += g * g, ww += w * w;
    const double error = std::fabs(g - w);
    if (error == 0) continue;
    const double allowed = gate.of(i, unit);
    r.worst = std::max(r.worst, error / allowed);
    if (gate.yardstick[i] > 0x1p-100) r.worst_ulp = std::max(r.worst_ulp, error / (kUlp * gate.yardstick[i]));
    if (!(error <= allowed) && r.failure.empty())
      r.failure = fmt::format("element {} is {:.9g}, must be {:.9g} within {:.3g}: off by {:.3g} = {:.1f} ulp of {:.3g}", element(d, i), g, w,
                              allowed, error, error / (kUlp * gate.yardstick[i]), gate.yardstick[i]);
  }
  if (gg > 0 && ww > 0) r.cosine = dot / std::sqrt(gg * ww);
  if (r.failure.empty() && r.data == DataKind::normal && got.size() >= 16 && r.cosine < 1 - (gate.angle + (unit > kUlp ? 4 * unit * unit : 0)))
    r.failure = fmt::format("cosine with the reference is 1 - {:.3g}", 1 - r.cosine);
}

bool selected(const KernelCase& c, std::optional<DType> dtype) {
  const auto has = [&](const TensorDesc& d) { return d.dtype == *dtype || d.dtype == interleaved(*dtype); };
  return !dtype || std::any_of(c.problem.in.begin(), c.problem.in.end(), has) ||
         (c.problem.op.index() == Op(Convert{}).index() && has(c.problem.out[0]));
}

/// More than one tile, the last of which is not full.
bool is_ragged(int64_t n) { return n > kTileRows && n % kTileRows != 0; }

}  // namespace

std::vector<size_t> few_cases(const Kernel& kernel, std::span<const KernelCase> cases, std::span<const size_t> among, size_t few) {
  const auto work = [&](size_t i) {
    const Cost c = cost(cases[i].problem, std::max<int64_t>(0, cases[i].depth));
    return (c.flops + c.bytes) * (cases[i].data == DataKind::exact ? 1 : 2);
  };
  std::vector<std::pair<std::vector<DType>, std::vector<size_t>>> combinations;
  for (const size_t i : among) {
    if (!kernel.accepts(cases[i].problem)) continue;
    std::vector<DType> types;
    for (const auto& d : cases[i].problem.in) types.push_back(d.dtype);
    for (const auto& d : cases[i].problem.out) types.push_back(d.dtype);
    auto same = std::find_if(combinations.begin(), combinations.end(), [&](const auto& c) { return c.first == types; });
    if (same == combinations.end()) same = combinations.insert(same, {types, {}});
    same->second.push_back(i);
  }
  for (auto& [types, left] : combinations) std::stable_sort(left.begin(), left.end(), [&](size_t a, size_t b) { return work(a) < work(b); });
  std::stable_sort(combinations.begin(), combinations.end(),
                   [&](const auto& a, const auto& b) { return work(a.second.front()) < work(b.second.front()); });
  std::vector<size_t> chosen;
  std::vector<std::pair<size_t, DType>> met;  // of an input or output
  size_t turn = 0;
  for (auto& [types, left] : combinations) {
    bool is_new = false;
    for (size_t place = 0; place < types.size(); ++place) {
      const std::pair type{place, types[place]};
      if (std::find(met.begin(), met.end(), type) != met.end()) continue;
      met.push_back(type);
      is_new = true;
    }
    if (!is_new) continue;
    for (size_t n = 0; n < few && !left.empty(); ++n, ++turn) {
      auto next = std::find_if(left.begin(), left.end(), [&](size_t i) {
        const TensorDesc& out = cases[i].problem.out[0];
        return turn % 3 == 1 || is_ragged(turn % 3 == 0 ? out.rows() : out.cols());
      });
      if (next == left.end()) next = left.begin();
      chosen.push_back(*next);
      left.erase(next);
    }
  }
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

struct KernelChecker::Truth {
  KernelCase c{};
  uint64_t seed = 0;
  KernelInputs inputs{};
  std::vector<std::vector<std::byte>> bytes{};  // by output
  std::vector<std::vector<float>> values{};
  std::array<std::vector<Gate>, 256> gates{};  // by Kernel::unit_values, made when a kernel asks
};

KernelChecker::KernelChecker() {
  fill_reference(reference_);
  const int threads[] = {1, 2, 3, 8};
  for (size_t i = 0; i < pools_.size(); ++i) pools_[i] = std::make_unique<ThreadPool>(threads[i]);
}

KernelChecker::~KernelChecker() = default;

const KernelChecker::Truth& KernelChecker::truth(const KernelCase& c, uint64_t seed) {
  if (truth_ && truth_->seed == seed && truth_->c.problem == c.problem && truth_->c.data == c.data && truth_->c.depth == c.depth) return *truth_;
  auto t = std::make_unique<Truth>(Truth{.c = c, .seed = seed, .inputs = make_inputs(c.problem, c.data, seed, c.depth)});
  const Kernel* kernel = reference_.find(fmt::format("reference/{}", name_of(c.problem.op)));
  KERF_CHECK(kernel && kernel->accepts(c.problem), "no reference kernel for " + to_text(c.problem));
  auto run = attempt(*kernel, c.problem, t->inputs, *pools_[0], kPatterns[0]);
  KERF_CHECK(run.failure.empty(), fmt::format("the reference {} {} ({})", kernel->name(), run.failure, to_text(c.problem)));
  t->bytes = std::move(run.out);
  for (size_t i = 0; i < t->bytes.size(); ++i) t->values.push_back(decoded(c.problem.out[i], t->bytes[i]));
  truth_ = std::move(t);
  return *truth_;
}

CheckResult KernelChecker::check(const Kernel& kernel, const KernelCase& c, uint64_t seed, std::span<ThreadPool* const> pools, Device* device) {
  const Truth& truth = this->truth(c, seed);
  auto& gates = truth_->gates[kernel.unit_values];
  if (gates.empty()) gates = make_gates(c.problem, truth.inputs, truth.values, c.data, reference_, *pools_[0], kernel.unit_values);
  CheckResult r{.kernel = kernel.name(), .problem = to_text(c.problem), .data = c.data, .seed = seed};
  std::vector<std::vector<std::byte>> first;
  for (size_t i = 0; i < std::max<size_t>(2, pools.size()); ++i) {
    ThreadPool& pool = *pools[i % pools.size()];
    auto run = attempt(kernel, c.problem, truth.inputs, pool, kPatterns[i % 2], device);
    r.failure = run.failure;
    if (!r) return r;
    if (i == 0) {
      first = std::move(run.out);
      for (size_t o = 0; o < first.size() && r; ++o) compare(r, c.problem.out[o], first[o], truth.bytes[o], truth.values[o], gates[o], kernel.unit);
      if (!r) return r;
      continue;
    }
    for (size_t o = 0; o < first.size(); ++o) {
      if (run.out[o] == first[o]) continue;
      const auto at = std::mismatch(first[o].begin(), first[o].end(), run.out[o].begin()).first - first[o].begin();
      const int64_t row = c.problem.out[o].row_bytes();
      r.failure = fmt::format(
          "run {} with {} threads differs from run 1 at byte {} of row {} of output {}: an element is left unwritten, memory outside the inputs "
          "is read, or the result depends on the threads",
          i + 1, pool.size(), at % row, at / row, o);
      return r;
    }
  }
  return r;
}

CheckResult KernelChecker::check_format(const Kernel& kernel, const KernelCase& c, DType format, uint64_t seed, Device* device) {
  const Truth& truth = this->truth(c, seed);
  Problem p = c.problem;
  p.out[0].dtype = format;
  CheckResult r{
      .kernel = kernel.name(), .problem = fmt::format("{} written as {}", to_text(c.problem), name_of(format)), .data = c.data, .seed = seed};
  const auto own = attempt(kernel, c.problem, truth.inputs, *pools_[0], kPatterns[0], device);
  const Problem convert = problem(Convert{.to = format}, {c.problem.out[0]});
  const auto want = attempt(*reference_.find("reference/convert"), convert, {{own.out[0]}, {}}, *pools_[0], kPatterns[0]);
  for (size_t i = 0; i < 2 && r; ++i) {
    const auto got = attempt(kernel, p, truth.inputs, *pools_[2 * i], kPatterns[i], device);
    r.failure = got.failure;
    if (r) compare(r, p.out[0], got.out[0], want.out[0], decoded(p.out[0], want.out[0]), {}, kUlp);
  }
  return r;
}

CheckResult KernelChecker::check(const Kernel& kernel, const Problem& p, DataKind data, uint64_t seed, ThreadPool& pool) {
  ThreadPool* const pools[] = {&pool};
  return check(kernel, KernelCase{p, data}, seed, pools);
}

std::vector<KernelReport> KernelChecker::test(const Registry& registry, const Selection& select,
                                              const std::function<void(const std::string&)>& progress) {
  std::vector<KernelReport> reports;
  for (const auto op : op_names()) {
    if (!select.op.empty() && select.op != op) continue;
    std::vector<const Kernel*> kernels;
    std::vector<size_t> report_of;
    const DeviceId where = select.device ? select.device->id() : kHost;
    for (const auto& k : registry.all()) {
      if (k.op != op || k.isa < select.least || !k.name().starts_with(select.prefix)) continue;
      KernelReport report{.kernel = k.name()};
      if (!runs_on(k.backend, where))
        report.skipped = fmt::format("does not run on {}", where);
      else if (k.isa > select.isa)
        report.skipped = fmt::format("needs {}, this machine has {}", name_of(k.isa), name_of(select.isa));
      else
        kernels.push_back(&k), report_of.push_back(reports.size());
      reports.push_back(std::move(report));
    }
    const auto cases = kernel_cases(op);
    std::vector<size_t> chosen;
    for (size_t i = 0; i < cases.size(); ++i) {
      if (!selected(cases[i], select.dtype) || (select.only && *select.only != i) || (select.threads && !cases[i].threads)) continue;
      if (select.exact && cases[i].data != DataKind::exact) continue;
      chosen.push_back(i);
    }
    std::vector<std::vector<size_t>> few;
    for (size_t k = 0; select.few && k < kernels.size(); ++k) few.push_back(few_cases(*kernels[k], cases, chosen, select.few));
    for (const size_t i : chosen) {
      for (size_t k = 0; k < kernels.size(); ++k) {
        if (select.few ? !std::binary_search(few[k].begin(), few[k].end(), i) : !kernels[k]->accepts(cases[i].problem)) continue;
        if (select.before_each) select.before_each();
        std::vector<ThreadPool*> pools{pools_[0].get(), pools_[2].get()};
        // To the sanitizer blocks on one thread are as unordered as on several, whose threads of GPUs would be several times as many.
        if (select.few && select.device)
          pools = {pools_[0].get()};
        else if (cases[i].threads)
          pools = {pools_[0].get(), pools_[1].get(), pools_[2].get(), pools_[3].get()};
        auto& report = reports[report_of[k]];
        const auto take = [&](CheckResult result) {
          ++report.cases;
          report.worst = std::max(report.worst, result.worst);
          report.worst_ulp = std::max(report.worst_ulp, result.worst_ulp);
          if (cases[i].data == DataKind::normal) report.cosine = std::min(report.cosine, result.cosine);
          if (result) return;
          ++report.failed;
          if (progress)
            progress(fmt::format("{}: {} ({} data)\n  {}\n  repeat: kerf kernels test {} --case {} --seed {}", result.kernel, result.problem,
                                 name_of(result.data), result.failure, result.kernel, i, result.seed));
          if (report.failures.size() < 3) report.failures.push_back(std::move(result));
        };
        take(check(*kernels[k], cases[i], select.seed, pools, select.device));
        for (const DType format : kernels[k]->writes) {
          Problem written = cases[i].problem;
          written.out[0].dtype = format;
          if (written.out[0].cols() % info(format).block_values == 0 && kernels[k]->accepts(written))
            take(check_format(*kernels[k], cases[i], format, select.seed, select.device));
        }
      }
    }
    if (select.dtype || select.only || select.exact || select.threads) continue;
    for (const size_t r : report_of)
      if (reports[r].cases == 0) {
        reports[r].failed = 1;
        reports[r].failures.push_back({.kernel = reports[r].kernel, .failure = "no case reaches this kernel: silence is not coverage"});
        if (progress) progress(reports[r].kernel + ": " + reports[r].failures[0].failure);
      }
  }
  return reports;
}

}  // namespace kerf
