#include "tests/loaders/tiny_family.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "tests/loaders/tiny_model.h"

namespace kerf::test {
namespace {

constexpr uint64_t kEmbd = 32, kExpertFf = 16, kSharedFf = 24, kFf = 64, kTokens = 300, kTaps = 4, kHeadDim = 8;
constexpr uint64_t kKeys = kTinyKeyHeads * kTinyState, kValues = kTinyValueHeads * kTinyState;

struct Parts {
  std::string_view name{};
  bool experts = false, shared = false, recurrent = false, sections = false, q_bias = false, q_norm = false;
};
constexpr Parts kParts[] = {
    {.name = "mixtral", .experts = true},
    {.name = "qwen2moe", .experts = true, .shared = true, .q_bias = true},
    {.name = "qwen3moe", .experts = true, .q_norm = true},
    {.name = "qwen3next", .experts = true, .shared = true, .recurrent = true, .q_norm = true},
    {.name = "qwen35", .recurrent = true, .sections = true, .q_norm = true},
    {.name = "qwen35moe", .experts = true, .shared = true, .recurrent = true, .sections = true, .q_norm = true},
};

class Builder {
 public:
  Builder(GgufWriter& w, const Parts& parts) : w_(w), parts_(parts) {}

  void keys(const std::string& a) {
    for (auto& key : w_.keys)
      if (key.name.starts_with("llama.")) key.name = a + key.name.substr(5);
    w_.text("general.architecture", a);
    if (parts_.experts) {
      w_.u32(a + ".expert_count", kTinyExperts);
      w_.u32(a + ".expert_used_count", 2);
      if (parts_.name != "mixtral") w_.erase(a + ".feed_forward_length"), w_.u32(a + ".expert_feed_forward_length", kExpertFf);
    }
    if (parts_.shared) w_.u32(a + ".expert_shared_feed_forward_length", kSharedFf);
    if (parts_.sections) w_.i32s(a + ".rope.dimension_sections", {2, 1, 1, 0});
    if (!parts_.recurrent) return;
    w_.u32(a + ".full_attention_interval", 2);
    w_.u32(a + ".ssm.conv_kernel", kTaps);
    w_.u32(a + ".ssm.state_size", kTinyState);
    w_.u32(a + ".ssm.group_count", kTinyKeyHeads);
    w_.u32(a + ".ssm.time_step_rank", kTinyValueHeads);
    w_.u32(a + ".ssm.inner_size", kValues);
  }

  void tensors() {
    add("token_embd.weight", {kEmbd, kTokens});
    add("output_norm.weight", {kEmbd});
    add("output.weight", {kEmbd, kTokens});
    for (uint64_t l = 0; l < 2; ++l) {
      prefix_ = fmt::format("blk.{}.", l);
      add("attn_norm.weight", {kEmbd});
      parts_.recurrent&& l == 0 ? delta_net() : attention();
      add(parts_.recurrent ? "post_attention_norm.weight" : "ffn_norm.weight", {kEmbd});
      parts_.experts ? experts() : feed_forward("", kFf);
      if (!parts_.shared) continue;
      add("ffn_gate_inp_shexp.weight", {kEmbd});
      feed_forward("_shexp", kSharedFf);
    }
  }

 private:
  void add(const std::string& name, std::vector<uint64_t> ne) {
    uint64_t n = 1;
    for (const uint64_t d : ne) n *= d;
    w_.tensors.push_back({.name = prefix_ + name, .ne = std::move(ne), .data = random_values(0, n, ++seed_)});
  }
  void attention() {
    const uint64_t q = parts_.recurrent ? 2 * kEmbd : kEmbd;  // with a gate
    add("attn_q.weight", {kEmbd, q});
    add("attn_k.weight", {kEmbd, kEmbd / 2});
    add("attn_v.weight", {kEmbd, kEmbd / 2});
    add("attn_output.weight", {kEmbd, kEmbd});
    if (parts_.q_bias) add("attn_q.bias", {kEmbd}), add("attn_k.bias", {kEmbd / 2}), add("attn_v.bias", {kEmbd / 2});
    if (parts_.q_norm) add("attn_q_norm.weight", {kHeadDim}), add("attn_k_norm.weight", {kHeadDim});
  }
  void delta_net() {
    add("attn_qkv.weight", {kEmbd, 2 * kKeys + kValues});
    add("attn_gate.weight", {kEmbd, kValues});
    if (parts_.name == "qwen3next")
      add("ssm_ba.weight", {kEmbd, 2 * kTinyValueHeads});
    else
      add("ssm_beta.weight", {kEmbd, kTinyValueHeads}), add("ssm_alpha.weight", {kEmbd, kTinyValueHeads});
    add("ssm_conv1d.weight", {kTaps, 2 * kKeys + kValues});
    add("ssm_dt.bias", {kTinyValueHeads});
    add("ssm_a", {kTinyValueHeads});
    add("ssm_norm.weight", {kTinyState});
    add("ssm_out.weight", {kValues, kEmbd});
  }
  void experts() {
    const uint64_t F = parts_.name == "mixtral" ? kFf : kExpertFf;
    add("ffn_gate_inp.weight", {kEmbd, kTinyExperts});
    add("ffn_gate_exps.weight", {kEmbd, F, kTinyExperts});
    add("ffn_up_exps.weight", {kEmbd, F, kTinyExperts});
    add("ffn_down_exps.weight", {F, kEmbd, kTinyExperts});
  }
  void feed_forward(const std::string& suffix, uint64_t F) {
    add("ffn_gate" + suffix + ".weight", {kEmbd, F});
    add("ffn_up" + suffix + ".weight", {kEmbd, F});
    add("ffn_down" + suffix + ".weight", {F, kEmbd});
  }

