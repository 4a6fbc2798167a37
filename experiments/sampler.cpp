#include "experiments/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace kerf {
namespace {

using Candidate = Sampler::Candidate;

void check(bool ok, std::string_view flag, std::string_view range, double value) {
  if (!ok) throw Error(ErrorKind::usage, fmt::format("{} must be {}, got {}", flag, range, value), std::string(flag));
}

/// Fills p with the softmax of logits / temp. Candidates are sorted: the first has the largest logit.
void softmax(std::vector<Candidate>& list, double temp) {
  double sum = 0;
  for (Candidate& c : list) sum += c.p = std::exp((static_cast<double>(c.logit) - static_cast<double>(list[0].logit)) / temp);
  for (Candidate& c : list) c.p /= sum;
}

bool before(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

}  // namespace

Sampler::Sampler(SamplerOptions options) : options_(options), random_(options.seed) {
  const auto& o = options_;
  check(std::isfinite(o.temp) && o.temp >= 0, "--temp", "0 or more", static_cast<double>(o.temp));
  check(o.top_p >= 0 && o.top_p <= 1, "--top-p", "between 0 and 1", static_cast<double>(o.top_p));
  check(o.min_p >= 0 && o.min_p <= 1, "--min-p", "between 0 and 1", static_cast<double>(o.min_p));
  check(std::isfinite(o.repeat_penalty) && o.repeat_penalty > 0, "--repeat-penalty", "above 0", static_cast<double>(o.repeat_penalty));
  check(o.repeat_last_n >= -1, "--repeat-last-n", "-1 or more", o.repeat_last_n);
}

void Sampler::accept(int32_t id) { recent_.push_back(id); }

std::vector<Candidate> Sampler::candidates(std::span<const float> logits, std::string_view position) const {
  KERF_CHECK(!logits.empty(), "no logits to sample from");
  std::vector<Candidate> list(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) throw Error(ErrorKind::runtime, fmt::format("the logit of token {} is {}", i, logits[i]), std::string(position));
    list[i] = {.id = static_cast<int32_t>(i), .logit = logits[i]};
  }
  if (options_.repeat_penalty != 1) {
    const size_t n = options_.repeat_last_n < 0 ? recent_.size() : std::min(recent_.size(), static_cast<size_t>(options_.repeat_last_n));
    std::vector<int32_t> ids(recent_.end() - static_cast<std::ptrdiff_t>(n), recent_.end());
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const int32_t id : ids) {
      if (id < 0 || static_cast<size_t>(id) >= list.size()) continue;
      float& logit = list[static_cast<size_t>(id)].logit;
      logit = logit > 0 ? logit / options_.repeat_penalty : logit * options_.repeat_penalty;
    }
  }
  const size_t k = options_.temp == 0 ? 1 : options_.top_k <= 0 ? list.size() : std::min(list.size(), static_cast<size_t>(options_.top_k));
  std::partial_sort(list.begin(), list.begin() + static_cast<std::ptrdiff_t>(k), list.end(), before);
  list.resize(k);

  softmax(list, 1);  // top-p and min-p look at the model's own probabilities: temperature comes after them
  if (options_.top_p < 1) {
    double mass = 0;
    size_t keep = 0;
    do mass += list[keep++].p;
    while (keep < list.size() && mass < static_cast<double>(options_.top_p));
    list.resize(keep);
  }
  if (options_.min_p > 0) {
    const double least = static_cast<double>(options_.min_p) * list[0].p;
    const auto end = std::find_if(list.begin() + 1, list.end(), [&](const Candidate& c) { return c.p < least; });
    list.erase(end, list.end());
  }
  softmax(list, options_.temp == 0 ? 1 : static_cast<double>(options_.temp));
  return list;
}

int32_t Sampler::next(std::span<const float> logits, std::string_view position) {
  const auto list = candidates(logits, position);
  if (options_.temp == 0) return list[0].id;
  double u = static_cast<double>(random_() >> 11) * 0x1p-53;  // [0, 1) with all 53 bits of a double
  for (const Candidate& c : list) {
    if (u < c.p) return c.id;
    u -= c.p;
  }
  return list.back().id;  // rounding left a crumb behind the last
}

}  // namespace kerf
