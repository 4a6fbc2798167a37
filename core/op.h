// The closed set of operations. An op is plain data: parameters only, no behaviour, no pointers. Adding one means adding
// a struct here, a shape rule (graph.cpp), a cost (cost.cpp) and a reference kernel; the compiler names each missing place.
// T tokens, E width of a row, K inner dimension, N rows of a weight, H query heads, Hkv key/value heads, hd head size;
// X experts of a layer, U of them used by a token; Hk and Hv heads of keys and values in a delta rule, sizes dk and dv.
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

/// (x [T,G*group] f32) -> [T,G*count] f32: columns first .. first+count-1 of each group of columns. Takes apart what one product
/// computed together: query and gate of each head, gate and up of an expert.
struct Columns {
  static constexpr std::string_view name = "columns";
  int64_t group = 1, first = 0, count = 1;
  bool operator==(const Columns&) const = default;
};

/// (x [T,E] f32, gate [T,E] f32, or [T,1] for the whole row) -> [T,E]: x / (1 + exp(-gate)).
struct SigmoidGate {
  static constexpr std::string_view name = "sigmoid_gate";
  bool operator==(const SigmoidGate&) const = default;
};

// Mixture of experts (Shazeer et al. 2017; Fedus et al. 2021). Slot u of token t, row t*U+u of a [T*U, ...] value, is the
// work of the u-th expert that the token is routed to.

/// (logits [T,X] f32) -> (ids [T,U] i32, weights [T,U] f32): softmax over all X, the U largest in falling order, of equal ones
/// the lower id first; with `renormalize` their weights are divided by their sum, but at least by 2^-14.
struct Router {
  static constexpr std::string_view name = "router";
  int used = 1;
  bool renormalize = true;
  bool operator==(const Router&) const = default;
};

/// (x [T,K], or [T*U,K] with a row per slot, f32 or an activation format; w [X,N,K]; ids [T,U] i32) -> [T*U,N] f32:
/// row t*U+u = x w[ids[t][u]]^T.
struct ExpertMatMul {
  static constexpr std::string_view name = "expert_matmul";
  bool operator==(const ExpertMatMul&) const = default;
};

/// (y [T*U,E] f32, weights [T,U] f32) -> [T,E]: sum over u of weights[t][u] * y[t*U+u], in the order of u.
struct ExpertSum {
  static constexpr std::string_view name = "expert_sum";
  bool operator==(const ExpertSum&) const = default;
};

// Linear attention with a state of fixed size per head: Gated DeltaNet (Yang, Kautz, Hatamizadeh 2024). The states are
// overwritten token by token; a batch whose first position is 0 starts from zeros, whatever is in them.

/// (x [T,G*n] f32) -> same shape: each group of n columns v becomes v / sqrt(sum(v^2) + eps).
struct L2Norm {
  static constexpr std::string_view name = "l2_norm";
  int group = 1;  // n
  float eps = 1e-6f;
  bool operator==(const L2Norm&) const = default;
};

/// (x [T,C] f32, w [C,J] f32, state [J-1,C] f32, positions [T] i32, consecutive) -> (q [T,keys], k [T,keys], v [T,C-2*keys], the
/// state with the last J-1 rows of x): y[t][c] = silu(sum_j w[c][j] x[t-(J-1)+j][c]), a causal convolution of each channel
/// over time, where rows before the first come from the state, oldest first; y's columns are handed out as q, k and v.
struct CausalConv {
  static constexpr std::string_view name = "causal_conv";
  int64_t keys = 1;  // Hk*dk
  bool operator==(const CausalConv&) const = default;
};

/// (alpha [T,Hv] f32, dt_bias [Hv] f32, a [Hv] f32, beta [T,Hv] f32) -> (g [T,Hv], b [T,Hv]): the log of a step's decay,
/// g = a * log(1 + exp(alpha + dt_bias)), at most 0 as a is negative; and its rate b = sigmoid(beta).
struct DeltaGates {
  static constexpr std::string_view name = "delta_gates";
  bool operator==(const DeltaGates&) const = default;
};

/// Which head of q and k a head of v reads where there are more of the latter, r = Hv/Hk: h / r, or h mod Hk (files of qwen35).
enum class HeadOrder : uint8_t { grouped, tiled };

