#include "loaders/hparams.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "core/error.h"
#include "core/text.h"

namespace kerf {
namespace {

constexpr std::array<std::string_view, 3> kArchitectures{"llama", "qwen2", "qwen3"};
constexpr int64_t kAbsent = -1;

/// Everything the table fills: the result, and values that only take part in checks.
struct Raw {
  HParams h{};
  int64_t value_length = kAbsent, vocab_size = kAbsent, n_expert = 0, n_expert_used = 0;
  float scale_linear = 1;  // legacy name of rope.scaling.factor
};

struct IntegerRow {
  std::string_view key{};  // after "<architecture>."
  bool required = false;
  int64_t low = 0, high = 0;
  int64_t& (*field)(Raw&) = nullptr;
};

struct RealRow {
  std::string_view key{};
  bool required = false;
  std::string_view range{};
  bool (*fits)(double) = nullptr;
  float& (*field)(Raw&) = nullptr;
};

// Adding a key is adding a row. An absent key leaves the field at its default; relations come afterwards. Integers may
// have any integer type in the file, and may be an array with one equal value per layer. block_count comes first: the
// length of those arrays is checked against it.
constexpr std::array<IntegerRow, 14> kIntegers{{
    {"block_count", true, 1, 1024, [](Raw& r) -> int64_t& { return r.h.n_layer; }},
    {"context_length", true, 1, int64_t{1} << 27, [](Raw& r) -> int64_t& { return r.h.n_ctx_train; }},
    {"embedding_length", true, 1, int64_t{1} << 20, [](Raw& r) -> int64_t& { return r.h.n_embd; }},
    {"feed_forward_length", true, 1, int64_t{1} << 24, [](Raw& r) -> int64_t& { return r.h.n_ff; }},
    {"attention.head_count", true, 1, 1024, [](Raw& r) -> int64_t& { return r.h.n_head; }},
    {"attention.head_count_kv", false, 0, int64_t{1} << 32, [](Raw& r) -> int64_t& { return r.h.n_head_kv; }},
    {"attention.key_length", false, 1, int64_t{1} << 16, [](Raw& r) -> int64_t& { return r.h.head_dim; }},
    {"attention.value_length", false, 1, int64_t{1} << 16, [](Raw& r) -> int64_t& { return r.value_length; }},
    {"attention.sliding_window", false, 0, int64_t{1} << 32, [](Raw& r) -> int64_t& { return r.h.sliding_window; }},
    {"rope.dimension_count", false, 1, int64_t{1} << 32, [](Raw& r) -> int64_t& { return r.h.rope.dims; }},
    {"rope.scaling.original_context_length", false, 0, int64_t{1} << 27, [](Raw& r) -> int64_t& { return r.h.rope.original_context; }},
    {"vocab_size", false, 1, int64_t{1} << 31, [](Raw& r) -> int64_t& { return r.vocab_size; }},
    {"expert_count", false, 0, 4096, [](Raw& r) -> int64_t& { return r.n_expert; }},
    {"expert_used_count", false, 0, 4096, [](Raw& r) -> int64_t& { return r.n_expert_used; }},
}};

bool positive(double v) { return v > 0 && std::isfinite(v); }
bool not_negative(double v) { return v >= 0 && std::isfinite(v); }
bool between_0_and_1(double v) { return v > 0 && v < 1; }
bool finite(double v) { return std::isfinite(v); }
constexpr std::string_view kPositive = "> 0 and finite", kNotNegative = ">= 0 and finite", kFinite = "a finite number";

constexpr std::array<RealRow, 11> kReals{{
    {"attention.layer_norm_rms_epsilon", true, "(0,1)", between_0_and_1, [](Raw& r) -> float& { return r.h.rms_eps; }},
    {"attention.scale", false, kNotNegative, not_negative, [](Raw& r) -> float& { return r.h.attention_scale; }},
    {"rope.freq_base", false, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.freq_base; }},
    {"rope.scale_linear", false, kPositive, positive, [](Raw& r) -> float& { return r.scale_linear; }},
    {"rope.scaling.factor", false, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.factor; }},
    {"rope.scaling.attn_factor", false, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.attn_factor; }},
    {"rope.scaling.yarn_ext_factor", false, kFinite, finite, [](Raw& r) -> float& { return r.h.rope.yarn_ext_factor; }},
    {"rope.scaling.yarn_attn_factor", false, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.yarn_attn_factor; }},
    {"rope.scaling.yarn_beta_fast", false, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.yarn_beta_fast; }},
    {"rope.scaling.yarn_beta_slow", false, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.yarn_beta_slow; }},
    {"rope.scaling.yarn_log_multiplier", false, kFinite, finite, [](Raw& r) -> float& { return r.h.rope.yarn_log_multiplier; }},
}};

/// 2^20 is easier to read than 1048576.
std::string limit_text(int64_t n) {
  const auto u = static_cast<uint64_t>(n);
  return n >= (1 << 16) && std::has_single_bit(u) ? fmt::format("2^{}", std::countr_zero(u)) : fmt::format("{}", n);
}

class Reader {
 public:
  explicit Reader(const gguf::File& file) : file_(file) {}

