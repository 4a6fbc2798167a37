// Parts that several architectures share, as functions. What differs between architectures is an argument or an empty
// Weight, never a flag looked up elsewhere.
#pragma once
#include <string>

#include "loaders/models/paper.h"

namespace kerf {

/// Weights of one attention layer. H query heads, Hkv key/value heads of size hd, E the model width.
struct AttentionWeights {
  Weight q{}, k{}, v{}, o{};                      // [H*hd,E] [Hkv*hd,E] [Hkv*hd,E] [E,H*hd]
  Weight q_bias{}, k_bias{}, v_bias{}, o_bias{};  // empty: none
  Weight q_norm{}, k_norm{};                      // [hd] each, per head; empty: none
};
struct FfnWeights {
  Weight gate{}, up{}, down{};  // [F,E] [F,E] [E,F]
  Weight gate_bias{}, up_bias{}, down_bias{};
};

/// Weights of one mixture of experts. X experts of width F.
struct ExpertWeights {
  Weight router{};              // [X,E]
  Weight gate{}, up{}, down{};  // [X,F,E] [X,F,E] [X,E,F]
  Weight gate_up{};             // [X,2F,E], rows of the gate first; empty: the file has them apart
};
/// The expert that every token goes through, scaled by the sigmoid of a product of its own.
struct SharedExpertWeights {
  Weight gate{};  // [1,E]
  FfnWeights ffn{};
};
/// Weights of one Gated DeltaNet layer. Hk heads of q and k, Hv of v, all of size d; C = (2 Hk + Hv) d channels.
struct DeltaWeights {
  Weight qkv{}, z{};       // [C,E] [Hv*d,E]
  Weight beta{}, alpha{};  // [Hv,E] each
  Weight beta_alpha{};     // [2*Hv,E]: of each head of k, first the betas of its heads of v, then their alphas; empty: apart
  Weight conv{};           // [C,J]
  Weight dt_bias{}, a{};   // [Hv] each
  Weight norm{}, out{};    // [d] [E,Hv*d]
  explicit operator bool() const { return static_cast<bool>(out); }
};

/// Everything of one forward pass that all its layers share.
struct Pass {
  Paper p;
  const HParams& h;
  const GraphOptions& options;
  Value tokens{}, positions{}, output_rows{};
  Value rope_table{};
};

/// Declares inputs and the rope table (with the model's frequency factors, if it has them).
Pass begin_pass(Graph& g, const HParams& h, const GraphOptions& options, const Weight& rope_freqs = {});

/// Grouped-query attention over the layer's KV state: q, k, v projections, optional biases and per-head norms, rotary
/// positions, cache write, softmax(q k^T) v, output projection. x [T,E] -> [T,E]. Ainslie et al. 2023.
Value attention(Pass& pass, const AttentionWeights& w, int64_t layer, Value x, RopePairing pairing);

/// The same for q [2*H*hd,E] whose rows are, of each head, hd of the query and then hd of a gate: what the heads read is
/// multiplied with the sigmoid of that before the output projection. Qiu et al. 2025.
Value gated_attention(Pass& pass, const AttentionWeights& w, int64_t layer, Value x, RopePairing pairing);

/// Gated DeltaNet over the layer's two states: q, k and v convolved over time, q and k of length one, the delta rule with
/// decay g and rate b, and a norm gated by z. x [T,E] -> [T,E]. Yang, Kautz, Hatamizadeh 2024.
/// @param order which head of k each head of v belongs to: what the file's converter did.
Value delta_net(Pass& pass, const DeltaWeights& w, int64_t layer, Value x, HeadOrder order);

/// down(silu(gate x) * up x). x [T,E] -> [T,E]. Shazeer 2020.
Value swiglu_ffn(Pass& pass, const FfnWeights& w, Value x);

/// The experts that the router chooses for each token, each a swiglu_ffn, summed by its weights. x [T,E] -> [T,E].
/// Shazeer et al. 2017; Jiang et al. 2024.
Value moe(Pass& pass, const ExpertWeights& w, Value x, Router router);

/// sigmoid(gate x) swiglu_ffn(x). x [T,E] -> [T,E]. Yang et al. 2024 (Qwen2).
Value shared_expert(Pass& pass, const SharedExpertWeights& w, Value x);

/// The rows of x whose logits are wanted: all layers' work for the others ends here.
Value select_outputs(Pass& pass, Value x);

/// Final norm and head: x [outputs,E] -> logits [outputs,V], and if only greedy ids are wanted Argmax of them [outputs,1]: declared as
/// the graph's output.
void end_pass(Pass& pass, Value x, const Weight& output_norm, const Weight& output, const Weight& output_bias = {});

/// output.weight, or token_embd under that name when the file has none (tied head), so that the head has a home of its own.
Weight bind_head(Binder& bind, const Weight& token_embd, int64_t n_vocab, int64_t n_embd);

// Weights of a layer by their names, with the shapes that the hyper-parameters imply.
AttentionWeights bind_gated_attention(Binder& bind, const HParams& h);
ExpertWeights bind_experts(Binder& bind, const HParams& h);
/// For files that may hold gate and up of all experts as one tensor.
ExpertWeights bind_experts_or_merged(Binder& bind, const HParams& h);
SharedExpertWeights bind_shared_expert(Binder& bind, const HParams& h);
/// All but those that multiply the layer's input, which architectures store differently.
DeltaWeights bind_delta_net(Binder& bind, const HParams& h);
/// Those, each a tensor of its own.
void bind_delta_inputs(Binder& bind, const HParams& h, DeltaWeights& w);
/// Qwen3.5 files that Ollama makes hold the encoder of images and the predictor of further tokens too.
void set_aside_companions(WeightFinder& finder);

}  // namespace kerf
