#include "attention/reference.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kerf::attention {
namespace {

std::vector<double> probabilities(std::span<const double> q, std::span<const double> k, double scale) {
  std::vector<double> p(k.size() / q.size());
  for (size_t s = 0; s < p.size(); ++s) {
    double dot = 0;
    for (size_t d = 0; d < q.size(); ++d) dot += q[d] * k[s * q.size() + d];
    p[s] = scale * dot;
  }
  softmax(p);
  return p;
}

}  // namespace

void softmax(std::span<double> scores) {
  constexpr double kMasked = -std::numeric_limits<double>::infinity();
  double max = kMasked, sum = 0;
  for (const double s : scores) max = std::max(max, s);
  for (double& s : scores) sum += s = s == kMasked ? 0 : std::exp(s - max);
  for (double& s : scores) s /= sum;
}

void reference(std::span<const double> q, std::span<const double> k, std::span<const double> v, double scale, std::span<double> out) {
  const auto p = probabilities(q, k, scale);
  std::fill(out.begin(), out.end(), 0);
  for (size_t s = 0; s < p.size(); ++s)
    for (size_t d = 0; d < out.size(); ++d) out[d] += p[s] * v[s * out.size() + d];
}

double condition(std::span<const double> q, std::span<const double> k, std::span<const double> v, double scale, std::span<double> bound) {
  const auto p = probabilities(q, k, scale);
  double largest = 0;
  std::fill(bound.begin(), bound.end(), 0);
  for (size_t s = 0; s < p.size(); ++s) {
    double score = 0;
    for (size_t d = 0; d < q.size(); ++d) score += std::abs(q[d] * k[s * q.size() + d]);
    largest = std::max(largest, std::abs(scale) * score);
    for (size_t d = 0; d < bound.size(); ++d) bound[d] += p[s] * std::abs(v[s * bound.size() + d]);
  }
  for (double& b : bound) b *= 1 + largest;
  return largest;
}

}  // namespace kerf::attention
