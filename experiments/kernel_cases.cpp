#include "experiments/kernel_cases.h"

#include <array>

#include "quant/formats.h"

namespace kerf {
namespace {

using Cases = std::vector<KernelCase>;
constexpr std::array kKinds{DataKind::exact, DataKind::normal, DataKind::adversarial};

/// The problem with every kind of data; every fourth problem also over thread counts.
void add(Cases& cases, Op op, std::vector<TensorDesc> in, int64_t depth = -1) {
  const bool threads = cases.size() / kKinds.size() % 4 == 0;
  for (const DataKind kind : kKinds) cases.push_back({problem(op, in), kind, depth, threads && kind == DataKind::normal});
}

/// The problem with one kind of data.
void add_one(Cases& cases, Op op, std::vector<TensorDesc> in, DataKind kind) {
  const bool threads = cases.size() % 8 == 0;
  cases.push_back({problem(op, std::move(in)), kind, -1, threads});
}

/// Weight formats with numerics, floats first. Types of indices are not weights.
std::vector<DType> weight_types() {
  std::vector<DType> types;
  for (const auto& row : kDTypes)
    if (row.dtype != DType::q8_g16 && quant::has_decoder(row.dtype)) types.push_back(row.dtype);
  return types;
}

// T: decode, small batches, odd, one more than a tile. N: one row, primes, one more and one less than strips of 8 and 16.
// K in values for blocks of 32 (576 = SmolLM2's width, a multiple of 64 but not of 256), else in blocks.
struct MatShape {
  int64_t T, N, k32, blocks;
};
constexpr MatShape kMatShapes[] = {{1, 1, 32, 1},    {1, 16, 64, 2},   {2, 7, 96, 1},    {3, 33, 576, 2},  {5, 64, 160, 1},  {8, 100, 32, 3},
                                   {17, 16, 64, 1},  {33, 7, 576, 2},  {1, 100, 576, 3}, {2, 1, 1024, 4},  {5, 33, 1024, 4}, {8, 64, 256, 2},
                                   {17, 100, 96, 1}, {33, 33, 192, 1}, {3, 16, 1024, 4}, {1, 33, 4096, 16}};

/// Columns of a shape: floats also take widths that are no multiple of anything.
int64_t columns(const MatShape& s, DType t) {
  const int block = info(t).block_values;
  if (block == 1) return s.k32 == 96 ? 97 : s.k32 == 64 ? 67 : s.k32;
  return block == 32 ? s.k32 : s.blocks * block;
}

void cases_of(Cases& cases, const Rows&) {
  for (const DType t : weight_types())
    for (const int64_t blocks : {1, 3})
      for (const int64_t T : {1, 5})
        add(cases, Rows{}, {matrix(t, 11, info(t).block_values == 1 ? 37 * blocks : info(t).block_values * blocks), vector_of(DType::i32, T)});
}

// Activations in 15 bits: whole and short groups of 512 and tiles of 64; several panels of rows, more tokens and longer rows
// than fit a block.
constexpr MatShape kFixedShapes[] = {{12, 33, 64, 0},  {16, 7, 576, 0},   {17, 64, 320, 0},   {31, 40, 1536, 0},
                                     {33, 33, 256, 0}, {65, 96, 1664, 0}, {300, 37, 3200, 0}, {48, 130, 8960, 0}};

void cases_of(Cases& cases, const MatMul&) {
  for (const DType t : weight_types())
    for (const auto& s : kMatShapes) {
      const int64_t K = columns(s, t);
      add(cases, MatMul{}, {matrix(DType::f32, s.T, K), matrix(t, s.N, K)});
      if (K % 32 != 0) continue;
      for (const DType x : {DType::q8_g16, DType::bf16_t16}) {
        add(cases, MatMul{}, {matrix(x, s.T, K), matrix(t, s.N, K)});
        if (const auto r16 = interleaved(t)) add(cases, MatMul{}, {matrix(x, s.T, K), matrix(*r16, s.N, K)});
      }
    }
  for (const DType t : {DType::f32, DType::f16, DType::bf16})
    for (const auto& s : kFixedShapes) add(cases, MatMul{}, {matrix(DType::q15_t16, s.T, s.k32), matrix(t, s.N, s.k32)});
}

void cases_of(Cases& cases, const Add&) {
  for (const int64_t T : {1, 2, 5, 33})
    for (const int64_t E : {1, 7, 16, 33, 576, 4096}) {
      add(cases, Add{}, {matrix(DType::f32, T, E), matrix(DType::f32, T, E)});
      add(cases, Add{}, {matrix(DType::f32, T, E), vector_of(DType::f32, E)});
    }
}

void cases_of(Cases& cases, const RmsNorm&) {
  for (const int64_t T : {1, 3, 17})
    for (const int64_t E : {1, 7, 16, 33, 64, 128, 576, 2048})
      for (const int64_t groups : {1, 3, 9})
        if (groups == 1 || E <= 128)
          add(cases, RmsNorm{.eps = groups == 3 ? 1e-5f : 1e-6f}, {matrix(DType::f32, T, groups * E), vector_of(DType::f32, E)});
}

void cases_of(Cases& cases, const RopeTable&) {
  const RopeTable yarn{.dims = 128, .base = 1e6f, .freq_scale = 0.25f, .yarn_ext_factor = 1, .magnitude = 1.1386294f, .original_context = 32768};
  for (const int64_t T : {1, 5, 33})
    for (const int dims : {2, 16, 64, 80, 96, 128}) {
      add(cases, RopeTable{.dims = dims}, {vector_of(DType::i32, T)});
      add(cases, RopeTable{.dims = dims, .base = 5e5f}, {vector_of(DType::i32, T), vector_of(DType::f32, dims / 2)});
      add(cases, RopeTable{.dims = dims, .base = 1e6f, .freq_scale = 0.125f}, {vector_of(DType::i32, T)});
    }
  for (const int64_t T : {1, 17}) add(cases, yarn, {vector_of(DType::i32, T)});
  add(cases, yarn, {vector_of(DType::i32, 3), vector_of(DType::f32, 64)});
}

void cases_of(Cases& cases, const Rope&) {
  struct Shape {
    int64_t T, heads;
    int head_dim, dims;
  };
  for (const Shape s : {Shape{1, 1, 2, 2},
                        {1, 9, 64, 64},
                        {3, 4, 16, 16},
                        {5, 3, 80, 32},
                        {17, 2, 96, 96},
                        {33, 5, 128, 128},
                        {2, 2, 256, 64},
                        {4, 3, 40, 40},
                        {7, 1, 48, 22}})
    for (const auto pairing : {RopePairing::norm, RopePairing::neox})
      add(cases, Rope{.head_dim = s.head_dim, .pairing = pairing}, {matrix(DType::f32, s.T, s.heads * s.head_dim), matrix(DType::f32, s.T, s.dims)});
}

constexpr std::array kCacheTypes{DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q5_1, DType::q5_0, DType::q4_1, DType::q4_0};

void cases_of(Cases& cases, const KvWrite&) {
  for (const DType t : kCacheTypes)
    for (const int64_t T : {1, 3, 17})
      for (const int64_t hd : {16, 32, 33, 64, 80, 96, 128})
        for (const int64_t n_kv : {1, 3})
          if (hd % info(t).block_values == 0)
            add(cases, KvWrite{}, {{t, {1, n_kv, 29, hd}}, matrix(DType::f32, T, n_kv * hd), vector_of(DType::i32, T)});
}

void cases_of(Cases& cases, const Attention&) {
  struct Shape {
    int64_t T, hd;
    int n_kv, group;
    int64_t depth, n_ctx;
    int window;
  };
  // T, head size and group against one another; lengths on both sides of tiles (16, 32, 64) and chunks (256); windows inside,
  // across and longer than what there is. depth -1: any positions, one batch in three shuffled.
  constexpr Shape kShapes[] = {
      {1, 16, 1, 1, 0, 1, 0},       {1, 64, 3, 3, 0, 40, 0},       {1, 64, 1, 4, 63, 100, 0},    {1, 128, 2, 6, 255, 256, 0},
      {1, 128, 1, 3, 256, 300, 0},  {1, 80, 2, 1, 599, 640, 0},    {1, 33, 2, 3, 70, 90, 0},     {1, 256, 1, 4, 300, 512, 0},
      {1, 64, 3, 3, 520, 600, 100}, {1, 96, 1, 1, 600, 700, 256},  {2, 64, 2, 4, 511, 700, 0},   {3, 32, 2, 3, 254, 300, 0},
      {4, 17, 1, 6, 100, 120, 30},  {4, 128, 1, 1, 380, 400, 7},   {5, 64, 3, 3, 0, 64, 0},      {7, 40, 2, 1, 250, 270, 0},
      {8, 16, 1, 4, 0, 8, 0},       {17, 64, 1, 3, 0, 20, 5},      {17, 96, 2, 1, 60, 200, 0},   {33, 128, 1, 6, 0, 50, 0},
      {33, 80, 1, 4, 240, 300, 0},  {64, 64, 1, 3, 0, 64, 0},      {65, 32, 2, 1, 0, 80, 16},    {100, 16, 1, 6, 200, 300, 90},
      {5, 64, 2, 3, -1, 300, 0},    {9, 48, 1, 4, -1, 600, 0},     {3, 64, 2, 1, -1, 600, 50},   {20, 31, 1, 3, -1, 280, 20},
      {130, 64, 1, 1, -1, 200, 0},  {6, 15, 1, 1, -1, 20, 3},      {2, 128, 2, 6, 767, 800, 0},  {3, 128, 1, 6, 500, 520, 40},
      {16, 128, 2, 6, 500, 600, 0}, {40, 256, 1, 4, 250, 300, 0},  {48, 64, 2, 3, 740, 800, 0},  {100, 96, 1, 3, 600, 720, 300},
      {130, 128, 1, 6, 0, 140, 0},  {128, 160, 1, 1, 384, 512, 0}, {90, 128, 1, 4, -1, 700, 33}, {31, 64, 1, 6, -1, 900, 0}};
  size_t turn = 0;  // which formats a shape takes goes round
  for (const Shape& s : kShapes) {
    const auto with = [&](DType k, DType v) {
      const int n_head = s.n_kv * s.group;
      const kerf::Shape state{1, s.n_kv, s.n_ctx, s.hd};
      add(cases, Attention{.n_head = n_head, .scale = s.hd == 64 ? 0.125f : 0.09f, .window = s.window},
          {matrix(DType::f32, s.T, n_head * s.hd), {k, state}, {v, state}, vector_of(DType::i32, s.T)}, s.depth);
    };
    for (const DType t : {DType::f32, DType::f16, DType::bf16})
      if (t != DType::bf16 || s.T <= 5) with(t, t);
    if (s.hd % 32 != 0) continue;
    const size_t pairs = s.T * s.n_ctx > 20000 ? 1 : 3;  // the reference needs seconds for a long one
    for (size_t i = 0; i < pairs; ++i, ++turn) {
      const DType k = kCacheTypes[turn % 8], v = kCacheTypes[(turn + 1 + turn / 8) % 8];
      with(k, v);
      if (info(k).block_values > 1) with(k, k);
    }
  }
}

void cases_of(Cases& cases, const SwiGlu&) {
  for (const int64_t T : {1, 3, 17})
    for (const int64_t F : {1, 7, 16, 33, 100, 1536}) add(cases, SwiGlu{}, {matrix(DType::f32, T, F), matrix(DType::f32, T, F)});
}

void cases_of(Cases& cases, const Convert&) {
  for (const DType from : weight_types())
    for (const DType to : {DType::f32, DType::f16, DType::bf16})
      for (const int64_t T : {1, 5}) {
        const int64_t block = info(from).block_values;
        if (from == DType::f32 && to != DType::f32) continue;  // below
        add(cases, Convert{to}, {matrix(from, T, block == 1 ? 37 : 2 * block)});
        if (block == 1) add(cases, Convert{to}, {matrix(from, T, 40)});
      }
  for (const DType to : {DType::f16, DType::bf16, DType::q8_g16, DType::bf16_t16, DType::q15_t16})
    for (const int64_t T : {1, 3, 17})
      for (const int64_t K : {32, 33, 96, 576, 2048})
        if (K % info(to).block_values == 0) add(cases, Convert{to}, {matrix(DType::f32, T, K)});
  for (const DType from : weight_types())
    if (const auto to = interleaved(from))
      for (const int64_t N : {1, 16, 33, 100})
        for (const int64_t blocks : {1, 3}) add(cases, Convert{*to}, {matrix(from, N, blocks * info(from).block_values)});
}

// Few tokens and many, odd sizes, one type and several; the product itself is tested by matmul's cases.
struct GroupShape {
  int64_t T, K;
  std::vector<int64_t> rows;
};

/// Types for `n` weights of one group: all of one, or neighbours in the list.
std::vector<std::vector<DType>> type_groups(size_t n) {
  std::vector<std::vector<DType>> groups;
  const auto types = weight_types();
  for (size_t i = 0; i < types.size(); ++i) {
    groups.emplace_back(n, types[i]);
    if (const auto r16 = interleaved(types[i])) {
      groups.emplace_back(n, *r16);
      groups.emplace_back(n, *r16).back() = interleaved(types[(i + 1) % types.size()]).value_or(*r16);
      groups.emplace_back(n, types[i]).back() = *r16;
    }
  }
  return groups;
}

void cases_of(Cases& cases, const MatMuls&) {
  const GroupShape shapes[] = {{1, 256, {33}},        {1, 512, {48, 16, 7}}, {3, 256, {17, 16}},
                               {8, 256, {32, 1, 16}}, {19, 256, {33, 16}},   {40, 512, {50, 33}}};
  size_t n = 0;
  for (const auto& s : shapes)
    for (const auto& types : type_groups(s.rows.size()))
      for (const DType x : {DType::q8_g16, DType::bf16_t16, DType::f32})
        for (const bool add : {true, false}) {
          if (++n % 3 != 0 && s.rows.size() > 1) continue;  // a third of the combinations reaches each type in each shape
          std::vector<TensorDesc> in{matrix(x, s.T, s.K)};
          for (size_t i = 0; i < types.size(); ++i) in.push_back(matrix(types[i], s.rows[i], s.K));
          for (size_t i = 0; add && i < types.size(); ++i)
            in.push_back(i % 2 == 0 ? matrix(DType::f32, s.T, s.rows[i]) : vector_of(DType::f32, s.rows[i]));
          add_one(cases, MatMuls{.count = static_cast<int>(types.size()), .add = add}, in, kKinds[n / 3 % kKinds.size()]);
        }
}

void cases_of(Cases& cases, const MatMulSwiGlu&) {
  size_t n = 0;
  for (const auto& [T, N, K] :
       {std::array<int64_t, 3>{1, 48, 512}, {2, 33, 256}, {8, 64, 256}, {13, 64, 512}, {33, 64, 256}, {70, 96, 512}, {17, 33, 256}})
    for (const auto& types : type_groups(2)) {
      for (const DType x : {DType::q8_g16, DType::bf16_t16, DType::f32})
        add_one(cases, MatMulSwiGlu{}, {matrix(x, T, K), matrix(types[0], N, K), matrix(types[1], N, K)}, kKinds[++n % kKinds.size()]);
      ++n;  // so that each format of activations meets all kinds
    }
}

void cases_of(Cases& cases, const RopeCache&) {
  struct Shape {
    int64_t T, H, n_kv;
    int hd, dims;
  };
  for (const Shape s : {Shape{1, 9, 3, 64, 64}, {1, 12, 2, 128, 128}, {3, 4, 1, 64, 32}, {17, 4, 4, 96, 96}, {5, 2, 2, 80, 80}, {33, 6, 1, 256, 64}})
    for (const auto pairing : {RopePairing::norm, RopePairing::neox})
      for (const DType k : {DType::f32, DType::f16, DType::bf16, DType::q8_0, DType::q4_0})
        for (const DType v : {k, DType::f16}) {
          if (s.hd % info(k).block_values != 0) continue;
          const auto cache = [&](DType t) { return TensorDesc{t, {1, s.n_kv, 40, s.hd}}; };
          add(cases, RopeCache{.rope = {.head_dim = s.hd, .pairing = pairing}},
              {matrix(DType::f32, s.T, s.H * s.hd), matrix(DType::f32, s.T, s.n_kv * s.hd), matrix(DType::f32, s.T, s.n_kv * s.hd),
               matrix(DType::f32, s.T, s.dims), cache(k), cache(v), vector_of(DType::i32, s.T)});
        }
}

void cases_of(Cases& cases, const Columns&) {
  for (const int64_t T : {1, 3, 17})
    for (const auto& [groups, group, first, count] :
         {std::array<int64_t, 4>{1, 7, 2, 3}, {1, 96, 0, 33}, {4, 64, 32, 32}, {6, 128, 0, 64}, {16, 512, 256, 256}, {9, 6, 3, 3}})
      add(cases, Columns{.group = group, .first = first, .count = count}, {matrix(DType::f32, T, groups * group)});
}

void cases_of(Cases& cases, const SigmoidGate&) {
  for (const int64_t T : {1, 3, 17})
    for (const int64_t E : {1, 7, 16, 33, 576, 2048}) {
      add(cases, SigmoidGate{}, {matrix(DType::f32, T, E), matrix(DType::f32, T, E)});
      if (E > 1) add(cases, SigmoidGate{}, {matrix(DType::f32, T, E), matrix(DType::f32, T, 1)});
    }
}

void cases_of(Cases& cases, const Router&) {
  for (const int64_t T : {1, 5, 33})
    for (const auto& [X, used] : {std::pair<int64_t, int>{1, 1}, {5, 5}, {8, 2}, {17, 4}, {60, 4}, {128, 8}, {256, 8}, {512, 10}, {1024, 16}})
      for (const bool renormalize : {true, false}) add(cases, Router{.used = used, .renormalize = renormalize}, {matrix(DType::f32, T, X)});
}

// Experts that nobody is routed to, one that gets all tokens, more slots than a kernel takes at a time, ragged rows.
struct ExpertShape {
  int64_t T, X, used, N, k32, blocks;
};
constexpr ExpertShape kExpertShapes[] = {{1, 8, 2, 33, 64, 1},     {1, 4, 1, 16, 160, 2},  {2, 60, 4, 7, 96, 1},   {5, 3, 3, 48, 256, 1},
                                         {9, 128, 8, 16, 32, 1},   {33, 8, 2, 40, 192, 1}, {40, 4, 4, 33, 576, 2}, {70, 2, 1, 64, 512, 2},
                                         {290, 2, 1, 34, 1568, 7}, {17, 2, 1, 33, 64, 1}};

/// Calls f(weights [X,N,K], ids, x by format and by token or slot, data) for each shape and weight type. The kinds of data go round
/// over shapes too, so that each format of activations meets all of them.
template <class F>
void for_each_expert_problem(bool by_token, F&& f) {
  size_t large = 0, turn = 0;
  for (const DType t : weight_types())
    for (const auto& s : kExpertShapes) {
      if (s.T > 100 && ++large % 6 != 1) continue;  // more tokens than a tile of sums and longer rows than a chunk: for a few types
      const int block = info(t).block_values;
      const int64_t K = block <= 32 ? s.k32 : s.blocks * block;
      const TensorDesc ids = matrix(DType::i32, s.T, s.used);
      for (const auto w : {std::optional(t), interleaved(t)})
        for (const DType x : {DType::f32, DType::q8_g16, DType::bf16_t16})
          for (const int64_t rows : {s.T, s.T * s.used})
            if (w && s.N % info(*w).tile_rows == 0 && K % info(x).block_values == 0 && (rows == s.T * s.used || by_token))
              f({*w, {1, s.X, s.N, K}}, ids, matrix(x, rows, K), kKinds[turn++ % kKinds.size()]);
      ++turn;  // each shape has a multiple of three problems
    }
}

void cases_of(Cases& cases, const ExpertMatMul&) {
  for_each_expert_problem(true, [&](const TensorDesc& w, const TensorDesc& ids, const TensorDesc& x, DataKind kind) {
    add_one(cases, ExpertMatMul{}, {x, w, ids}, kind);
  });
}

void cases_of(Cases& cases, const ExpertSum&) {
  for (const int64_t T : {1, 3, 17})
    for (const int64_t used : {1, 2, 8})
      for (const int64_t E : {1, 7, 33, 576}) add(cases, ExpertSum{}, {matrix(DType::f32, T * used, E), matrix(DType::f32, T, used)});
}

void cases_of(Cases& cases, const ExpertSwiGlu&) {
  size_t n = 0;
  size_t by_slot = 0;
  for_each_expert_problem(true, [&](const TensorDesc& w, const TensorDesc& ids, const TensorDesc& x, DataKind kind) {
    if (x.rows() != ids.rows() && ++by_slot % 5 != 0) return;  // models have a row per token here; expert_matmul has the same routing
    const TensorDesc up = ++n % 4 == 0 && info(w.dtype).block_values <= 32 ? TensorDesc{DType::q4_0, w.shape} : w;  // two types now and then
    if (up.cols() % info(up.dtype).block_values == 0) add_one(cases, ExpertSwiGlu{}, {x, w, up, ids}, kind);
  });
}

void cases_of(Cases& cases, const ExpertMatMulSum&) {
  for_each_expert_problem(false, [&](const TensorDesc& w, const TensorDesc& ids, const TensorDesc& x, DataKind kind) {
    add_one(cases, ExpertMatMulSum{}, {x, w, ids, {DType::f32, ids.shape}}, kind);
  });
}

void cases_of(Cases& cases, const L2Norm&) {
  for (const int64_t T : {1, 3, 17})
    for (const int group : {1, 7, 16, 33, 64, 128, 256})
      for (const int64_t groups : {1, 4})
        add(cases, L2Norm{.group = group, .eps = groups == 4 ? 1e-5f : 1e-6f}, {matrix(DType::f32, T, groups * group)});
}

void cases_of(Cases& cases, const CausalConv&) {
  for (const int64_t T : {1, 2, 3, 5, 33, 65})
    for (const auto& [keys, values] : {std::pair<int64_t, int64_t>{1, 1}, {16, 33}, {64, 128}, {256, 512}, {300, 300}})
      for (const int64_t J : {2, 4, 5})
        for (const int64_t depth : {0, 7}) {
          if (J != 4 && depth == 0) continue;
          const int64_t C = 2 * keys + values;
          add(cases, CausalConv{.keys = keys},
              {matrix(DType::f32, T, C), matrix(DType::f32, C, J), matrix(DType::f32, J - 1, C), vector_of(DType::i32, T)}, depth);
        }
}

void cases_of(Cases& cases, const DeltaGates&) {
  for (const int64_t T : {1, 3, 65})
    for (const int64_t H : {1, 7, 16, 32, 48}) {
      const TensorDesc x = matrix(DType::f32, T, H), v = vector_of(DType::f32, H);
      add(cases, DeltaGates{}, {x, v, v, x});
    }
}

void cases_of(Cases& cases, const GatedDeltaRule&) {
  struct Shape {
    int64_t T;
    int Hk;
    int64_t Hv, dk, dv;
  };
  // Lengths around chunks of 16, the least that make one, and segments of 128; heads with and without company; sizes no
  // register is made for.
  constexpr Shape kShapes[] = {{1, 1, 1, 128, 128}, {1, 2, 4, 64, 64},    {1, 3, 3, 7, 5},      {2, 1, 3, 16, 33},    {3, 2, 2, 128, 128},
                               {5, 2, 6, 48, 20},   {31, 1, 2, 32, 64},   {63, 1, 1, 64, 64},   {64, 1, 2, 128, 128}, {65, 2, 4, 64, 64},
                               {200, 1, 2, 32, 32}, {1000, 1, 1, 64, 16}, {130, 1, 1, 128, 64}, {8, 1, 2, 32, 32},    {9, 1, 2, 32, 32},
                               {15, 1, 1, 64, 32},  {16, 1, 2, 32, 48},   {17, 1, 2, 64, 32},   {128, 1, 1, 32, 32},  {129, 1, 1, 32, 32}};
  for (const Shape& s : kShapes)
    for (const auto order : {HeadOrder::grouped, HeadOrder::tiled})
      for (const int64_t depth : {0, 9}) {
        if (order == HeadOrder::tiled && s.Hk == s.Hv) continue;
        const TensorDesc q = matrix(DType::f32, s.T, s.Hk * s.dk), v = matrix(DType::f32, s.T, s.Hv * s.dv), g = matrix(DType::f32, s.T, s.Hv);
        add(cases, GatedDeltaRule{.n_head_k = s.Hk, .order = order, .scale = 0.125f},
            {q, q, v, g, g, {DType::f32, {1, s.Hv, s.dv, s.dk}}, vector_of(DType::i32, s.T)}, depth);
      }
}

void cases_of(Cases& cases, const GatedRmsNorm&) {
  for (const int64_t T : {1, 3, 17})
    for (const int64_t n : {1, 7, 16, 33, 64, 128})
      for (const int64_t groups : {1, 4}) {
        const TensorDesc x = matrix(DType::f32, T, groups * n);
        add(cases, GatedRmsNorm{}, {x, vector_of(DType::f32, n), x});
      }
}

void cases_of(Cases& cases, const Argmax&) {
  // Fewer values than a warp or a vector has, around one of either, around pieces of 2048 and 16384, vocabularies.
  for (const int64_t T : {1, 3, 17})
    for (const int64_t V : {1, 2, 7, 31, 33, 300, 1024, 2047, 2049, 5000, 16385, 40000})
      if (T * V <= 120000) add(cases, Argmax{}, {matrix(DType::f32, T, V)});
  for (const int64_t V : {49152, 151936}) add(cases, Argmax{}, {matrix(DType::f32, 1, V)});
}

/// Calls f(Alternative{}) for each op of the variant.
template <class F, class... Ops>
void for_each_op(std::variant<Ops...>*, F&& f) {
  (f(Ops{}), ...);
}

}  // namespace

std::vector<KernelCase> kernel_cases(std::string_view op) {
  Cases cases;
  for_each_op(static_cast<Op*>(nullptr), [&](const auto& o) {
    if (o.name == op) cases_of(cases, o);
  });
  return cases;
}

std::vector<std::string_view> op_names() {
  std::vector<std::string_view> names;
  for_each_op(static_cast<Op*>(nullptr), [&](const auto& o) { names.push_back(o.name); });
  return names;
}

}  // namespace kerf
