#include "quant/mix.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <numeric>

#include "core/error.h"

namespace kerf::quant {
namespace {

enum class Role : uint8_t { output, embedding, attn_v, attn_k, attn_output, ffn_down, other };

/// The first that fits: attn_qkv holds the rows of attn_v, so it is treated as that.
Role role_of(std::string_view name) {
  if (name == "output.weight") return Role::output;
  if (name == "token_embd.weight") return Role::embedding;
  const auto has = [&](std::string_view part) { return name.find(part) != std::string_view::npos; };
  if (has("attn_v.weight") || has("attn_qkv.weight") || has("attn_kv_b.weight")) return Role::attn_v;
  if (has("attn_k.weight")) return Role::attn_k;
  if (has("attn_output.weight")) return Role::attn_output;
  if (has("ffn_down")) return Role::ffn_down;
  return Role::other;
}

constexpr int64_t kNoLayer = -1;

/// N of "blk.N."; kNoLayer for tensors of no layer.
int64_t layer_of(std::string_view name) {
  if (!name.starts_with("blk.")) return kNoLayer;
  int64_t layer = kNoLayer;
  const auto [end, failed] = std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  return failed == std::errc{} && end != name.data() + name.size() && *end == '.' ? layer : kNoLayer;
}

/// Layers whose ffn_down and attn_v get more bits in the _M mixes: the first and last eighth, and every third between.
bool gets_more_bits(int64_t i, int64_t n) { return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2; }

class Rules {
 public:
  Rules(Mix mix, const MixModel& model, int64_t n_attn_v) : mix_(mix), base_(info(mix).base), m_(model), n_attn_v_(n_attn_v) {}

  /// Called for the tensors in the order of their layers.
  DType type_of(const MixTensor& t) {
    switch (role_of(t.name)) {
      case Role::output:
        return output(t.cols);
      case Role::embedding:
        return m_.tied_embedding ? output(t.cols) : base_;
      case Role::attn_v:
        return attn_v(i_attn_v_++);
      case Role::attn_k:
        return m_.experts == 8 ? DType::q8_0 : base_;
      case Role::attn_output:
        return attn_output();
      case Role::ffn_down: {
        const int64_t counted = i_ffn_down_++;
        // With a shared expert a layer has two of them, so the layer is read from the name.
        return ffn_down(m_.experts > 1 ? layer_of(t.name) : counted);
      }
      case Role::other:
        break;
    }
    return base_;
  }

 private:
  DType output(int64_t cols) const {
    if (cols % info(base_).block_values != 0) return DType::q8_0;
    return base_ == DType::q8_0 ? DType::q8_0 : DType::q6_k;
  }

  DType attn_v(int64_t i) const {
    if (m_.experts == 8) return DType::q8_0;
    const bool grouped = m_.heads / m_.heads_kv >= 4;
    DType type = base_;
    if (mix_ == Mix::q2_k)
      type = grouped ? DType::q4_k : DType::q3_k;
    else if (mix_ == Mix::q2_k_s && grouped)
      type = DType::q4_k;
    else if (mix_ == Mix::q3_k_m)
      type = i < 2 ? DType::q5_k : DType::q4_k;
    else if (mix_ == Mix::q3_k_l)
      type = DType::q5_k;
    else if ((mix_ == Mix::q4_k_m || mix_ == Mix::q5_k_m) && gets_more_bits(i, n_attn_v_))
      type = DType::q6_k;
    else if (mix_ == Mix::q4_k_s && i < 4)
      type = DType::q5_k;
    if (m_.is_70b && (type == DType::q3_k || type == DType::q4_k)) return DType::q5_k;
    return type;
  }

  DType attn_output() const {
    if (m_.experts == 8) switch (mix_) {
        case Mix::q2_k:
        case Mix::q3_k_s:
        case Mix::q3_k_m:
        case Mix::q4_k_s:
        case Mix::q4_k_m:
          return DType::q5_k;
        default:
          return base_;
      }
    switch (mix_) {
      case Mix::q2_k:
        return DType::q3_k;
      case Mix::q3_k_m:
        return DType::q4_k;
      case Mix::q3_k_l:
        return DType::q5_k;
      default:
        return base_;
    }
  }

  DType ffn_down(int64_t i) const {
    const int64_t n = m_.layers;
    switch (mix_) {
      case Mix::q2_k:
        return DType::q3_k;
      case Mix::q2_k_s:
        return i < n / 8 ? DType::q4_k : base_;
      case Mix::q3_k_m:
        return i < n / 16 ? DType::q5_k : DType::q4_k;
      case Mix::q3_k_l:
        return DType::q5_k;
      case Mix::q4_k_s:
        return i < n / 8 ? DType::q5_k : base_;
      case Mix::q4_k_m:
      case Mix::q5_k_m:
        return gets_more_bits(i, n) ? DType::q6_k : base_;
      default:
        return base_;
    }
  }

  Mix mix_;
  DType base_;
  const MixModel& m_;
  int64_t n_attn_v_, i_attn_v_ = 0, i_ffn_down_ = 0;
};

}  // namespace

std::optional<Mix> mix_named(std::string_view name) {
  const auto same = [](char a, char b) { return a == static_cast<char>(std::toupper(static_cast<unsigned char>(b))); };
  for (const auto& row : kMixes)
    if (std::equal(row.name.begin(), row.name.end(), name.begin(), name.end(), same)) return row.mix;
  return std::nullopt;
}

bool counts_as_70b(std::string_view architecture, int64_t layers, int64_t heads, int64_t heads_kv) {
  return layers == 80 && (architecture == "qwen2" || (architecture == "llama" && heads != heads_kv));
}

bool is_quantizable(const MixTensor& t) {
  const auto has = [&](std::string_view part) { return t.name.find(part) != std::string_view::npos; };
  return t.dims >= 2 && t.name.ends_with("weight") && !has("_norm.weight") && !has("ffn_gate_inp.weight") && !has("ssm_conv1d");
}

DType fallback_type(DType wanted, int64_t cols) {
  if (cols % info(wanted).block_values == 0) return wanted;
  DType type = wanted;
  switch (wanted) {
    case DType::q2_k:
    case DType::q3_k:
      type = DType::q4_0;
      break;
    case DType::q4_k:
      type = DType::q5_0;
      break;
    case DType::q5_k:
      type = DType::q5_1;
      break;
    case DType::q6_k:
      type = DType::q8_0;
      break;
    default:
      break;
  }
  return cols % info(type).block_values == 0 ? type : DType::f16;
}

std::vector<DType> mix_types(Mix mix, const MixModel& model, std::span<const MixTensor> tensors) {
  KERF_CHECK(model.layers > 0 && model.heads > 0 && model.heads_kv > 0, "a mix needs the model's layers and heads");
  std::vector<DType> types(tensors.size(), DType::f32);
  std::vector<size_t> order;
  for (size_t i = 0; i < tensors.size(); ++i)
    if (is_quantizable(tensors[i])) order.push_back(i);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int64_t la = layer_of(tensors[a].name), lb = layer_of(tensors[b].name);
    return la != lb ? la < lb : tensors[a].name < tensors[b].name;
  });
  const bool any_rules = info(info(mix).base).block_values > 1;  // a mix of floats has none
  const auto n_attn_v = std::count_if(order.begin(), order.end(), [&](size_t i) { return role_of(tensors[i].name) == Role::attn_v; });
  Rules rules(mix, model, n_attn_v);
  for (const size_t i : order) types[i] = any_rules ? fallback_type(rules.type_of(tensors[i]), tensors[i].cols) : info(mix).base;
  return types;
}

}  // namespace kerf::quant
