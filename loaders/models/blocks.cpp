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

namespace {

/// What heads read: q [T,H*hd], k and v [T,Hkv*hd] -> softmax(scale q k^T) v [T,H*hd], over the layer's KV state.
Value attend(Pass& pass, const AttentionWeights& w, int64_t layer, Value q, Value k, Value v, RopePairing pairing) {
  Paper& p = pass.p;
  const HParams& h = pass.h;
  const Rope rope{.head_dim = static_cast<int>(h.head_dim), .pairing = pairing};
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
  return p.g.append(softmax, {q, keys, values, pass.positions}, "softmax");
}

}  // namespace

Value attention(Pass& pass, const AttentionWeights& w, int64_t layer, Value x, RopePairing pairing) {
  Paper& p = pass.p;
  const auto scope = p.g.scope("attn");
  const Value q = p.linear(x, w.q, w.q_bias);  // [T, H*hd]
  const Value k = p.linear(x, w.k, w.k_bias);  // [T, Hkv*hd]
  const Value v = p.linear(x, w.v, w.v_bias);  // [T, Hkv*hd]
  const Value heads = attend(pass, w, layer, q, k, v, pairing);
  return p.linear(heads, w.o, w.o_bias);
}

Value gated_attention(Pass& pass, const AttentionWeights& w, int64_t layer, Value x, RopePairing pairing) {
  Paper& p = pass.p;
  const int64_t hd = pass.h.head_dim;
  const auto scope = p.g.scope("attn");
  const Value both = p.linear(x, w.q);  // [T, H*2*hd]
  const Value q = p.columns(both, {.group = 2 * hd, .first = 0, .count = hd}, "query");
  const Value gate = p.columns(both, {.group = 2 * hd, .first = hd, .count = hd}, "gate");
  const Value k = p.linear(x, w.k);  // [T, Hkv*hd]
  const Value v = p.linear(x, w.v);  // [T, Hkv*hd]
  const Value heads = attend(pass, w, layer, q, k, v, pairing);
  const Value gated = p.g.append(SigmoidGate{}, {heads, gate}, "gated");
  return p.linear(gated, w.o);
}

namespace {

struct BetaAlpha {
  Value beta{}, alpha{};  // [T,Hv] each
};
BetaAlpha beta_alpha(Pass& pass, const DeltaWeights& w, Value x) {
  Paper& p = pass.p;
  BetaAlpha out;
  if (w.beta_alpha) {
    const int64_t r = pass.h.delta.time_step_rank / pass.h.delta.group_count;
    const Value both = p.linear(x, w.beta_alpha);
    out.beta = p.columns(both, {.group = 2 * r, .first = 0, .count = r}, "beta");
    out.alpha = p.columns(both, {.group = 2 * r, .first = r, .count = r}, "alpha");
  } else {
    out.beta = p.linear(x, w.beta);
    out.alpha = p.linear(x, w.alpha);
  }
  return out;
}

}  // namespace