  GgufWriter& w_;
  const Parts& parts_;
  std::string prefix_{};
  uint64_t seed_ = 5000;
};

std::string architecture_of(const GgufWriter& w) {
  const auto at = std::find_if(w.keys.begin(), w.keys.end(), [](const auto& key) { return key.name == "general.architecture"; });
  return at->value.substr(8);
}

/// Every tensor whose name ends so, replaced by those that `change` makes of it.
template <class Change>
void replace(GgufWriter& w, std::string_view ending, Change change) {
  std::vector<GgufWriter::Tensor> tensors;
  for (const auto& t : w.tensors) {
    if (!t.name.ends_with(ending)) {
      tensors.push_back(t);
      continue;
    }
    for (auto& made : change(t)) tensors.push_back(std::move(made));
  }
  w.tensors = std::move(tensors);
}
using Tensors = std::vector<GgufWriter::Tensor>;

std::string with_ending(const std::string& name, std::string_view ending, std::string_view other) {
  return name.substr(0, name.size() - ending.size()) + std::string(other);
}

}  // namespace

const std::vector<std::string>& tiny_families() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const auto& parts : kParts) all.emplace_back(parts.name);
    return all;
  }();
  return names;
}

GgufWriter tiny_family(std::string_view name) {
  const auto parts = std::find_if(std::begin(kParts), std::end(kParts), [&](const Parts& p) { return p.name == name; });
  if (parts == std::end(kParts)) throw std::invalid_argument("tiny_family: " + std::string(name));
  GgufWriter w = tiny_llama({.layers = 2});
  w.tensors.clear();
  Builder builder(w, *parts);
  builder.keys(name == "mixtral" ? "llama" : std::string(name));
  builder.tensors();
  return w;
}

void split_experts(GgufWriter& w) {
  constexpr std::string_view ending = "_exps.weight";
  replace(w, ending, [&](const GgufWriter::Tensor& t) {
    Tensors each;
    const size_t bytes = t.data.size() / kTinyExperts;
    for (uint64_t e = 0; e < kTinyExperts; ++e)
      each.push_back({.name = with_ending(t.name, ending, fmt::format(".{}.weight", e)),
                      .type = t.type,
                      .ne = {t.ne[0], t.ne[1]},
                      .data = t.data.substr(e * bytes, bytes)});
    return each;
  });
}

void to_ollama(GgufWriter& w) {
  const std::string a = architecture_of(w);
  w.i32s(a + ".rope.dimension_sections", {2, 1, 1});
  w.i32s(a + ".attention.head_count_kv", {0, 2});
  w.boolean(a + ".ssm.v_head_reordered", true);
  w.boolean(a + ".rope.mrope_interleaved", true);
  replace(w, "ssm_dt.bias", [](GgufWriter::Tensor t) {
    t.name = with_ending(t.name, ".bias", "");
    return Tensors{t};
  });
  for (const auto name : {"v.patch_embd.weight", "v.blk.0.attn_q.weight", "mm.0.weight", "mtp.fc.weight"})
    w.tensors.push_back({.name = name, .ne = {8}, .data = std::string(32, '\0')});
}

void fuse_ssm_in(GgufWriter& w) {
  constexpr std::string_view ending = "attn_qkv.weight";
  replace(w, ending, [&](const GgufWriter::Tensor& qkv) {
    const GgufWriter::Tensor z = w.tensor(with_ending(qkv.name, ending, "attn_gate.weight"));
    constexpr uint64_t row = kEmbd * sizeof(float), per_head = kTinyValueHeads / kTinyKeyHeads * kTinyState;
    GgufWriter::Tensor in{.name = with_ending(qkv.name, ending, "ssm_in.weight"), .ne = {kEmbd, 2 * kKeys + 2 * kValues}};
    const auto rows = [&](const GgufWriter::Tensor& t, uint64_t first, uint64_t count) { in.data += t.data.substr(first * row, count * row); };
    for (uint64_t g = 0; g < kTinyKeyHeads; ++g) {
      rows(qkv, g * kTinyState, kTinyState);
      rows(qkv, kKeys + g * kTinyState, kTinyState);
      rows(qkv, 2 * kKeys + g * per_head, per_head);
      rows(z, g * per_head, per_head);
    }
    return Tensors{in};
  });
  replace(w, "attn_gate.weight", [](const GgufWriter::Tensor&) { return Tensors{}; });
}

void merge_gate_up(GgufWriter& w) {
  constexpr std::string_view ending = "ffn_gate_exps.weight";
  replace(w, ending, [&](const GgufWriter::Tensor& gate) {
    const GgufWriter::Tensor up = w.tensor(with_ending(gate.name, ending, "ffn_up_exps.weight"));
    GgufWriter::Tensor both{.name = with_ending(gate.name, ending, "ffn_gate_up_exps.weight"), .ne = {gate.ne[0], 2 * gate.ne[1], gate.ne[2]}};
    const size_t bytes = gate.data.size() / kTinyExperts;
    for (uint64_t e = 0; e < kTinyExperts; ++e) both.data += gate.data.substr(e * bytes, bytes) + up.data.substr(e * bytes, bytes);
    return Tensors{both};
  });
  replace(w, "ffn_up_exps.weight", [](const GgufWriter::Tensor&) { return Tensors{}; });
}

void add_nextn(GgufWriter& w) {
  const std::string a = architecture_of(w);
  w.u32(a + ".block_count", 3);
  w.u32(a + ".nextn_predict_layers", 1);
  for (const auto name : {"blk.2.attn_norm.weight", "blk.2.nextn.enorm.weight"})
    w.tensors.push_back({.name = name, .ne = {8}, .data = std::string(32, '\0')});
}

}  // namespace kerf::test