  HParams read() {
    read_architecture();
    for (const auto& row : kIntegers) read_integer(row);
    for (const auto& row : kReals) read_real(row);
    refuse_experts();
    settle_heads();
    settle_rope();
    settle_context();
    settle_vocabulary();
    return std::move(raw_.h);
  }

 private:
  [[noreturn]] void refuse(std::string_view key, std::string expected, std::string found, std::string hint = {}) const {
    const gguf::Entry* e = file_.find(key);
    throw FileError({.path = file_.path(),
                     .offset = e ? std::optional(e->offset) : std::nullopt,
                     .field = std::string(key),
                     .expected = std::move(expected),
                     .found = std::move(found),
                     .hint = std::move(hint)});
  }
  std::string full(std::string_view key) const { return fmt::format("{}.{}", raw_.h.architecture, key); }

  static std::string type_text(const gguf::Entry& e) {
    return e.type == gguf::Type::array ? fmt::format("{}[]", name_of(e.element)) : std::string(name_of(e.type));
  }

  /// Null if absent. @throws FileError if it is no string.
  const std::string_view* text(std::string_view key) const {
    const gguf::Entry* e = file_.find(key);
    if (!e) return nullptr;
    if (e->type != gguf::Type::string) refuse(key, "string", type_text(*e));
    return &std::get<std::string_view>(std::get<gguf::Scalar>(e->value));
  }

  void read_architecture() {
    const auto* name = text("general.architecture");
    if (!name) refuse("general.architecture", "", fmt::format("missing (file has {} keys)", file_.metadata().size()));
    if (std::find(kArchitectures.begin(), kArchitectures.end(), *name) == kArchitectures.end())
      refuse("general.architecture", "", fmt::format("unknown \"{}\"", printable(*name)), fmt::format("known: {}", fmt::join(kArchitectures, ", ")));
    raw_.h.architecture = *name;
  }

  void check_range(std::string_view key, const IntegerRow& row, int64_t value) const {
    if (value < row.low || value > row.high) refuse(key, fmt::format("{}..{}", limit_text(row.low), limit_text(row.high)), fmt::format("{}", value));
  }

  void read_integer(const IntegerRow& row) {
    const std::string key = full(row.key);
    const gguf::Entry* e = file_.find(key);
    if (!e) {
      if (row.required) refuse(key, "", "missing");
      return;
    }
    int64_t& field = row.field(raw_);
    if (const auto* scalar = std::get_if<gguf::Scalar>(&e->value)) {
      if (const auto* i = std::get_if<int64_t>(scalar)) {
        field = *i;
      } else if (const auto* u = std::get_if<uint64_t>(scalar)) {
        if (*u > uint64_t{INT64_MAX}) refuse(key, fmt::format("{}..{}", limit_text(row.low), limit_text(row.high)), fmt::format("{}", *u));
        field = static_cast<int64_t>(*u);
      } else {
        refuse(key, "integer", type_text(*e));
      }
      return check_range(key, row, field);
    }
    field = read_per_layer(key, row, *e);
  }

  /// An array with one value per layer. Layers that differ need a model that asks per layer; none here does.
  int64_t read_per_layer(const std::string& key, const IntegerRow& row, const gguf::Entry& e) {
    const auto& array = std::get<gguf::Array>(e.value);
    std::vector<int64_t> values;
    if (const auto* signed_values = std::get_if<std::vector<int64_t>>(&array)) {
      values = *signed_values;
    } else if (const auto* unsigned_values = std::get_if<std::vector<uint64_t>>(&array)) {
      for (const uint64_t u : *unsigned_values) values.push_back(static_cast<int64_t>(std::min(u, uint64_t{INT64_MAX})));
    } else {
      refuse(key, "integer or integer[]", type_text(e));
    }
    const auto layers = static_cast<size_t>(raw_.h.n_layer);
    if (values.size() != layers) refuse(key, "", fmt::format("array of {}, expected block_count = {}", values.size(), layers));
    for (const int64_t v : values) check_range(key, row, v);
    for (size_t l = 1; l < layers; ++l)
      if (values[l] != values[0])
        refuse(key, "the same value for every layer", fmt::format("{} for layer 0 and {} for layer {}", values[0], values[l], l),
               "layers of different sizes are not supported yet");
    return values[0];
  }

  void read_real(const RealRow& row) {
    const std::string key = full(row.key);
    const gguf::Entry* e = file_.find(key);
    if (!e) {
      if (row.required) refuse(key, "", "missing");
      return;
    }
    const auto* scalar = std::get_if<gguf::Scalar>(&e->value);
    const auto* value = scalar ? std::get_if<double>(scalar) : nullptr;
    if (!value) refuse(key, "f32 or f64", type_text(*e));
    // The bound holds for the value as it is used: 1e-300 as f64 would become 0.
    const auto narrowed = static_cast<float>(*value);
    if (!row.fits(double{narrowed})) refuse(key, std::string(row.range), fmt::format("{}", *value));
    row.field(raw_) = narrowed;
  }

