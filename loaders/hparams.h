// Hyper-parameters of a model, read from GGUF metadata through one table (hparams.cpp): key, type, range, default.
// Relations between keys (heads, head size, rotated dimensions, context) are decided here too, before anything of the
// model is allocated. Meanings and defaults of the keys: ggml-org/ggml docs/gguf.md and llama.cpp's reader, restated.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "loaders/gguf.h"

namespace kerf {

/// How angles of rotary positions are stretched beyond the training context.
enum class RopeScaling : uint8_t {
  none,
  linear,  // positions divided by factor (Chen et al. 2023)
  yarn,    // per-dimension mix of interpolation and extrapolation (Peng et al. 2023)
};

struct RopeParams {
  int64_t dims = 0;  // rotated dimensions of a head: even, <= head_dim
  float freq_base = 10000;
  RopeScaling scaling = RopeScaling::none;
  float factor = 1;              // s: angles are divided by it
  int64_t original_context = 0;  // training context before stretching; YaRN only
  float attn_factor = 1;         // multiplies cos and sin
  float yarn_ext_factor = 0;     // 0: interpolate only; YaRN files: 1
  float yarn_attn_factor = 1;
  float yarn_beta_fast = 32, yarn_beta_slow = 1;
  float yarn_log_multiplier = 0;
};

/// Mixture of experts. All zero in a model without.
struct ExpertParams {
  int64_t count = 0, used = 0;  // of a layer; of a token
  int64_t n_ff = 0;             // width of one expert
  int64_t n_ff_shared = 0;      // width of the one that every token goes through; 0: there is none
};

/// Gated DeltaNet layers of a hybrid model, by the names that the keys took over from Mamba. All zero in a model without.
struct DeltaParams {
  int64_t conv_kernel = 0;                 // J, taps of the short convolution
  int64_t state_size = 0;                  // dk = dv
  int64_t group_count = 0;                 // Hk, heads of q and k
  int64_t time_step_rank = 0;              // Hv, heads of v
  std::optional<bool> v_head_reordered{};  // whether heads of v were put in tiled order; absent: what the architecture does
  int64_t keys() const { return group_count * state_size; }
  int64_t values() const { return time_step_rank * state_size; }
  int64_t channels() const { return 2 * keys() + values(); }
};

struct HParams {
  std::string architecture{};
  int64_t n_layer = 0;  // that a token goes through
  int64_t n_nextn = 0;  // blocks behind them that predict further tokens (Gloeckle et al. 2024); kept in files, not run
  int64_t n_embd = 0, n_head = 0, n_head_kv = 0;
  int64_t head_dim = 0;  // of q, k and v; not always n_embd / n_head
  int64_t n_ff = 0;      // 0 where all layers have experts
  int64_t n_vocab = 0;   // tokens in the file's vocabulary; without one, vocab_size, else rows of token_embd
  int64_t n_ctx_train = 0;
  float rms_eps = 0;
  float attention_scale = 0;   // of q . k; 1 / sqrt(head_dim) unless the file says otherwise
  int64_t sliding_window = 0;  // tokens a query sees, itself included; 0: all
  RopeParams rope{};
  ExpertParams experts{};
  DeltaParams delta{};
  std::vector<bool> recurrent{};        // by layer: a Gated DeltaNet in place of attention; empty: none
  std::vector<std::string> warnings{};  // disagreements that do not stop the model
  std::vector<std::string> repairs{};   // what a dialect of the format writes in another way, and how it was taken
};

/// Names read_hparams accepts for general.architecture.
std::span<const std::string_view> known_architectures();

/// @throws FileError with the key's offset, what was expected and what was found.
HParams read_hparams(const gguf::File& file);

}  // namespace kerf
