// causal_conv: each channel convolved with its own J taps over time, then silu (Yang, Kautz, Hatamizadeh 2024, as in Mamba's
// short convolution, Gu & Dao 2023). What came before the batch is in the state, oldest first; zeros before position 0.
#include <vector>

#include "backends/reference/definitions.h"

namespace kerf::reference {
namespace {

void run(const Problem& p, const Call& call) {
  const int64_t T = p.in[0].rows(), C = p.in[0].cols(), J = p.in[1].cols(), keys = std::get<CausalConv>(p.op).keys;
  const TensorView &x = call.in[0], &w = call.in[1], &state = call.out[3];
  const bool fresh = call.in[3].as<const int32_t>()[0] == 0;
  std::vector<float> past(static_cast<size_t>(J - 1 + T));  // of one channel: the state, then the batch
  for (int64_t c = 0; c < C; ++c) {
    for (int64_t j = 0; j < J - 1; ++j) past[static_cast<size_t>(j)] = fresh ? 0 : state.row<const float>(j)[c];
    for (int64_t t = 0; t < T; ++t) past[static_cast<size_t>(J - 1 + t)] = x.row<const float>(t)[c];
    const size_t out = c < keys ? 0 : c < 2 * keys ? 1 : 2;
    const int64_t column = c - static_cast<int64_t>(out) * keys;
    for (int64_t t = 0; t < T; ++t) {
      double sum = 0;
      for (int64_t j = 0; j < J; ++j) sum += double(w.row<const float>(c)[j]) * past[static_cast<size_t>(t + j)];
      call.out[out].row<float>(t)[column] = static_cast<float>(swiglu(sum, 1));
    }
    for (int64_t j = 0; j < J - 1; ++j) state.row<float>(j)[c] = past[static_cast<size_t>(T + j)];
  }
}

}  // namespace

void causal_conv(Registry::Adder registry) {
  registry.add({.op = CausalConv::name, .note = "the definition", .accepts = [](const Problem&) { return Support{}; }, .run = run});
}

}  // namespace kerf::reference
