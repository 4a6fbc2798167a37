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

// What architectures are made of. A key is required by the parts it belongs to.
constexpr unsigned kNone = 0;
constexpr unsigned kAny = 1;         // every architecture
constexpr unsigned kFfn = 2;         // feed-forward of width feed_forward_length
constexpr unsigned kMayRoute = 4;    // experts if expert_count says so (Mixtral is a llama)
constexpr unsigned kExperts = 8;     // experts in every layer
constexpr unsigned kShared = 16;     // and one that every token goes through
constexpr unsigned kRecurrent = 32;  // some layers are Gated DeltaNet
constexpr unsigned kSections = 64;   // rotary dimensions in sections for the axes of images

struct Architecture {
  std::string_view name{};
  unsigned parts = kNone;
};
constexpr std::array<Architecture, 8> kArchitectures{{
    {"llama", kAny | kFfn | kMayRoute},
    {"qwen2", kAny | kFfn},
    {"qwen3", kAny | kFfn},
    {"qwen2moe", kAny | kExperts | kShared},
    {"qwen3moe", kAny | kExperts},
    {"qwen3next", kAny | kExperts | kShared | kRecurrent},
    {"qwen35", kAny | kFfn | kRecurrent | kSections},
    {"qwen35moe", kAny | kExperts | kShared | kRecurrent | kSections},
}};
constexpr auto kNames = [] {
  std::array<std::string_view, kArchitectures.size()> names{};
  for (size_t i = 0; i < names.size(); ++i) names[i] = kArchitectures[i].name;
  return names;
}();
constexpr int64_t kAbsent = -1;

/// Everything the table fills: the result, and values that only take part in checks.
struct Raw {
  HParams h{};
  int64_t n_block = 0, value_length = kAbsent, vocab_size = kAbsent, inner_size = 0, attention_interval = 4;
  std::vector<int64_t> kv_by_block{};  // attention.head_count_kv, if it is an array
  float scale_linear = 1;              // legacy name of rope.scaling.factor
};

struct IntegerRow {
  std::string_view key{};  // after "<architecture>."
  unsigned required_by = kNone;
  int64_t low = 0, high = 0;
  int64_t& (*field)(Raw&) = nullptr;
};

struct RealRow {
  std::string_view key{};
  unsigned required_by = kNone;
  std::string_view range{};
  bool (*fits)(double) = nullptr;
  float& (*field)(Raw&) = nullptr;
};

// Adding a key is adding a row. An absent key leaves the field at its default; relations come afterwards. Integers may
// have any integer type in the file, and may be an array with one equal value per layer. block_count comes first: the
// length of those arrays is checked against it.
constexpr std::string_view kHeadCountKv = "attention.head_count_kv";
constexpr std::array<IntegerRow, 23> kIntegers{{
    {"block_count", kAny, 1, 1024, [](Raw& r) -> int64_t& { return r.n_block; }},
    {"nextn_predict_layers", kNone, 0, 1024, [](Raw& r) -> int64_t& { return r.h.n_nextn; }},
    {"context_length", kAny, 1, int64_t{1} << 27, [](Raw& r) -> int64_t& { return r.h.n_ctx_train; }},
    {"embedding_length", kAny, 1, int64_t{1} << 20, [](Raw& r) -> int64_t& { return r.h.n_embd; }},
    {"feed_forward_length", kFfn, 1, int64_t{1} << 24, [](Raw& r) -> int64_t& { return r.h.n_ff; }},
    {"attention.head_count", kAny, 1, 1024, [](Raw& r) -> int64_t& { return r.h.n_head; }},
    {kHeadCountKv, kNone, 0, int64_t{1} << 32, [](Raw& r) -> int64_t& { return r.h.n_head_kv; }},
    {"attention.key_length", kNone, 1, int64_t{1} << 16, [](Raw& r) -> int64_t& { return r.h.head_dim; }},
    {"attention.value_length", kNone, 1, int64_t{1} << 16, [](Raw& r) -> int64_t& { return r.value_length; }},
    {"attention.sliding_window", kNone, 0, int64_t{1} << 32, [](Raw& r) -> int64_t& { return r.h.sliding_window; }},
    {"rope.dimension_count", kNone, 1, int64_t{1} << 32, [](Raw& r) -> int64_t& { return r.h.rope.dims; }},
    {"rope.scaling.original_context_length", kNone, 0, int64_t{1} << 27, [](Raw& r) -> int64_t& { return r.h.rope.original_context; }},
    {"vocab_size", kNone, 1, int64_t{1} << 31, [](Raw& r) -> int64_t& { return r.vocab_size; }},
    {"expert_count", kExperts, 0, 1024, [](Raw& r) -> int64_t& { return r.h.experts.count; }},
    {"expert_used_count", kExperts, 0, 1024, [](Raw& r) -> int64_t& { return r.h.experts.used; }},
    {"expert_feed_forward_length", kNone, 0, int64_t{1} << 24, [](Raw& r) -> int64_t& { return r.h.experts.n_ff; }},
    {"expert_shared_feed_forward_length", kNone, 0, int64_t{1} << 24, [](Raw& r) -> int64_t& { return r.h.experts.n_ff_shared; }},
    {"full_attention_interval", kNone, 1, 1024, [](Raw& r) -> int64_t& { return r.attention_interval; }},
    {"ssm.conv_kernel", kRecurrent, 2, 64, [](Raw& r) -> int64_t& { return r.h.delta.conv_kernel; }},
    {"ssm.state_size", kRecurrent, 1, int64_t{1} << 16, [](Raw& r) -> int64_t& { return r.h.delta.state_size; }},
    {"ssm.group_count", kRecurrent, 1, 1024, [](Raw& r) -> int64_t& { return r.h.delta.group_count; }},
    {"ssm.time_step_rank", kRecurrent, 1, 1024, [](Raw& r) -> int64_t& { return r.h.delta.time_step_rank; }},
    {"ssm.inner_size", kRecurrent, 1, int64_t{1} << 24, [](Raw& r) -> int64_t& { return r.inner_size; }},
}};

