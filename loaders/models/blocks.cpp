#include "loaders/models/blocks.h"

#include <fmt/format.h>

#include <cmath>

namespace kerf {
namespace {

/// The op's parameters from the file's: 1/s, and YaRN's attention temperature 0.1 ln(s) + 1 (Peng et al. 2023, eq. 22),
/// by which cos and sin are multiplied.
RopeTable rope_table(const RopeParams& r) {
  RopeTable t{.dims = static_cast<int>(r.dims), .base = r.freq_base, .magnitude = r.attn_factor};
  if (r.scaling == RopeScaling::none) return t;
  t.freq_scale = 1 / r.factor;
  if (r.scaling != RopeScaling::yarn) return t;
  t.yarn_ext_factor = r.yarn_ext_factor;
  t.beta_fast = r.yarn_beta_fast;
  t.beta_slow = r.yarn_beta_slow;
  t.original_context = static_cast<int>(r.original_context);
  if (r.factor > 1) t.magnitude *= r.yarn_attn_factor * (1 + 0.1f * std::log(r.factor));
  return t;
}

}  // namespace

Pass begin_pass(Graph& g, const HParams& h, const GraphOptions& options, const Weight& rope_freqs) {
  Pass pass{.p = {g}, .h = h, .options = options};
  pass.tokens = g.leaf(Kind::input, std::string(inputs::kTokens), vector_of(DType::i32, options.tokens));
  pass.positions = g.leaf(Kind::input, std::string(inputs::kPositions), vector_of(DType::i32, options.tokens));
  pass.output_rows = g.leaf(Kind::input, std::string(inputs::kOutputRows), vector_of(DType::i32, options.outputs));
  std::vector<Value> in{pass.positions};
  if (rope_freqs) in.push_back(pass.p.weight_f32(rope_freqs));
  pass.rope_table = g.append(rope_table(h.rope), std::move(in), "rope_table");
  return pass;
}

Value attention(Pass& pass, const AttentionWeights& w, int64_t layer, Value x, RopePairing pairing) {
  Paper& p = pass.p;
  const HParams& h = pass.h;
  const auto scope = p.g.scope("attn");
  const Rope rope{.head_dim = static_cast<int>(h.head_dim), .pairing = pairing};
  Value q = p.linear(x, w.q, w.q_bias);        // [T, H*hd]
  Value k = p.linear(x, w.k, w.k_bias);        // [T, Hkv*hd]
  const Value v = p.linear(x, w.v, w.v_bias);  // [T, Hkv*hd]
  if (w.q_norm) q = p.norm(q, w.q_norm, h.rms_eps);
  if (w.k_norm) k = p.norm(k, w.k_norm, h.rms_eps);
  q = p.rope(q, pass.rope_table, rope, "rope_q");
  k = p.rope(k, pass.rope_table, rope, "rope_k");

  const Shape cache{1, h.n_head_kv, pass.options.context, h.head_dim};
  const Value k_state = p.g.leaf(Kind::state, fmt::format("kv.blk.{}.k", layer), {pass.options.k, cache});
  const Value v_state = p.g.leaf(Kind::state, fmt::format("kv.blk.{}.v", layer), {pass.options.v, cache});
  const Value keys = p.g.append(KvWrite{}, {k_state, k, pass.positions}, "write_k");
  const Value values = p.g.append(KvWrite{}, {v_state, v, pass.positions}, "write_v");
  const Attention softmax{.n_head = static_cast<int>(h.n_head), .scale = h.attention_scale, .window = static_cast<int>(h.sliding_window)};
  const Value heads = p.g.append(softmax, {q, keys, values, pass.positions}, "softmax");  // [T, H*hd]
  return p.linear(heads, w.o, w.o_bias);
}

Value swiglu_ffn(Pass& pass, const FfnWeights& w, Value x) {
  Paper& p = pass.p;
  const auto scope = p.g.scope("ffn");
  const Value gate = p.linear(x, w.gate, w.gate_bias);  // [T, F]
  const Value up = p.linear(x, w.up, w.up_bias);        // [T, F]
  const Value inner = p.swiglu(gate, up);
  return p.linear(inner, w.down, w.down_bias);
}

Value select_outputs(Pass& pass, Value x) { return pass.p.rows(x, pass.output_rows, "select_outputs"); }

void end_pass(Pass& pass, Value x, const Weight& output_norm, const Weight& output, const Weight& output_bias) {
  const Value normed = pass.p.norm(x, output_norm, pass.h.rms_eps);
  pass.p.g.output(pass.p.linear(normed, output, output_bias));
}

Weight bind_head(Binder& bind, const Weight& token_embd, int64_t n_vocab, int64_t n_embd) {
  if (Weight own = bind.want("output.weight", {n_vocab, n_embd})) return own;
  return {.name = "output.weight", .desc = token_embd.desc, .source = token_embd.source};
}

}  // namespace kerf
