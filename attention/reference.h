// Attention as its definition: scores materialised, double precision, nothing clever. The truth for every kernel.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace kerf::attention {

/// Softmax of `scores` in place; -inf scores become 0. All of them -inf: NaN (0/0), the softmax of nothing.
void softmax(std::span<double> scores);

/// One query against the keys it sees: out = softmax(scale * q K^T) V.
/// @param q [hd]   @param k, v [n, hd], row s is the s-th visible key   @param out [hd]
void reference(std::span<const double> q, std::span<const double> k, std::span<const double> v, double scale, std::span<double> out);

/// How far a float kernel may be off, in units of the last place of f32, per element of `out`: see kernel_check's gates.
/// bound[d] = sum_s p_s |v_sd| * (1 + max_s scale * sum_d |q_d k_sd|): a score's relative error becomes p's.
/// @return the largest scale * sum_d |q_d k_sd|: times the relative error of a product, the error of a score
double condition(std::span<const double> q, std::span<const double> k, std::span<const double> v, double scale, std::span<double> bound);

}  // namespace kerf::attention
