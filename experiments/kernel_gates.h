// How far a correct kernel may be from the reference: derived for each op from its inputs, never typed in.
#pragma once
#include <vector>

#include "core/threadpool.h"
#include "experiments/kernel_data.h"

namespace kerf {

inline constexpr double kUlp = 0x1p-24;

/// Allowed error of every output element for f32 arithmetic, and the yardstick its ulps are counted in. Empty: bits must be
/// equal. A kernel that rounds its operands to a coarser format (Kernel::unit) may be off by one such rounding of each in
/// addition: unit * operands, the most that can come of it, however many terms there are; and of an op with two products, unit^2 * cross.
struct Gate {
  std::vector<double> allowed{}, yardstick{}, operands{}, cross{};
  double angle = 1e-9;  // how far the cosine of random data may be from 1

  double of(size_t i, double unit) const {
    return allowed[i] + (unit > kUlp ? unit * operands[i] + (cross.empty() ? 0 : unit * unit * cross[i]) : 0);
  }
};

/// The gate of each output of `p` on these inputs. `want` is what the reference made of them; `reference` has its kernels, which
/// are run again on absolute values. `unit_values`: of kernels whose rounded activations share scales (Kernel::unit_values; products
/// without experts): as an error follows the largest of so many, that takes the place of each in absolute values.
std::vector<Gate> make_gates(const Problem& p, const KernelInputs& in, const std::vector<std::vector<float>>& want, DataKind kind,
                             const Registry& reference, ThreadPool& pool, int unit_values = 1);

}  // namespace kerf
