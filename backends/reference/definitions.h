// Definitions that a fused op's reference shares with the ops it is made of.
#pragma once
#include "core/kernel.h"

namespace kerf::reference {

/// x [T,H*hd], table [T,dims] -> out [T,H*hd], all f32.
void rotate(const Rope& op, const TensorView& x, const TensorView& table, const TensorView& out);
/// Rows positions[t] of every head of the state become x[t], rounded to the state's format.
void write_rows(const TensorView& state, const TensorView& x, const TensorView& positions);
/// gate / (1 + exp(-gate)) * up
double swiglu(double gate, double up);

}  // namespace kerf::reference