  void refuse_experts() const {
    if (raw_.n_expert_used > raw_.n_expert)
      refuse(full("expert_used_count"), fmt::format("<= expert_count {}", raw_.n_expert), fmt::format("{}", raw_.n_expert_used));
    if (raw_.n_expert > 0) refuse(full("expert_count"), "0", fmt::format("{}", raw_.n_expert), "mixture of experts is not supported yet");
  }

  void settle_heads() {
    HParams& h = raw_.h;
    if (!file_.find(full("attention.head_count_kv"))) h.n_head_kv = h.n_head;
    if (h.n_head_kv < 1 || h.n_head_kv > h.n_head)
      refuse(full("attention.head_count_kv"), fmt::format("1..head_count = 1..{}", h.n_head), fmt::format("{}", h.n_head_kv));
    if (h.n_head % h.n_head_kv != 0)
      refuse(full("attention.head_count_kv"), "", fmt::format("{} does not divide head_count {}", h.n_head_kv, h.n_head));
    if (h.head_dim == 0) {
      if (h.n_embd % h.n_head != 0)
        refuse(full("attention.head_count"), "",
               fmt::format("{} does not divide embedding_length {}, and attention.key_length is missing", h.n_head, h.n_embd));
      h.head_dim = h.n_embd / h.n_head;
    }
    if (raw_.value_length != kAbsent && raw_.value_length != h.head_dim)
      refuse(full("attention.value_length"), fmt::format("{}, the size of keys", h.head_dim), fmt::format("{}", raw_.value_length),
             "values of another size than keys are not supported yet");
    if (h.attention_scale == 0) h.attention_scale = static_cast<float>(1 / std::sqrt(static_cast<double>(h.head_dim)));
  }

  void settle_rope() {
    const HParams& h = raw_.h;
    RopeParams& rope = raw_.h.rope;
    const std::string dims_key = full("rope.dimension_count");
    if (!file_.find(dims_key)) rope.dims = h.head_dim;
    if (rope.dims > h.head_dim) refuse(dims_key, fmt::format("<= {}, the size of a head", h.head_dim), fmt::format("{}", rope.dims));
    if (rope.dims % 2 != 0)
      refuse(file_.find(dims_key) ? dims_key : full("attention.key_length"), "", fmt::format("must be even, got {}", rope.dims));

    const std::string type_key = full("rope.scaling.type");
    const auto* type = text(type_key);
    if (type && *type == "longrope") refuse(type_key, "none, linear or yarn", "longrope", "longrope scaling is not supported yet");
    if (type && *type != "none" && *type != "linear" && *type != "yarn")
      refuse(type_key, "none, linear or yarn", fmt::format("\"{}\"", printable(*type)));
    if (!file_.find(full("rope.scaling.factor"))) rope.factor = raw_.scale_linear;
    rope.scaling = type && *type == "yarn" ? RopeScaling::yarn : type && *type == "none" ? RopeScaling::none : RopeScaling::linear;
    if (rope.scaling == RopeScaling::none) rope.factor = 1;
    if (rope.scaling == RopeScaling::linear && rope.factor == 1) rope.scaling = RopeScaling::none;
    if (rope.scaling == RopeScaling::yarn) {
      if (rope.original_context == 0) rope.original_context = h.n_ctx_train;
      // Negative or absent: what the type asks for.
      if (rope.yarn_ext_factor < 0 || !file_.find(full("rope.scaling.yarn_ext_factor"))) rope.yarn_ext_factor = 1;
    } else {
      rope.yarn_ext_factor = 0;
    }
  }

  void settle_context() const {
    if (raw_.h.sliding_window > raw_.h.n_ctx_train)
      refuse(full("attention.sliding_window"), fmt::format("<= context_length {}", raw_.h.n_ctx_train), fmt::format("{}", raw_.h.sliding_window));
  }

  void settle_vocabulary() {
    HParams& h = raw_.h;
    constexpr std::string_view tokens_key = "tokenizer.ggml.tokens";
    const gguf::Entry* tokens = file_.find(tokens_key);
    const auto* array = tokens ? std::get_if<gguf::Array>(&tokens->value) : nullptr;
    if (array) {
      h.n_vocab = static_cast<int64_t>(gguf::length(*array));
      if (h.n_vocab == 0) refuse(tokens_key, ">= 1", "0");
      if (raw_.vocab_size != kAbsent && raw_.vocab_size != h.n_vocab)
        h.warnings.push_back(fmt::format("{}: {}.vocab_size {} != {} tokens; {} used", printable(file_.path()), h.architecture, raw_.vocab_size,
                                         h.n_vocab, h.n_vocab));
    } else if (raw_.vocab_size != kAbsent) {
      h.n_vocab = raw_.vocab_size;
    } else if (const auto* embedding = file_.tensor("token_embd.weight")) {
      h.n_vocab = embedding->desc.rows();
    } else {
      refuse(tokens_key, "", "missing, and neither vocab_size nor token_embd.weight says how many tokens there are");
    }
  }

  const gguf::File& file_;
  Raw raw_{};
};

}  // namespace

std::span<const std::string_view> known_architectures() { return kArchitectures; }

HParams read_hparams(const gguf::File& file) { return Reader(file).read(); }

}  // namespace kerf