bool positive(double v) { return v > 0 && std::isfinite(v); }
bool not_negative(double v) { return v >= 0 && std::isfinite(v); }
bool between_0_and_1(double v) { return v > 0 && v < 1; }
bool finite(double v) { return std::isfinite(v); }
constexpr std::string_view kPositive = "> 0 and finite", kNotNegative = ">= 0 and finite", kFinite = "a finite number";

constexpr std::array<RealRow, 11> kReals{{
    {"attention.layer_norm_rms_epsilon", kAny, "(0,1)", between_0_and_1, [](Raw& r) -> float& { return r.h.rms_eps; }},
    {"attention.scale", kNone, kNotNegative, not_negative, [](Raw& r) -> float& { return r.h.attention_scale; }},
    {"rope.freq_base", kNone, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.freq_base; }},
    {"rope.scale_linear", kNone, kPositive, positive, [](Raw& r) -> float& { return r.scale_linear; }},
    {"rope.scaling.factor", kNone, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.factor; }},
    {"rope.scaling.attn_factor", kNone, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.attn_factor; }},
    {"rope.scaling.yarn_ext_factor", kNone, kFinite, finite, [](Raw& r) -> float& { return r.h.rope.yarn_ext_factor; }},
    {"rope.scaling.yarn_attn_factor", kNone, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.yarn_attn_factor; }},
    {"rope.scaling.yarn_beta_fast", kNone, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.yarn_beta_fast; }},
    {"rope.scaling.yarn_beta_slow", kNone, kPositive, positive, [](Raw& r) -> float& { return r.h.rope.yarn_beta_slow; }},
    {"rope.scaling.yarn_log_multiplier", kNone, kFinite, finite, [](Raw& r) -> float& { return r.h.rope.yarn_log_multiplier; }},
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
    settle_layers();
    settle_experts();
    settle_recurrence();
    settle_heads();
    settle_rope();
    settle_sections();
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
    const auto known = std::find_if(kArchitectures.begin(), kArchitectures.end(), [&](const auto& a) { return a.name == *name; });
    if (known == kArchitectures.end())
      refuse("general.architecture", "", fmt::format("unknown \"{}\"", printable(*name)), fmt::format("known: {}", fmt::join(kNames, ", ")));
    raw_.h.architecture = *name;
    parts_ = known->parts;
  }

  void check_range(std::string_view key, const IntegerRow& row, int64_t value) const {
    if (value < row.low || value > row.high) refuse(key, fmt::format("{}..{}", limit_text(row.low), limit_text(row.high)), fmt::format("{}", value));
  }

  void read_integer(const IntegerRow& row) {
    const std::string key = full(row.key);
    const gguf::Entry* e = file_.find(key);
    if (!e) {
      if (row.required_by & parts_) refuse(key, "", "missing");
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

  /// Items of an integer or boolean array. @throws FileError if the entry is something else.
  std::vector<int64_t> items(const std::string& key, const gguf::Entry& e, std::string_view expected) const {
    const auto* array = std::get_if<gguf::Array>(&e.value);
    std::vector<int64_t> values;
    if (const auto* signed_values = array ? std::get_if<std::vector<int64_t>>(array) : nullptr) {
      values = *signed_values;
    } else if (const auto* unsigned_values = array ? std::get_if<std::vector<uint64_t>>(array) : nullptr) {
      for (const uint64_t u : *unsigned_values) values.push_back(static_cast<int64_t>(std::min(u, uint64_t{INT64_MAX})));
    } else if (const auto* bytes = array ? std::get_if<gguf::Bytes>(array) : nullptr) {
      for (const std::byte b : *bytes) values.push_back(e.element == gguf::Type::i8 ? static_cast<int8_t>(b) : std::to_integer<int64_t>(b));
    } else if (const auto* flags = array ? std::get_if<std::vector<bool>>(array) : nullptr; flags && expected.find("bool") != expected.npos) {
      values.assign(flags->begin(), flags->end());
    } else {
      refuse(key, std::string(expected), type_text(e));
    }
    return values;
  }

  /// An array with one value per block. Layers that differ need a model that asks per layer; that only the recurrent ones,
  /// which have no cache, say 0 for the heads in it is settled once it is known which they are.
  int64_t read_per_layer(const std::string& key, const IntegerRow& row, const gguf::Entry& e) {
    const std::vector<int64_t> values = items(key, e, "integer or integer[]");
    const auto blocks = static_cast<size_t>(raw_.n_block);
    if (values.size() != blocks) refuse(key, "", fmt::format("array of {}, expected block_count = {}", values.size(), blocks));
    for (const int64_t v : values) check_range(key, row, v);
    if (row.key == kHeadCountKv && (parts_ & kRecurrent)) {
      raw_.kv_by_block = values;
      return *std::max_element(values.begin(), values.end());
    }
    for (size_t l = 1; l < blocks; ++l)
      if (values[l] != values[0])
        refuse(key, "the same value for every layer", fmt::format("{} for layer 0 and {} for layer {}", values[0], values[l], l),
               "layers of different sizes are not supported yet");
    return values[0];
  }

  void read_real(const RealRow& row) {
    const std::string key = full(row.key);
    const gguf::Entry* e = file_.find(key);
    if (!e) {
      if (row.required_by & parts_) refuse(key, "", "missing");
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

  void settle_layers() {
    HParams& h = raw_.h;
    if (h.n_nextn >= raw_.n_block) refuse(full("nextn_predict_layers"), fmt::format("< block_count {}", raw_.n_block), fmt::format("{}", h.n_nextn));
    h.n_layer = raw_.n_block - h.n_nextn;
  }

  void settle_experts() {
    HParams& h = raw_.h;
    ExpertParams& x = h.experts;
    const std::string count_key = full("expert_count"), used_key = full("expert_used_count"), width_key = full("expert_feed_forward_length");
    if (x.used > x.count) refuse(used_key, fmt::format("<= expert_count {}", x.count), fmt::format("{}", x.used));
    if (x.count > 0 && !(parts_ & (kExperts | kMayRoute)))
      refuse(count_key, "0", fmt::format("{}", x.count), fmt::format("{} has no experts", h.architecture));
    if (x.count == 0) {
      if (parts_ & kExperts) refuse(count_key, "1..1024", "0");
      x = {};
      return;
    }
    if (x.used == 0) refuse(used_key, fmt::format("1..expert_count = 1..{}", x.count), file_.find(used_key) ? "0" : "missing");
    if (parts_ & kMayRoute) {  // Mixtral's files have one width for both, and no shared expert
      x.n_ff = h.n_ff;
      x.n_ff_shared = 0;
      return;
    }
    if (x.n_ff == 0) {  // files from before the key: as wide together as the feed-forward they replace
      if (h.n_ff == 0) refuse(width_key, "", "missing");
      if (h.n_ff % x.used != 0)
        refuse(width_key, "", fmt::format("missing, and expert_used_count {} does not divide feed_forward_length {}", x.used, h.n_ff));
      x.n_ff = h.n_ff / x.used;
    }
    if (!(parts_ & kShared)) x.n_ff_shared = 0;
    if ((parts_ & kShared) && x.n_ff_shared == 0) {
      if (h.n_ff == 0) refuse(full("expert_shared_feed_forward_length"), "", "missing");
      x.n_ff_shared = h.n_ff;
    }
  }

  /// Which layers are recurrent: attention.recurrent_layers, else those without heads in the cache (a dialect), else all
  /// but every interval-th.
  void settle_recurrence() {
    HParams& h = raw_.h;
    DeltaParams& d = h.delta;
    if (!(parts_ & kRecurrent)) {
      d = {};
      return;
    }
    if (d.time_step_rank % d.group_count != 0)
      refuse(full("ssm.time_step_rank"), fmt::format("a multiple of ssm.group_count {}", d.group_count), fmt::format("{}", d.time_step_rank));
    if (raw_.inner_size != d.values())
      refuse(full("ssm.inner_size"), fmt::format("ssm.state_size * ssm.time_step_rank = {} * {} = {}", d.state_size, d.time_step_rank, d.values()),
             fmt::format("{}", raw_.inner_size));
    const std::string reordered_key = full("ssm.v_head_reordered");
    if (const auto* e = file_.find(reordered_key)) {
      const auto* scalar = std::get_if<gguf::Scalar>(&e->value);
      const auto* flag = scalar ? std::get_if<bool>(scalar) : nullptr;
      if (!flag) refuse(reordered_key, "bool", type_text(*e));
      d.v_head_reordered = *flag;
    }

    const auto& kv = raw_.kv_by_block;
    const bool zeros = std::find(kv.begin(), kv.end(), 0) != kv.end();
    const auto layers = static_cast<size_t>(h.n_layer);
    const std::string key = full("attention.recurrent_layers");
    h.recurrent.resize(layers);
    if (const auto* e = file_.find(key)) {
      const auto flags = items(key, *e, "bool[] or integer[]");
      if (flags.size() != layers && flags.size() != static_cast<size_t>(raw_.n_block))
        refuse(key, "", fmt::format("array of {}, expected block_count = {}", flags.size(), raw_.n_block));
      for (size_t l = 0; l < layers; ++l) h.recurrent[l] = flags[l] != 0;
    } else {
      for (size_t l = 0; l < layers; ++l) h.recurrent[l] = zeros ? kv[l] == 0 : (static_cast<int64_t>(l) + 1) % raw_.attention_interval != 0;
    }
    for (size_t b = 0; b < kv.size(); ++b) {
      const bool attention = b >= layers || !h.recurrent[b];
      if (kv[b] != h.n_head_kv && (attention || kv[b] != 0))
        refuse(full(kHeadCountKv), attention ? fmt::format("{} for every layer with attention", h.n_head_kv) : fmt::format("0 or {}", h.n_head_kv),
               fmt::format("{} for layer {}", kv[b], b));
    }
    if (zeros)
      h.repairs.push_back(fmt::format("{}: one value per layer, 0 for recurrent ones; {} taken for all others", full(kHeadCountKv), h.n_head_kv));
  }

  void settle_heads() {
    HParams& h = raw_.h;
    if (!file_.find(full(kHeadCountKv))) h.n_head_kv = h.n_head;
    if (h.n_head_kv < 1 || h.n_head_kv > h.n_head)
      refuse(full(kHeadCountKv), fmt::format("1..head_count = 1..{}", h.n_head), fmt::format("{}", h.n_head_kv));
    if (h.n_head % h.n_head_kv != 0) refuse(full(kHeadCountKv), "", fmt::format("{} does not divide head_count {}", h.n_head_kv, h.n_head));
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

  /// Positions of images have a row, a column and a time; pair i of rotary dimensions turns by one of the three. A token
  /// of text has one position in all three, so that sections do not matter for it: as long as no pair is left to the
  /// fourth stream, whose positions are 0 for text. Which pair belongs to which is llama.cpp's interleaved M-RoPE, restated.
  void settle_sections() {
    if (!(parts_ & kSections)) return;
    const std::string key = full("rope.dimension_sections");
    const auto* e = file_.find(key);
    if (!e) refuse(key, "", "missing");
    auto sections = items(key, *e, "integer[]");
    if (sections.size() == 3) {
      sections.push_back(0);
      raw_.h.repairs.push_back(fmt::format("{}: 3 sections where the format has 4; 0 taken for the fourth", key));
    }
    if (sections.size() != 4) refuse(key, "4 sections", fmt::format("{}", sections.size()));
    int64_t sum = 0;
    for (const int64_t s : sections) {
      if (s < 0 || s > raw_.h.head_dim) refuse(key, fmt::format("sections of 0..{}", raw_.h.head_dim), fmt::format("{}", s));
      sum += s;
    }
    if (sum == 0) refuse(key, "sections that are not all empty", "0, 0, 0, 0");
    for (int64_t i = 0; i < raw_.h.rope.dims / 2; ++i) {
      const int64_t sector = i % sum;
      if (sector >= 3 * sections[static_cast<size_t>(sector % 3)])
        refuse(key, "three sections that cover all pairs", fmt::format("{}", fmt::join(sections, ", ")),
               fmt::format("pair {} belongs to none of time, row and column", i));
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
  unsigned parts_ = kNone;
  Raw raw_{};
};

}  // namespace

std::span<const std::string_view> known_architectures() { return kNames; }

HParams read_hparams(const gguf::File& file) { return Reader(file).read(); }

}  // namespace kerf
