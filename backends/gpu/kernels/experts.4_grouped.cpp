// expert_matmul, expert_swiglu and expert_matmul_sum for many tokens. Slots are put in the order of their experts, each expert's filled
// up to whole tiles of 64, 32 or 16; then its matrix meets its tiles on matrix units (backends/gpu/kernels/tile16.h). How many tiles an expert has
// is known to the device only, so the grid has as many as there can be, and blocks behind the last leave.
#include <bit>

#include "backends/gpu/kernels/expert_products.h"
#include "backends/gpu/kernels/tile16.h"

namespace kerf::KERF_GPU_NS {
namespace {

using namespace tile16;

struct GroupArgs {
  ExpertArgs e;
  TileArgs t;      // rows of the rounded activations are places in the order
  int* counts;     // [X]: slots of an expert
  int* slot_at;    // [padded T]: the slot at a place, -1 where an expert's last tile is not full
  int* expert_of;  // [tiles]: of a tile, -1 behind the last
  int X, tiles;
  int tile;  // places of one
};

constexpr int kSortThreads = 256, kSortWarps = kSortThreads / kLanes;

/// f(slot, how many of the warp's expert come before it) for each of its slots, by a warp that looks at all; returns their number.
template <class Fn>
KERF_DEVICE int for_each_slot(const GroupArgs& a, int expert, Fn&& f) {
  int count = 0;
  for (int64_t s0 = 0; s0 < a.e.slots; s0 += kLanes) {
    const int64_t s = s0 + lane();
    const unsigned mine = ballot(s < a.e.slots && a.e.ids[s] == expert);
    if (mine >> lane() & 1) f(static_cast<int>(s), count + std::popcount(mine & ((1u << lane()) - 1)));
    count += std::popcount(mine);
  }
  return count;
}

/// A warp per expert.
KERF_GLOBAL(kSortThreads) count_slots(GroupArgs a) {
  const int expert = static_cast<int>(block_x()) * kSortWarps + static_cast<int>(warp());
  if (expert >= a.X) return;
  const int count = for_each_slot(a, expert, [](int, int) {});
  if (lane() == 0) a.counts[expert] = count;
}

KERF_DEVICE int tiles_of(const GroupArgs& a, int count) { return (count + a.tile - 1) / a.tile; }

/// A warp per expert: its tiles lie behind those of all before it; the last one's warp says where they end.
KERF_GLOBAL(kSortThreads) place_slots(GroupArgs a) {
  const int expert = static_cast<int>(block_x()) * kSortWarps + static_cast<int>(warp()), me = static_cast<int>(lane());
  if (expert >= a.X) return;
  int before = 0;
  for (int e = me; e < expert; e += kLanes) before += tiles_of(a, a.counts[e]);
  before = warp_sum(before);
  int* const places = a.slot_at + before * a.tile;
  const int count = for_each_slot(a, expert, [&](int slot, int i) { places[i] = slot; });
  const int own = tiles_of(a, count), end = before + own;
  for (int i = count + me; i < own * a.tile; i += kLanes) places[i] = -1;
  for (int i = before + me; i < end; i += kLanes) a.expert_of[i] = expert;
  for (int i = end + me; expert == a.X - 1 && i < a.tiles; i += kLanes) a.expert_of[i] = -1;
}

/// A block per place.
template <class Bits, int parts>
KERF_GLOBAL(kThreads)
round_slots(GroupArgs a) {
  KERF_SHARED(float, part, [kThreads / kLanes]);
  const int64_t place = block_x();
  if (a.expert_of[place / a.tile] < 0) return;
  const int slot = a.slot_at[place];
  round_row<Bits, parts>(a.t, place, slot < 0 ? nullptr : static_cast<const float*>(a.e.activations(slot)), part);
}

/// Block (i, tile): rows i * 128 .. of the tile's expert.
template <class F, int tokens>
KERF_GLOBAL(kThreads)
multiply_groups(GroupArgs a) {
  using Here = Memory<kParts<F>, tokens>;
  KERF_SHARED(Here, memory, [1]);
  const int expert = a.expert_of[block_y()];
  if (expert < 0) return;
  Product p = a.t.p;
  p.w += expert * p.N * p.w_bytes;
  const int64_t place0 = static_cast<int64_t>(block_y()) * tokens, n0 = static_cast<int64_t>(block_x()) * kRows;
  sum_tiles<F, tokens>(a.t, p, place0, n0, memory[0]);
  block_sync();
  for (int i = static_cast<int>(thread_x()); i < tokens * kRows; i += kThreads) {
    const int slot = a.slot_at[place0 + i / kRows];
    const int64_t n = n0 + i % kRows;
    if (slot < 0 || n >= p.N) continue;
    const float sum = memory[0].sums[i / kRows][i % kRows] * a.t.back[place0 + i / kRows];
    a.e.out[slot * p.N + n] = fabsf(sum) <= 0x1.fffffep127f ? sum : dot_f32<F>(p, a.e.by_slot ? slot : slot / a.e.used, n);
  }
}

/// As many as all slots fill, and one for each expert that has any, whose last may hold a single slot.
int64_t most_tiles(int64_t slots, int64_t experts, int64_t tile) { return slots / tile + (slots < experts ? slots : experts); }

/// For experts with this many slots on average, a tile that holds a third more: were slots to fall on experts by chance, one expert in
/// ten would have more than 16 where the average is 12, and would need its weights decoded for a second tile.
int tile_for_experts(int64_t slots, int64_t experts) { return tile_for((4 * slots + 3 * experts - 1) / (3 * experts)); }

int parts_of(DType w) { return is_affine(w) ? 1 : 2; }

struct Grouped {
  static size_t bytes(const Problem& p) { return layout(p, nullptr, {}, parts_of(p.in[1].dtype)).second; }