Value delta_net(Pass& pass, const DeltaWeights& w, int64_t layer, Value x, HeadOrder order) {
  Paper& p = pass.p;
  const HParams& h = pass.h;
  const DeltaParams& d = h.delta;
  const auto scope = p.g.scope("delta");
  const Value qkv = p.linear(x, w.qkv);  // [T, C]
  const Value z = p.linear(x, w.z);      // [T, Hv*d]
  const auto [beta, alpha] = beta_alpha(pass, w, x);

  const Value taps = p.weight_f32(w.conv);
  const Value past = p.g.leaf(Kind::state, fmt::format("state.blk.{}.conv", layer), matrix(DType::f32, d.conv_kernel - 1, d.channels()));
  const auto conv = p.g.append(CausalConv{.keys = d.keys()}, {qkv, taps, past, pass.positions}, "conv", {"q", "k", "v", "state"});
  const L2Norm unit{.group = static_cast<int>(d.state_size), .eps = h.rms_eps};
  const Value q = p.g.append(unit, {conv[0]}, "unit_q");
  const Value k = p.g.append(unit, {conv[1]}, "unit_k");

  const Value dt_bias = p.weight_f32(w.dt_bias);
  const Value a = p.weight_f32(w.a);
  const auto gates = p.g.append(DeltaGates{}, {alpha, dt_bias, a, beta}, "gates", {"g", "b"});
  const Shape memory{1, d.time_step_rank, d.state_size, d.state_size};
  const Value state = p.g.leaf(Kind::state, fmt::format("state.blk.{}.delta", layer), {DType::f32, memory});
  const GatedDeltaRule rule{
      .n_head_k = static_cast<int>(d.group_count), .order = order, .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(d.state_size)))};
  const auto read = p.g.append(rule, {q, k, conv[2], gates[0], gates[1], state, pass.positions}, "rule", {"out", "state"});  // [T, Hv*d]

  const Value norm = p.weight_f32(w.norm);
  const Value normed = p.g.append(GatedRmsNorm{.eps = h.rms_eps}, {read[0], norm, z});
  return p.linear(normed, w.out);
}

Value swiglu_ffn(Pass& pass, const FfnWeights& w, Value x) {
  Paper& p = pass.p;
  const auto scope = p.g.scope("ffn");
  const Value gate = p.linear(x, w.gate, w.gate_bias);  // [T, F]
  const Value up = p.linear(x, w.up, w.up_bias);        // [T, F]
  const Value inner = p.swiglu(gate, up);
  return p.linear(inner, w.down, w.down_bias);
}

Value moe(Pass& pass, const ExpertWeights& w, Value x, Router router) {
  Paper& p = pass.p;
  const auto scope = p.g.scope("experts");
  const Value logits = p.linear(x, w.router);                                      // [T, X]
  const auto routed = p.g.append(router, {logits}, "router", {"ids", "weights"});  // [T, U] each
  Value gate, up;                                                                  // [T*U, F] each
  if (w.gate_up) {
    const int64_t F = pass.h.experts.n_ff;
    const Value both = p.experts(x, w.gate_up, routed[0]);
    gate = p.columns(both, {.group = 2 * F, .first = 0, .count = F}, "gate");
    up = p.columns(both, {.group = 2 * F, .first = F, .count = F}, "up");
  } else {
    gate = p.experts(x, w.gate, routed[0]);
    up = p.experts(x, w.up, routed[0]);
  }
  const Value inner = p.swiglu(gate, up);
  const Value down = p.experts(inner, w.down, routed[0]);  // [T*U, E]
  return p.g.append(ExpertSum{}, {down, routed[1]}, "sum");
}

Value shared_expert(Pass& pass, const SharedExpertWeights& w, Value x) {
  Paper& p = pass.p;
  const auto scope = p.g.scope("shared");
  const Value y = swiglu_ffn(pass, w.ffn, x);
  const Value gate = p.linear(x, w.gate);  // [T, 1]
  return p.g.append(SigmoidGate{}, {y, gate}, "gated");
}

Value select_outputs(Pass& pass, Value x) { return pass.p.rows(x, pass.output_rows, "select_outputs"); }

void end_pass(Pass& pass, Value x, const Weight& output_norm, const Weight& output, const Weight& output_bias) {
  const Value normed = pass.p.norm(x, output_norm, pass.h.rms_eps);
  const Value logits = pass.p.linear(normed, output, output_bias);
  pass.p.g.output(pass.options.result == PassResult::logits ? logits : pass.p.g.append(Argmax{}, {logits}));
}

Weight bind_head(Binder& bind, const Weight& token_embd, int64_t n_vocab, int64_t n_embd) {
  if (Weight own = bind.want("output.weight", {n_vocab, n_embd})) return own;
  return {.name = "output.weight", .desc = token_embd.desc, .source = token_embd.source};
}

