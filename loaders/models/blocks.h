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

/// down(silu(gate x) * up x). x [T,E] -> [T,E]. Shazeer 2020.
Value swiglu_ffn(Pass& pass, const FfnWeights& w, Value x);

/// The rows of x whose logits are wanted: all layers' work for the others ends here.
Value select_outputs(Pass& pass, Value x);

/// Final norm and head: x [outputs,E] -> logits [outputs,V], declared as the graph's output.
void end_pass(Pass& pass, Value x, const Weight& output_norm, const Weight& output, const Weight& output_bias = {});

/// output.weight, or token_embd under that name when the file has none (tied head), so that the head has a home of its own.
Weight bind_head(Binder& bind, const Weight& token_embd, int64_t n_vocab, int64_t n_embd);

}  // namespace kerf
