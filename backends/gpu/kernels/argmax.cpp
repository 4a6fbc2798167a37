// argmax: the id of the largest logit, so that 4 bytes leave the device where a row of a vocabulary would. A row has 150 000 values
// and there may be one: blocks share it in pieces, and a second launch compares what they found.
#include "backends/gpu/kernels/rank.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kLanes;
/// Values of a piece: 8 loads of a thread are on their way at once, and 150 000 values keep 75 blocks busy.
constexpr int kLoads = 8, kPiece = kLoads * kThreads;
/// The rank of what is not finite is above that of every number, and lowest first.
constexpr uint32_t kNotFinite = 0xFFFFFFFFu;

struct ArgmaxArgs {
  const float* logits;  // [T, V]
  uint64_t* found;      // [T, pieces]: the highest rank in each piece
  int32_t* ids;         // [T]
  int64_t V;
  unsigned T, pieces;
};

KERF_DEVICE uint64_t rank_of(float logit, unsigned id) {
  const bool finite = (std::bit_cast<uint32_t>(logit) & 0x7F800000u) != 0x7F800000u;
  return rank(finite ? ordered(logit) : kNotFinite, id);
}

/// Block (i, t): piece i of row t.
KERF_GLOBAL(kThreads) highest_of_pieces(ArgmaxArgs a) {
  KERF_SHARED(uint64_t, part, [kWarps]);
  const float* row = a.logits + static_cast<int64_t>(block_y()) * a.V;
  const int64_t first = static_cast<int64_t>(block_x()) * kPiece + thread_x();
  uint64_t highest = 0;
  KERF_UNROLL
  for (int k = 0; k < kLoads; ++k) {
    const int64_t i = first + k * kThreads;
    if (i < a.V) highest = higher(highest, rank_of(row[i], static_cast<unsigned>(i)));
  }
  highest = warp_highest(highest);
  if (lane() == 0) part[warp()] = highest;
  block_sync();
  if (thread_x() != 0) return;
  for (int w = 1; w < kWarps; ++w) highest = higher(highest, part[w]);
  a.found[static_cast<int64_t>(block_y()) * a.pieces + block_x()] = highest;
}

/// A warp per row.
KERF_GLOBAL(kThreads) highest_of_rows(ArgmaxArgs a) {
  const int64_t t = static_cast<int64_t>(block_x()) * kWarps + warp();
  if (t >= a.T) return;
  uint64_t highest = 0;
  for (unsigned i = lane(); i < a.pieces; i += kLanes) highest = higher(highest, a.found[t * a.pieces + i]);
  highest = warp_highest(highest);
  const auto id = static_cast<int32_t>(id_of(highest));
  if (lane() == 0) a.ids[t] = static_cast<uint32_t>(highest >> 32) == kNotFinite ? ~id : id;
}

size_t scratch(const Problem& p) { return static_cast<size_t>(p.in[0].rows()) * blocks_for(p.in[0].cols(), kPiece) * sizeof(uint64_t); }

void run(const Problem& p, const Call& call) {
  const ArgmaxArgs args{.logits = call.in[0].as<const float>(),
                        .found = reinterpret_cast<uint64_t*>(call.scratch.data()),
                        .ids = call.out[0].as<int32_t>(),
                        .V = p.in[0].cols(),
                        .T = static_cast<unsigned>(p.in[0].rows()),
                        .pieces = blocks_for(p.in[0].cols(), kPiece)};
  launch(call, {.kernel = "highest_of_pieces", .blocks = {args.pieces, args.T}, .threads = kThreads}, highest_of_pieces, args);
  launch(call, {.kernel = "highest_of_rows", .blocks = {blocks_for(args.T, kWarps)}, .threads = kThreads}, highest_of_rows, args);
}

}  // namespace

void argmax(Registry::Adder registry) {
  registry.add({.op = Argmax::name,
                .variant = "1_pieces",
                .note = "a block for each 2048 values of a row, then a warp for each row: value and id are one integer, so any order of meeting "
                        "gives the same",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.in[0].rows() < 65536, "more rows than a grid has"); },
                .scratch_bytes = scratch,
                .run = run});
}

}  // namespace kerf::KERF_GPU_NS