  /// The arguments but for the product, and the bytes of what they point to: one array behind the other.
  static std::pair<GroupArgs, size_t> layout(const Problem& p, std::byte* scratch, const ExpertArgs& e, int parts) {
    const int64_t X = p.in[1].shape[1], slots = p.in[expert_inputs(p.op)->ids].size();
    const int64_t tile = tile_for_experts(slots, X), tiles = most_tiles(slots, X, tile), T = tiles * tile;
    const int64_t K = padded(p.in[0].cols(), kStep);
    size_t at = 0;
    const auto take = [&](int64_t n) {
      std::byte* const here = scratch ? scratch + at : nullptr;
      at += static_cast<size_t>(padded(n, 64));
      return here;
    };
    GroupArgs a{.e = e,
                .t = {},
                .counts = nullptr,
                .slot_at = nullptr,
                .expert_of = nullptr,
                .X = static_cast<int>(X),
                .tiles = static_cast<int>(tiles),
                .tile = static_cast<int>(tile)};
    a.t.padded_T = T, a.t.padded_K = K;
    a.t.rounded = reinterpret_cast<uint16_t*>(take(T * K * 2 * parts));
    a.t.back = reinterpret_cast<float*>(take(T * 4));
    a.counts = reinterpret_cast<int*>(take(X * 4));
    a.slot_at = reinterpret_cast<int*>(take(T * 4));
    a.expert_of = reinterpret_cast<int*>(take(tiles * 4));
    return {a, at};
  }
  static GroupArgs arguments(const Problem& p, const Call& call, size_t w, std::byte* scratch) {
    const ExpertArgs e = expert_args(p, call, w);
    GroupArgs a = layout(p, scratch, e, parts_of(p.in[w].dtype)).first;
    a.t.p = {.x = static_cast<const std::byte*>(e.x),
             .w = static_cast<const std::byte*>(e.w),
             .other = nullptr,
             .y = nullptr,
             .T = p.in[0].rows(),
             .N = e.N,
             .K = e.K,
             .x_bytes = e.x_bytes,
             .w_bytes = e.w_bytes,
             .other_step = 0,
             .finish = Finish::none};
    return a;
  }
  /// f(F{}) for the format of weights that this rung takes: of floats those of sixteen bits.
  template <class Fn>
  static void visit(DType w, Fn&& f) {
    quant::Formats::visit(w, [&]<class F>(F) {
      if constexpr (F::dtype != DType::f32) f(F{});
    });
  }
  static void prepare(const Problem& p, const Call& call, std::byte* scratch) {
    const GroupArgs a = arguments(p, call, 1, scratch);
    const unsigned blocks = blocks_for(a.X, kSortWarps);
    launch(call, {.kernel = "count_slots", .blocks = {blocks}, .threads = kSortThreads}, count_slots, a);
    launch(call, {.kernel = "place_slots", .blocks = {blocks}, .threads = kSortThreads}, place_slots, a);
    visit(p.in[1].dtype, [&]<class F>(F) {
      launch(call, {.kernel = "round_slots", .blocks = {static_cast<unsigned>(a.t.padded_T)}, .threads = kThreads}, round_slots<BitsOf<F>, kParts<F>>,
             a);
    });
  }
  static void multiply(const Problem& p, const Call& call, size_t w, float* out, std::byte* scratch) {
    GroupArgs a = arguments(p, call, w, scratch);
    a.e.out = out;
    visit(p.in[w].dtype, [&]<class F>(F) {
      with_tile(a.tile, [&]<int tokens>(std::integral_constant<int, tokens>) {
        launch(call, {.kernel = "multiply_groups", .blocks = {blocks_for(a.e.N, kRows), static_cast<unsigned>(a.tiles)}, .threads = kThreads},
               multiply_groups<F, tokens>, a);
      });
    });
  }
};

/// From this many slots an expert on, on average: below, most of the smallest tile is empty.
constexpr int64_t kSlotsPerExpert = 8;

template <bool (*fits)(DType)>
Support accepts(const Problem& p) {
  if (Support s = accepts_experts(p, DType::f32); !s) return s;
  const ExpertInputs e = *expert_inputs(p.op);
  for (size_t i = e.first; i < e.first + e.count; ++i)
    if (!fits(p.in[i].dtype)) return {"the weights are of another kind"};
  return require(p.in[e.ids].size() >= kSlotsPerExpert * p.in[1].shape[1], "less than 8 slots an expert");
}

bool is_f16(DType t) { return t == DType::f16; }
bool is_bf16(DType t) { return t == DType::bf16; }

template <class Op>
void add_rungs(Registry::Adder& registry) {
  const Kernel kernel{
      .op = Op::name,
      .improves = "2_rows",
      .note = "slots in the order of their experts: a tile of weights is decoded once for up to 64 of them, and multiplied on matrix units",
      .preference = 4,
      .scratch_bytes = products_scratch<Op, Grouped>,
      .run = run_products<Op, Grouped>};
  const auto add = [&](std::string variant, double unit, Support (*accepts)(const Problem&)) {
    Kernel k = kernel;
    k.variant = std::move(variant), k.unit = unit, k.accepts = accepts;
    registry.add(std::move(k));
  };
  add("4_grouped", 0x1p-11, accepts<is_affine>);
  add("4_grouped_f16", 0x1p-21, accepts<is_f16>);
  add("4_grouped_bf16", 0x1p-16, accepts<is_bf16>);
}

}  // namespace

void experts_4_grouped(Registry::Adder registry) {
  add_rungs<ExpertMatMul>(registry);
  add_rungs<ExpertSwiGlu>(registry);
  add_rungs<ExpertMatMulSum>(registry);
}

}  // namespace kerf::KERF_GPU_NS
