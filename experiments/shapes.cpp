#include "experiments/shapes.h"

#include <algorithm>

#include "core/error.h"

namespace kerf {
namespace {

constexpr DeltaNetShape delta_net(int64_t value_heads) {
  return {.interval = 4, .conv_kernel = 4, .head_dim = 128, .key_heads = 16, .value_heads = value_heads};
}

// clang-format off
constexpr std::array<ModelShape, 13> kShapes{{
    {.name = "llama-3.2-1b", .architecture = "llama", .layers = 16, .embd = 2048, .heads = 32, .heads_kv = 8, .head_dim = 64, .ff = 8192,
     .vocab = 128256, .context = 131072, .rope_base = 5e5f, .rms_eps = 1e-5f, .tied_embedding = true, .rope_factor = 32, .rope_dims = 64},
    {.name = "llama-3.1-8b", .architecture = "llama", .layers = 32, .embd = 4096, .heads = 32, .heads_kv = 8, .head_dim = 128, .ff = 14336,
     .vocab = 128256, .context = 131072, .rope_base = 5e5f, .rms_eps = 1e-5f, .rope_factor = 8, .rope_dims = 128},
    {.name = "llama-3.3-70b", .architecture = "llama", .layers = 80, .embd = 8192, .heads = 64, .heads_kv = 8, .head_dim = 128, .ff = 28672,
     .vocab = 128256, .context = 131072, .rope_base = 5e5f, .rms_eps = 1e-5f, .rope_factor = 8, .rope_dims = 128},
    // Tanuki-8x8B-dpo-v1.0: Mixtral's form. Its card names 47 billion parameters and 13 billion active ones.
    {.name = "tanuki-8x8b", .architecture = "llama", .layers = 32, .embd = 4096, .heads = 32, .heads_kv = 8, .head_dim = 128, .ff = 14336,
     .vocab = 65024, .context = 4096, .rope_base = 1e4f, .rms_eps = 1e-5f, .rope_dims = 128, .experts = 8, .experts_used = 2},
    {.name = "mixtral-8x7b", .architecture = "llama", .layers = 32, .embd = 4096, .heads = 32, .heads_kv = 8, .head_dim = 128, .ff = 14336,
     .vocab = 32000, .context = 32768, .rope_base = 1e6f, .rms_eps = 1e-5f, .rope_dims = 128, .experts = 8, .experts_used = 2},
    {.name = "qwen2.5-7b", .architecture = "qwen2", .layers = 28, .embd = 3584, .heads = 28, .heads_kv = 4, .head_dim = 128, .ff = 18944,
     .vocab = 152064, .context = 32768, .rope_base = 1e6f, .rms_eps = 1e-6f, .rope_dims = 128},
    {.name = "qwen3-8b", .architecture = "qwen3", .layers = 36, .embd = 4096, .heads = 32, .heads_kv = 8, .head_dim = 128, .ff = 12288,
     .vocab = 151936, .context = 40960, .rope_base = 1e6f, .rms_eps = 1e-6f, .rope_dims = 128},
    {.name = "qwen1.5-moe-a2.7b", .architecture = "qwen2moe", .layers = 24, .embd = 2048, .heads = 16, .heads_kv = 16, .head_dim = 128, .ff = 5632,
     .vocab = 151936, .context = 8192, .rope_base = 1e6f, .rms_eps = 1e-6f, .rope_dims = 128, .experts = 60, .experts_used = 4, .expert_ff = 1408,
     .shared_ff = 5632},
    {.name = "qwen3-30b-a3b", .architecture = "qwen3moe", .layers = 48, .embd = 2048, .heads = 32, .heads_kv = 4, .head_dim = 128, .ff = 6144,
     .vocab = 151936, .context = 40960, .rope_base = 1e6f, .rms_eps = 1e-6f, .rope_dims = 128, .experts = 128, .experts_used = 8, .expert_ff = 768},
    {.name = "qwen3-235b-a22b", .architecture = "qwen3moe", .layers = 94, .embd = 4096, .heads = 64, .heads_kv = 4, .head_dim = 128, .ff = 12288,
     .vocab = 151936, .context = 40960, .rope_base = 1e6f, .rms_eps = 1e-6f, .rope_dims = 128, .experts = 128, .experts_used = 8, .expert_ff = 1536},
    {.name = "qwen3-next-80b-a3b", .architecture = "qwen3next", .layers = 48, .embd = 2048, .heads = 16, .heads_kv = 2, .head_dim = 256, .ff = 5120,
     .vocab = 151936, .context = 262144, .rope_base = 1e7f, .rms_eps = 1e-6f, .rope_dims = 64, .experts = 512, .experts_used = 10, .expert_ff = 512,
     .shared_ff = 512, .delta = delta_net(32)},
    {.name = "qwen3.5-27b", .architecture = "qwen35", .layers = 64, .embd = 5120, .heads = 24, .heads_kv = 4, .head_dim = 256, .ff = 17408,
     .vocab = 248320, .context = 262144, .rope_base = 1e7f, .rms_eps = 1e-6f, .rope_dims = 64, .delta = delta_net(48)},
    {.name = "qwen3.5-35b-a3b", .architecture = "qwen35moe", .layers = 40, .embd = 2048, .heads = 16, .heads_kv = 2, .head_dim = 256, .vocab = 248320,
     .context = 262144, .rope_base = 1e7f, .rms_eps = 1e-6f, .rope_dims = 64, .experts = 256, .experts_used = 8, .expert_ff = 512, .shared_ff = 512,
     .delta = delta_net(32)},
}};
// clang-format on

constexpr std::array<ArchitectureTraits, 8> kTraits{{
    {.name = "llama"},
    {.name = "qwen2", .qkv_bias = true},
    {.name = "qwen2moe", .qkv_bias = true},
    {.name = "qwen3", .qk_norm = true},
    {.name = "qwen3moe", .qk_norm = true},
    {.name = "qwen3next", .qk_norm = true, .gated = true, .fused_ba = true},
    {.name = "qwen35", .qk_norm = true, .gated = true, .rope_sections = true},
    {.name = "qwen35moe", .qk_norm = true, .gated = true, .rope_sections = true},
}};

}  // namespace

std::span<const ModelShape> known_shapes() { return kShapes; }

const ArchitectureTraits& traits_of(const ModelShape& shape) {
  const auto* const row = std::find_if(kTraits.begin(), kTraits.end(), [&](const auto& t) { return t.name == shape.architecture; });
  KERF_CHECK(row != kTraits.end(), "a shape of no known architecture: " + std::string(shape.architecture));
  return *row;
}

}  // namespace kerf