AttentionWeights bind_gated_attention(Binder& bind, const HParams& h) {
  const int64_t E = h.n_embd, Q = h.n_head * h.head_dim, KV = h.n_head_kv * h.head_dim;
  AttentionWeights w;
  w.q = bind.need("attn_q.weight", {2 * Q, E});
  w.k = bind.need("attn_k.weight", {KV, E});
  w.v = bind.need("attn_v.weight", {KV, E});
  w.o = bind.need("attn_output.weight", {E, Q});
  w.q_norm = bind.need("attn_q_norm.weight", {h.head_dim});
  w.k_norm = bind.need("attn_k_norm.weight", {h.head_dim});
  return w;
}

ExpertWeights bind_experts(Binder& bind, const HParams& h) {
  const int64_t E = h.n_embd, X = h.experts.count, F = h.experts.n_ff;
  ExpertWeights w;
  w.router = bind.need("ffn_gate_inp.weight", {X, E});
  w.gate = bind.need_experts("ffn_gate", X, F, E);
  w.up = bind.need_experts("ffn_up", X, F, E);
  w.down = bind.need_experts("ffn_down", X, E, F);
  return w;
}

ExpertWeights bind_experts_or_merged(Binder& bind, const HParams& h) {
  const int64_t E = h.n_embd, X = h.experts.count, F = h.experts.n_ff;
  ExpertWeights w;
  w.gate_up = bind.want("ffn_gate_up_exps.weight", {X, 2 * F, E});
  if (!w.gate_up) return bind_experts(bind, h);
  w.router = bind.need("ffn_gate_inp.weight", {X, E});
  w.down = bind.need("ffn_down_exps.weight", {X, E, F});
  return w;
}

SharedExpertWeights bind_shared_expert(Binder& bind, const HParams& h) {
  const int64_t E = h.n_embd, F = h.experts.n_ff_shared;
  SharedExpertWeights w;
  w.gate = bind.need("ffn_gate_inp_shexp.weight", {E});
  w.ffn.gate = bind.need("ffn_gate_shexp.weight", {F, E});
  w.ffn.up = bind.need("ffn_up_shexp.weight", {F, E});
  w.ffn.down = bind.need("ffn_down_shexp.weight", {E, F});
  return w;
}

DeltaWeights bind_delta_net(Binder& bind, const HParams& h) {
  const DeltaParams& d = h.delta;
  const int64_t E = h.n_embd, Hv = d.time_step_rank;
  DeltaWeights w;
  w.conv = bind.need("ssm_conv1d.weight", {d.channels(), d.conv_kernel});
  w.dt_bias = bind.need("ssm_dt.bias", "ssm_dt", {Hv});
  w.a = bind.need("ssm_a", {Hv});
  w.norm = bind.need("ssm_norm.weight", {d.state_size});
  w.out = bind.need("ssm_out.weight", {E, d.values()});
  return w;
}

void bind_delta_inputs(Binder& bind, const HParams& h, DeltaWeights& w) {
  const DeltaParams& d = h.delta;
  w.qkv = bind.need("attn_qkv.weight", {d.channels(), h.n_embd});
  w.z = bind.need("attn_gate.weight", {d.values(), h.n_embd});
  w.beta = bind.need("ssm_beta.weight", {d.time_step_rank, h.n_embd});
  w.alpha = bind.need("ssm_alpha.weight", {d.time_step_rank, h.n_embd});
}

void set_aside_companions(WeightFinder& finder) {
  for (const auto& [prefix, what] :
       {std::pair{"v.", "the encoder of images"}, std::pair{"mm.", "its projector"}, std::pair{"mtp.", "the predictor of further tokens"}})
    if (const int64_t n = finder.set_aside(prefix); n > 0)
      finder.repaired(fmt::format("{} tensor{} {}*: {}, not used", n, n == 1 ? "" : "s", prefix, what));
}

}  // namespace kerf
