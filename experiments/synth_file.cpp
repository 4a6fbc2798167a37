#include "experiments/synth_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace kerf {
namespace {

/// The tensors of a model in the order of a file, all f32 until the mix has spoken. Names: GGUF's (ggml-org/llama.cpp,
/// gguf-py/gguf/constants.py); shapes: what llama.cpp's readers of these architectures ask for.
class TensorList {
 public:
  TensorList(const ModelShape& shape, int64_t layers) : s_(shape), traits_(traits_of(shape)) {
    if (s_.rope_factor > 0) vector("rope_freqs.weight", s_.rope_dims / 2, Content::rope_factors);
    add("token_embd.weight", kerf::matrix(DType::f32, s_.vocab, s_.embd), s_.tied_embedding ? Content::matrix : Content::embedding);
    if (!s_.tied_embedding) matrix("output.weight", s_.vocab, s_.embd);
    vector("output_norm.weight", s_.embd, Content::norm);
    for (int64_t l = 0; l < layers; ++l) {
      prefix_ = fmt::format("blk.{}.", l);
      vector("attn_norm.weight", s_.embd, Content::norm);
      s_.is_recurrent(l) ? delta_net() : attention();
      vector(traits_.gated ? "post_attention_norm.weight" : "ffn_norm.weight", s_.embd, Content::norm);
      s_.experts > 0 ? experts() : feed_forward("", s_.ff);
    }
  }
  std::vector<SynthTensor> take() { return std::move(list_); }

 private:
  void add(std::string_view name, const TensorDesc& desc, Content content) {
    list_.push_back({.name = prefix_ + std::string(name), .desc = desc, .content = content});
  }
  void vector(std::string_view name, int64_t n, Content content) { add(name, vector_of(DType::f32, n), content); }
  void matrix(std::string_view name, int64_t rows, int64_t cols) { add(name, kerf::matrix(DType::f32, rows, cols), Content::matrix); }
  void residual(std::string_view name, int64_t cols) { add(name, kerf::matrix(DType::f32, s_.embd, cols), Content::residual); }

  void attention() {
    const int64_t q = s_.heads * s_.head_dim, kv = s_.heads_kv * s_.head_dim;
    matrix("attn_q.weight", traits_.gated ? 2 * q : q, s_.embd);
    matrix("attn_k.weight", kv, s_.embd);
    matrix("attn_v.weight", kv, s_.embd);
    if (traits_.qkv_bias) {
      vector("attn_q.bias", q, Content::bias);
      vector("attn_k.bias", kv, Content::bias);
      vector("attn_v.bias", kv, Content::bias);
    }
    if (traits_.qk_norm) {
      vector("attn_q_norm.weight", s_.head_dim, Content::norm);
      vector("attn_k_norm.weight", s_.head_dim, Content::norm);
    }
    residual("attn_output.weight", q);
  }

  void delta_net() {
    const DeltaNetShape& d = s_.delta;
    matrix("attn_qkv.weight", d.conv_dim(), s_.embd);
    matrix("attn_gate.weight", d.value_dim(), s_.embd);
    add("ssm_conv1d.weight", kerf::matrix(DType::f32, d.conv_dim(), d.conv_kernel), Content::convolution);
    vector("ssm_dt.bias", d.value_heads, Content::time_step);
    vector("ssm_a", d.value_heads, Content::decay);
    if (traits_.fused_ba) {
      matrix("ssm_ba.weight", 2 * d.value_heads, s_.embd);
    } else {
      matrix("ssm_beta.weight", d.value_heads, s_.embd);
      matrix("ssm_alpha.weight", d.value_heads, s_.embd);
    }
    vector("ssm_norm.weight", d.head_dim, Content::norm);
    residual("ssm_out.weight", d.value_dim());
  }

  void feed_forward(std::string_view suffix, int64_t width) {
    matrix(fmt::format("ffn_gate{}.weight", suffix), width, s_.embd);
    matrix(fmt::format("ffn_up{}.weight", suffix), width, s_.embd);
    residual(fmt::format("ffn_down{}.weight", suffix), width);
  }

  void experts() {
    const int64_t width = s_.expert_ff > 0 ? s_.expert_ff : s_.ff;
    matrix("ffn_gate_inp.weight", s_.experts, s_.embd);
    const auto stack = [&](int64_t rows, int64_t cols) { return TensorDesc{DType::f32, {1, s_.experts, rows, cols}}; };
    add("ffn_gate_exps.weight", stack(width, s_.embd), Content::matrix);
    add("ffn_up_exps.weight", stack(width, s_.embd), Content::matrix);
    add("ffn_down_exps.weight", stack(s_.embd, width), Content::residual);
    if (s_.shared_ff == 0) return;
    vector("ffn_gate_inp_shexp.weight", s_.embd, Content::matrix);
    feed_forward("_shexp", s_.shared_ff);
  }

