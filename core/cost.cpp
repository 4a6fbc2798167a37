#include "core/cost.h"

#include <algorithm>
#include <cmath>

namespace kerf {
namespace {

int64_t outputs_of(const Problem& p) {
  int64_t n = 0;
  for (const auto& d : p.out) n += d.size();
  return n;
}

/// One overload per op: a new op does not compile until its cost exists.
struct CostOf {
  const Problem& p;
  int64_t depth;

  int64_t all_bytes() const {
    int64_t bytes = 0;
    for (const auto& d : p.in) bytes += d.bytes();
    for (const auto& d : p.out) bytes += d.bytes();
    return bytes;
  }
  int64_t outputs() const { return p.out[0].size(); }

  Cost operator()(const Rows&) const { return {0, p.in[1].size() * p.in[0].row_bytes() + p.in[1].bytes() + p.out[0].bytes()}; }
  Cost operator()(const MatMul&) const { return {2 * p.in[0].rows() * p.in[1].rows() * p.in[1].cols(), all_bytes()}; }
  Cost operator()(const Add&) const { return {outputs(), all_bytes()}; }
  Cost operator()(const RmsNorm&) const { return {4 * outputs(), all_bytes()}; }    // square, add, times 1/rms, times w
  Cost operator()(const RopeTable&) const { return {2 * outputs(), all_bytes()}; }  // angle and cos or sin
  Cost operator()(const Rope&) const { return {3 * p.in[0].rows() * (p.in[0].cols() / std::get<Rope>(p.op).head_dim) * p.in[1].cols(), all_bytes()}; }
  Cost operator()(const KvWrite&) const {  // reads x and positions, writes as many rows of the state
    const auto& state = p.in[0];
    return {0, p.in[1].bytes() + p.in[2].bytes() + p.in[1].rows() * state.shape[1] * state.row_bytes()};
  }
  Cost operator()(const Attention& a) const {
    const int64_t T = p.in[0].rows(), last = depth + T - 1, hd = p.in[1].cols(), n_kv = p.in[1].shape[1];
    int64_t pairs = 0;  // (query, key) that see each other
    for (int64_t q = depth; q <= last; ++q) pairs += a.window > 0 ? std::min<int64_t>(q + 1, a.window) : q + 1;
    const int64_t first_key = a.window > 0 ? std::max<int64_t>(0, depth - a.window + 1) : 0, keys = last + 1 - first_key;
    // Per pair and head: two products of hd, scale, subtract, exp, add.
    return {a.n_head * pairs * (4 * hd + 4),
            p.in[0].bytes() + p.in[3].bytes() + p.out[0].bytes() + n_kv * keys * (p.in[1].row_bytes() + p.in[2].row_bytes())};
  }
  Cost operator()(const SwiGlu&) const { return {5 * outputs(), all_bytes()}; }  // exp, add, divide, times gate, times up
  Cost operator()(const MatMuls& m) const {
    Cost c{m.add ? outputs_of(p) : 0, all_bytes()};
    for (int i = 1; i <= m.count; ++i) c.flops += 2 * p.in[0].rows() * p.in[i].size();
    return c;
  }
  Cost operator()(const MatMulSwiGlu&) const { return {4 * p.in[0].rows() * p.in[1].size() + 5 * outputs(), all_bytes()}; }
  Cost operator()(const RopeCache&) const {  // reads q, k, v and the table; writes q and the new rows of both caches
    const int64_t T = p.in[0].rows(), hd = p.in[4].cols();
    const int64_t written = T * p.in[4].shape[1] * (p.in[4].row_bytes() + p.in[5].row_bytes());
    return {3 * (p.in[0].size() + p.in[1].size()) / hd * p.in[3].cols(),
            2 * p.in[0].bytes() + p.in[1].bytes() + p.in[2].bytes() + p.in[3].bytes() + p.in[6].bytes() + written};
  }
  Cost operator()(const Columns&) const { return {0, 2 * p.out[0].bytes()}; }
  Cost operator()(const SigmoidGate&) const { return {3 * outputs(), all_bytes()}; }  // exp, add, divide
  Cost operator()(const Router&) const { return {5 * p.in[0].size(), all_bytes()}; }  // subtract, exp, add, divide, compare
  Cost operator()(const ExpertSum&) const { return {2 * p.in[0].size(), all_bytes()}; }
  Cost operator()(const L2Norm&) const { return {3 * outputs(), all_bytes()}; }
  Cost operator()(const CausalConv&) const {  // the state is read and written, its other copy in p.out counts as that
    return {2 * p.in[0].size() * p.in[1].cols() + 4 * p.in[0].size(), all_bytes()};
  }
  Cost operator()(const DeltaGates&) const { return {7 * outputs(), all_bytes()}; }
  Cost operator()(const GatedDeltaRule&) const {  // decay, S k, the update and S q: 1 + 2 + 2 + 2 for each value of a state
    return {7 * p.in[0].rows() * p.in[5].size(), all_bytes()};
  }
  Cost operator()(const GatedRmsNorm&) const { return {9 * outputs(), all_bytes()}; }
  Cost operator()(const Argmax&) const { return {p.in[0].size(), all_bytes()}; }  // a comparison
  /// Products of every slot with its expert's matrices, and the bytes of the experts that are touched.
  Cost experts() const {
    const ExpertInputs e = *expert_inputs(p.op);
    const TensorDesc& ids = p.in[e.ids];
    const auto X = static_cast<double>(p.in[1].shape[1]), U = static_cast<double>(ids.cols());
    const double touched = X * (1 - std::pow(1 - U / X, static_cast<double>(ids.rows())));
    Cost c{0, all_bytes()};
    for (size_t i = e.first; i < e.first + e.count; ++i) {
      c.flops += 2 * ids.size() * p.in[i].shape[2] * p.in[i].cols();
      c.bytes -= p.in[i].bytes() - std::llround(touched * static_cast<double>(p.in[i].bytes()) / X);
    }
    return c;
  }
  Cost operator()(const ExpertMatMul&) const { return experts(); }
  Cost operator()(const ExpertSwiGlu&) const { return experts() += {5 * outputs(), 0}; }
  Cost operator()(const ExpertMatMulSum&) const { return experts() += {2 * p.in[2].size() * p.out[0].cols(), 0}; }
  Cost operator()(const Convert&) const { return {outputs(), all_bytes()}; }
};

}  // namespace

Cost cost(const Problem& p, int64_t depth) { return std::visit(CostOf{p, depth}, p.op); }

}  // namespace kerf
