// Definitions that a fused op's reference shares with the ops it is made of.
#pragma once
#include <cmath>
#include <vector>

#include "core/kernel.h"

namespace kerf::reference {

/// x [T,H*hd], table [T,dims] -> out [T,H*hd], all f32.
void rotate(const Rope& op, const TensorView& x, const TensorView& table, const TensorView& out);
/// Rows positions[t] of every head of the state become x[t], rounded to the state's format.
void write_rows(const TensorView& state, const TensorView& x, const TensorView& positions);
/// gate / (1 + exp(-gate)) * up
double swiglu(double gate, double up);
inline double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
/// Sum of x[k] * w[k], in the order of k.
double dot(const std::vector<float>& x, const std::vector<float>& w);
/// The head of q and k that head h of v reads.
int64_t key_head(const GatedDeltaRule& op, int64_t h, int64_t heads);

}  // namespace kerf::reference