/// (q [T,Hk*dk] f32, k [T,Hk*dk] f32, v [T,Hv*dv] f32, g [T,Hv] f32, b [T,Hv] f32, state [Hv,dv,dk] f32, positions [T] i32,
/// consecutive) -> (o [T,Hv*dv], the state after the last token). For each head of v, token by token, with its head of q and k:
/// S <- exp(g) S; S <- S + b (v - S k) k^T; o = scale S q. Row i of a state is what value i holds of all keys.
struct GatedDeltaRule {
  static constexpr std::string_view name = "gated_delta_rule";
  int n_head_k = 1;  // Hk
  HeadOrder order = HeadOrder::grouped;
  float scale = 1;
  bool operator==(const GatedDeltaRule&) const = default;
};

/// (x [T,G*n] f32, w [n] f32, z [T,G*n] f32) -> same shape: RmsNorm of each group, times silu(z).
struct GatedRmsNorm {
  static constexpr std::string_view name = "gated_rms_norm";
  float eps = 1e-6f;
  bool operator==(const GatedRmsNorm&) const = default;
};

/// (logits [T,V] f32) -> ids [T,1] i32: the id of the largest of each row, of equal ones the lowest; 0 and -0 are equal. A row with a
/// NaN or an infinity in it has no answer: its id is ~i, which is below 0, of the first such value i.
struct Argmax {
  static constexpr std::string_view name = "argmax";
  bool operator==(const Argmax&) const = default;
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

/// (x [T,K], or [T*U,K] with a row per slot, gate [X,F,K], up [X,F,K], ids [T,U] i32) -> [T*U,F] f32: silu(x gate^T) * x up^T of each slot's expert.
struct ExpertSwiGlu {
  static constexpr std::string_view name = "expert_swiglu";
  bool operator==(const ExpertSwiGlu&) const = default;
};

/// (x [T*U,K], w [X,N,K], ids [T,U] i32, weights [T,U] f32) -> [T,N] f32: ExpertSum of ExpertMatMul.
struct ExpertMatMulSum {
  static constexpr std::string_view name = "expert_matmul_sum";
  bool operator==(const ExpertMatMulSum&) const = default;
};

/// (x) -> x in another dtype. The planner inserts it where a kernel reads activations in a format of its own; a graph
/// contains it only for small weights that a file stores as f16 or bf16 where the op wants f32.
struct Convert {
  static constexpr std::string_view name = "convert";
  DType to = DType::f32;
  bool operator==(const Convert&) const = default;
};

using Op = std::variant<Rows, MatMul, Add, RmsNorm, RopeTable, Rope, KvWrite, Attention, SwiGlu, Columns, SigmoidGate, Router, ExpertMatMul,
                        ExpertSum, L2Norm, CausalConv, DeltaGates, GatedDeltaRule, GatedRmsNorm, Argmax, MatMuls, MatMulSwiGlu, RopeCache,
                        ExpertSwiGlu, ExpertMatMulSum, Convert>;

/// The input whose memory output `i` of the op is a newer version of; nothing for outputs that are values of their own.
std::optional<size_t> alias_of(const Op& op, size_t i);
/// Whether the op multiplies in[0] with weights, and so may read it in an activation format.
inline bool reads_formats(const Op& op) {
  return std::holds_alternative<MatMul>(op) || std::holds_alternative<MatMuls>(op) || std::holds_alternative<MatMulSwiGlu>(op) ||
         std::holds_alternative<ExpertMatMul>(op) || std::holds_alternative<ExpertSwiGlu>(op) || std::holds_alternative<ExpertMatMulSum>(op);
}
/// The input of an op that is weights of experts, and the one that says which of them are read; nothing for other ops.
struct ExpertInputs {
  size_t first = 1, count = 1, ids = 2;
};
std::optional<ExpertInputs> expert_inputs(const Op& op);
/// Whether the op overwrites its state with every token. Such a state can not go back to an earlier position, as a KV cache
/// does by forgetting rows: only a copy of it can.
inline bool is_recurrent(const Op& op) { return std::holds_alternative<CausalConv>(op) || std::holds_alternative<GatedDeltaRule>(op); }

inline std::string_view name_of(const Op& op) {
  return std::visit([](const auto& o) { return o.name; }, op);
}

/// "attention(n_head=4 scale=0.125)": the name and the parameters that matter.
std::string to_text(const Op& op);

}  // namespace kerf
