// The closed set of operations. An op is plain data: parameters only, no behaviour, no pointers. Adding one means adding
// a struct here, a shape rule (graph.cpp), a cost (cost.cpp) and a reference kernel; the compiler names each missing place.
// T tokens, E width of a row, K inner dimension, N rows of a weight, H query heads, Hkv key/value heads, hd head size.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "core/dtype.h"

namespace kerf {

/// (table [V,E] any dtype, ids [T] i32) -> [T,E] f32: row ids[t] of the table, decoded. Embedding, and selection of rows.
struct Rows {
  static constexpr std::string_view name = "rows";
  bool operator==(const Rows&) const = default;
};

/// (x [T,K] f32 or an activation format, w [N,K] any dtype) -> [T,N] f32: x w^T.
struct MatMul {
  static constexpr std::string_view name = "matmul";
  bool operator==(const MatMul&) const = default;
};

/// (a [T,E] f32, b [T,E] f32, or b [E] f32 added to every row) -> [T,E].
struct Add {
  static constexpr std::string_view name = "add";
  bool operator==(const Add&) const = default;
};

/// (x [T,G*E] f32, w [E] f32) -> same shape: each group of E columns v becomes v / sqrt(mean(v^2) + eps) * w.
/// G = 1 is the norm of a row; G = H normalises each head with one weight (Qwen3's q/k norm). Zhang & Sennrich 2019.
struct RmsNorm {
  static constexpr std::string_view name = "rms_norm";
  float eps = 1e-6f;
  bool operator==(const RmsNorm&) const = default;
};

/// (positions [T] i32 [, frequency factors [dims/2] f32]) -> [T,dims] f32: cos of the dims/2 angles, then their sines.
/// Angle i of position p: p * base^(-2i/dims) / factor_i, scaled linearly or by YaRN (Peng et al. 2023), both from
/// facts of Su et al. 2021. One table per micro-batch, shared by q and k of every layer.
struct RopeTable {
  static constexpr std::string_view name = "rope_table";
  int dims = 0;               // rotated dimensions of a head
  float base = 10000;         // theta
  float freq_scale = 1;       // 1/s: positions are multiplied by it (linear), or it is the interpolated end of YaRN
  float yarn_ext_factor = 0;  // 0: linear; 1: YaRN's mix of interpolation and extrapolation
  float magnitude = 1;        // cos and sin are multiplied by it (YaRN's attention temperature)
  float beta_fast = 32, beta_slow = 1;
  int original_context = 0;  // context the model was trained with; YaRN only
  bool operator==(const RopeTable&) const = default;
};

enum class RopePairing : uint8_t { norm, neox };  // (x[2i], x[2i+1])  or  (x[i], x[i+dims/2])

/// (x [T,H*hd] f32, table [T,dims] f32) -> same shape: the first dims of each head rotated pairwise, the rest copied.
struct Rope {
  static constexpr std::string_view name = "rope";
  int head_dim = 0;
  RopePairing pairing = RopePairing::norm;
  bool operator==(const Rope&) const = default;
};

/// (state [Hkv, n_ctx, hd] of a KV dtype, x [T,Hkv*hd] f32, positions [T] i32) -> the state with row positions[t] of every
/// head replaced by the rounded x[t]. The output is the same memory as the state (see ValueInfo::alias_of).
struct KvWrite {
  static constexpr std::string_view name = "kv_write";
  bool operator==(const KvWrite&) const = default;
};

/// (q [T,H*hd] f32, k state [Hkv,n_ctx,hd], v state [Hkv,n_ctx,hd], positions [T] i32) -> [T,H*hd] f32.
/// softmax(scale * q k^T) v over the visible positions s <= positions[t], and s > positions[t] - window if window > 0.
/// Query head h reads key/value head h / (H/Hkv).
struct Attention {
  static constexpr std::string_view name = "attention";
  int n_head = 1;
  float scale = 1;
  int window = 0;
  bool operator==(const Attention&) const = default;
};

/// (gate [T,F] f32, up [T,F] f32) -> [T,F]: silu(gate) * up. Shazeer 2020.
struct SwiGlu {
  static constexpr std::string_view name = "swiglu";
  bool operator==(const SwiGlu&) const = default;
};

// Fused ops: what several of the above compute in one step, so that values stay in registers and threads meet less often.
// core/rewrite.h puts them in place of the ops they replace; each has a reference of its own.

/// (x [T,K], w_1 [N_1,K] .. w_n [N_n,K] [, a_1 .. a_n, each [N_i] or [T,N_i] f32]) -> n outputs [T,N_i] f32: x w_i^T + a_i.
/// Weights that read the same activations (q, k, v), a bias, or the residual stream that the product is added to.
struct MatMuls {
  static constexpr std::string_view name = "matmuls";
  int count = 1;
  bool add = false;  // the addends are there
  bool operator==(const MatMuls&) const = default;
};

/// (x [T,K], gate [F,K], up [F,K]) -> [T,F] f32: silu(x gate^T) * x up^T.
struct MatMulSwiGlu {
  static constexpr std::string_view name = "matmul_swiglu";
  bool operator==(const MatMulSwiGlu&) const = default;
};

/// (q [T,H*hd] f32, k [T,Hkv*hd] f32, v [T,Hkv*hd] f32, table [T,dims] f32, k state, v state [Hkv,n_ctx,hd], positions [T] i32)
/// -> (q rotated, the k state with the rotated k written, the v state with v written): Rope twice and KvWrite twice.
struct RopeCache {
  static constexpr std::string_view name = "rope_cache";
  Rope rope{};
  bool operator==(const RopeCache&) const = default;
};

/// (x) -> x in another dtype. The planner inserts it where a kernel reads activations in a format of its own; a graph
/// contains it only for small weights that a file stores as f16 or bf16 where the op wants f32.
struct Convert {
  static constexpr std::string_view name = "convert";
  DType to = DType::f32;
  bool operator==(const Convert&) const = default;
};

using Op = std::variant<Rows, MatMul, Add, RmsNorm, RopeTable, Rope, KvWrite, Attention, SwiGlu, MatMuls, MatMulSwiGlu, RopeCache, Convert>;

/// The input whose memory output `i` of the op is a newer version of; nothing for outputs that are values of their own.
std::optional<size_t> alias_of(const Op& op, size_t i);
/// Whether the op multiplies in[0] with weights, and so may read it in an activation format.
inline bool reads_formats(const Op& op) {
  return std::holds_alternative<MatMul>(op) || std::holds_alternative<MatMuls>(op) || std::holds_alternative<MatMulSwiGlu>(op);
}

inline std::string_view name_of(const Op& op) {
  return std::visit([](const auto& o) { return o.name; }, op);
}

/// "attention(n_head=4 scale=0.125)": the name and the parameters that matter.
std::string to_text(const Op& op);

}  // namespace kerf