  const ModelShape& s_;
  const ArchitectureTraits& traits_;
  std::string prefix_;
  std::vector<SynthTensor> list_;
};

int dims_of(const TensorDesc& d) { return d.shape[1] > 1 ? 3 : d.rows() > 1 ? 2 : 1; }

void choose_types(std::vector<SynthTensor>& tensors, const ModelShape& s, quant::Mix mix, int64_t layers) {
  std::vector<quant::MixTensor> asked;
  for (const auto& t : tensors) asked.push_back({.name = t.name, .dims = dims_of(t.desc), .cols = t.desc.cols()});
  const auto types = quant::mix_types(mix,
                                      {.layers = layers,
                                       .heads = s.heads,
                                       .heads_kv = s.heads_kv,
                                       .experts = s.experts,
                                       .is_70b = quant::counts_as_70b(s.architecture, s.layers, s.heads, s.heads_kv),
                                       .tied_embedding = s.tied_embedding},
                                      asked);
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].desc.dtype = types[i];
}

/// Positions have four axes (Qwen2-VL's M-RoPE, interleaved); a text token has the same position on three of them. The file says
/// how many rotary pairs each axis has at least: Qwen3.5's thirds of 32.
constexpr std::array<int32_t, 4> kRopeSections{11, 11, 10, 0};

void write_metadata(gguf::Writer& w, const ModelShape& s, const SynthOptions& options, int64_t layers) {
  const ArchitectureTraits& traits = traits_of(s);
  const auto k = [&](std::string_view key) { return fmt::format("{}.{}", s.architecture, key); };
  w.text("general.architecture", s.architecture);
  w.text("general.type", "model");
  w.text("general.name", fmt::format("{} with random weights", s.name));
  w.text("general.description", fmt::format("written by kerf synth: {} of {} layers, seed {}", layers, s.layers, options.seed));
  w.u32("general.file_type", quant::info(options.mix).ftype);
  w.u32("general.quantization_version", 2);
  w.u32(k("block_count"), layers);
  w.u32(k("context_length"), options.context > 0 ? options.context : s.context);
  w.u32(k("embedding_length"), s.embd);
  if (s.ff > 0) w.u32(k("feed_forward_length"), s.ff);
  w.u32(k("vocab_size"), s.vocab);
  w.u32(k("attention.head_count"), s.heads);
  w.u32(k("attention.head_count_kv"), s.heads_kv);
  w.u32(k("attention.key_length"), s.head_dim);
  w.u32(k("attention.value_length"), s.head_dim);
  w.f32(k("attention.layer_norm_rms_epsilon"), s.rms_eps);
  w.u32(k("rope.dimension_count"), s.rope_dims);
  w.f32(k("rope.freq_base"), s.rope_base);
  if (traits.rope_sections) w.i32s(k("rope.dimension_sections"), kRopeSections);
  if (s.experts > 0) {
    w.u32(k("expert_count"), s.experts);
    w.u32(k("expert_used_count"), s.experts_used);
    if (s.expert_ff > 0) w.u32(k("expert_feed_forward_length"), s.expert_ff);
    if (s.shared_ff > 0) w.u32(k("expert_shared_feed_forward_length"), s.shared_ff);
  }
  if (s.delta.interval > 0) {
    std::vector<bool> recurrent;
    for (int64_t l = 0; l < layers; ++l) recurrent.push_back(s.is_recurrent(l));
    w.u32(k("full_attention_interval"), s.delta.interval);
    w.booleans(k("attention.recurrent_layers"), recurrent);
    w.u32(k("ssm.conv_kernel"), s.delta.conv_kernel);
    w.u32(k("ssm.state_size"), s.delta.head_dim);
    w.u32(k("ssm.group_count"), s.delta.key_heads);
    w.u32(k("ssm.time_step_rank"), s.delta.value_heads);
    w.u32(k("ssm.inner_size"), s.delta.value_dim());
  }
  // No vocabulary: kerf and llama.cpp take its size from vocab_size, and models run on ids.
  w.text("tokenizer.ggml.model", "none");
}

}  // namespace

SynthFile synth_file(const ModelShape& shape, const SynthOptions& options) {
  const int64_t layers = options.layers > 0 ? options.layers : shape.layers;
  SynthFile file{.tensors = TensorList(shape, layers).take()};
  choose_types(file.tensors, shape, options.mix, layers);
  gguf::Writer writer;
  write_metadata(writer, shape, options, layers);
  for (const auto& t : file.tensors) {
    writer.tensor(t.name, t.desc);
    file.parameters += t.desc.size();
  }
  for (size_t i = 0; i < file.tensors.size(); ++i) file.tensors[i].offset = writer.offset(i);
  file.header = writer.header();
  file.bytes = writer.bytes();
  return file;
}

}  // namespace kerf
