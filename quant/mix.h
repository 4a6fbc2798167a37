// Mixes: which tensor of a model is stored in which type. A name such as Q4_K_M is a default type and a list of exceptions:
// tensors that cost few bytes or whose errors spread far get more bits.
//
// Source: the rules of llama-quantize (ggml-org/llama.cpp, build 11434, no importance matrix), restated:
//
//   output.weight                    Q6_K, unless the default has more bits; of tied models token_embd.weight is this matrix
//   attn_v, attn_qkv                 small, and every head of a group reads them: up to 3 bits more
//   ffn_down                         more in the first and last eighth of the layers and in every third between
//   attn_output                      more in the mixes of 2 and 3 bits
//   attn_k, attn_v, attn_output      of models with eight experts: Q8_0, Q8_0, Q5_K, since they are nothing beside the experts
//   norms, biases, routers, conv1d   stay f32
//   rows that no block divides       a type with blocks of 32 and about as many bits (fallback_type)
//
// tests/synth compares with llama.cpp's own lists, tensor by tensor.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace kerf::quant {

enum class Mix : uint8_t { f16, q8_0, q2_k, q2_k_s, q3_k_s, q3_k_m, q3_k_l, q4_0, q4_1, q4_k_s, q4_k_m, q5_0, q5_1, q5_k_s, q5_k_m, q6_k, count };

struct MixInfo {
  Mix mix{};
  std::string_view name{};
  DType base{};        // of every tensor that no rule names
  uint32_t ftype = 0;  // general.file_type of such a file (llama.h, llama_ftype)
};

inline constexpr std::array<MixInfo, static_cast<size_t>(Mix::count)> kMixes{{
    {Mix::f16, "F16", DType::f16, 1},
    {Mix::q8_0, "Q8_0", DType::q8_0, 7},
    {Mix::q2_k, "Q2_K", DType::q2_k, 10},
    {Mix::q2_k_s, "Q2_K_S", DType::q2_k, 21},
    {Mix::q3_k_s, "Q3_K_S", DType::q3_k, 11},
    {Mix::q3_k_m, "Q3_K_M", DType::q3_k, 12},
    {Mix::q3_k_l, "Q3_K_L", DType::q3_k, 13},
    {Mix::q4_0, "Q4_0", DType::q4_0, 2},
    {Mix::q4_1, "Q4_1", DType::q4_1, 3},
    {Mix::q4_k_s, "Q4_K_S", DType::q4_k, 14},
    {Mix::q4_k_m, "Q4_K_M", DType::q4_k, 15},
    {Mix::q5_0, "Q5_0", DType::q5_0, 8},
    {Mix::q5_1, "Q5_1", DType::q5_1, 9},
    {Mix::q5_k_s, "Q5_K_S", DType::q5_k, 16},
    {Mix::q5_k_m, "Q5_K_M", DType::q5_k, 17},
    {Mix::q6_k, "Q6_K", DType::q6_k, 18},
}};

constexpr const MixInfo& info(Mix mix) { return kMixes[static_cast<size_t>(mix)]; }

/// The mix of this name, in capitals or not.
std::optional<Mix> mix_named(std::string_view name);

/// What the rules ask of a model besides its tensors.
struct MixModel {
  int64_t layers = 0;  // block_count
  int64_t heads = 0, heads_kv = 0;
  int64_t experts = 0;          // 0: dense
  bool is_70b = false;          // counts_as_70b()
  bool tied_embedding = false;  // the file has no output.weight
};

/// The rule for attn_v of the 70B models holds for these: Llama with 80 layers and grouped heads, Qwen2 with 80 layers.
bool counts_as_70b(std::string_view architecture, int64_t layers, int64_t heads, int64_t heads_kv);

struct MixTensor {
  std::string_view name{};
  int dims = 0;      // as the file counts them: 1 for a vector, 3 for a stack of experts
  int64_t cols = 0;  // values of a row
};

/// Whether a mix says anything about this tensor. The others (vectors, norms, routers, convolutions) keep the type they have.
bool is_quantizable(const MixTensor& tensor);

/// `wanted`, or what stands in for it when its blocks do not divide rows of `cols` values; f16 when nothing does.
DType fallback_type(DType wanted, int64_t cols);

/// The type of each tensor, in the order given; f32 for those that are not quantizable.
/// `tensors` are all of the model, in any order: some rules count the layers that have a tensor of a kind.
std::vector<DType> mix_types(Mix mix, const MixModel& model, std::span<const MixTensor> tensors);

static_assert(
    [] {
      for (size_t i = 0; i < kMixes.size(); ++i)
        if (static_cast<size_t>(kMixes[i].mix) != i) return false;
      return true;
    }(),
    "kMixes must be in the order of the enum");

}  // namespace kerf::quant
