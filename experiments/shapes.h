// Shapes of published models: every number that decides how large their tensors are. Nothing here is a weight.
//
// Sources: the models' public config.json files and model cards; tests/synth compares the parameters that follow from
// these numbers with those that llama.cpp prints and the cards name.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace kerf {

/// Sizes of a Gated DeltaNet layer (Yang et al. 2024): heads of `head_dim` keys and as many values, a causal convolution over the last
/// `conv_kernel` tokens. Every `interval`-th layer is attention instead.
struct DeltaNetShape {
  int64_t interval = 0, conv_kernel = 0, head_dim = 0, key_heads = 0, value_heads = 0;
  constexpr int64_t key_dim() const { return head_dim * key_heads; }
  constexpr int64_t value_dim() const { return head_dim * value_heads; }
  constexpr int64_t conv_dim() const { return 2 * key_dim() + value_dim(); }
};

struct ModelShape {
  std::string_view name{}, architecture{};
  int64_t layers = 0, embd = 0, heads = 0, heads_kv = 0, head_dim = 0;
  int64_t ff = 0;  // 0: the file has no such key, all feed-forward parts are experts
  int64_t vocab = 0, context = 0;
  float rope_base = 0, rms_eps = 0;
  bool tied_embedding = false;  // the head is token_embd
  float rope_factor = 0;        // Llama 3.1's stretch of low frequencies: the file then has rope_freqs
  int64_t rope_dims = 0;        // rotated values of a head
  int64_t experts = 0, experts_used = 0;
  int64_t expert_ff = 0;  // 0: `ff`, as Mixtral has it
  int64_t shared_ff = 0;  // width of the expert that every token uses; 0: there is none
  DeltaNetShape delta{};  // interval 0: all layers are attention
  constexpr bool is_recurrent(int64_t layer) const { return delta.interval > 0 && (layer + 1) % delta.interval != 0; }
};

/// All shapes, small to large within a family.
std::span<const ModelShape> known_shapes();

/// What the tensors of an architecture are besides their sizes (loaders/models, and llama.cpp's readers for those not there yet).
struct ArchitectureTraits {
  std::string_view name{};
  bool qkv_bias = false;       // attn_q, attn_k, attn_v have biases
  bool qk_norm = false;        // q and k are normalized head by head
  bool gated = false;          // attn_q makes a gate beside each query; the second norm is called post_attention_norm
  bool fused_ba = false;       // beta and alpha of a DeltaNet layer are one matrix
  bool rope_sections = false;  // rotary positions have several axes, for images
};
const ArchitectureTraits& traits_of(const ModelShape& shape);

}  // namespace kerf
