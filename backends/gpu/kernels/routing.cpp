// What surrounds the experts of a layer (Shazeer et al. 2017): router, which chooses them for each token, and expert_sum, which
// puts together what they made of it.
#include "backends/gpu/kernels/experts.h"
#include "backends/gpu/kernels/rank.h"

namespace kerf::KERF_GPU_NS {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kLanes;
/// Below it a sum over all experts is not needed where weights are divided by their own: it cancels but for the lower bound of 2^-14,
/// and the chosen ones, as the largest, have at least used / X of it.
constexpr int64_t kMostExperts = 1 << 14;

struct RouterArgs {
  const float* logits;  // [T, X]
  int32_t* ids;         // [T, used]
  float* weights;       // as ids
  int64_t T;
  unsigned X;
  int used;
  bool renormalize;
};

/// What is not a number counts as the least.
KERF_DEVICE uint64_t rank_of(float logit, unsigned id) { return rank(ordered(logit != logit ? std::bit_cast<float>(0xFF800000u) : logit), id); }

/// A warp per token. Ranks are all different, so the next of the list is the highest below the last: nothing has to be marked as taken.
/// Lane u keeps entry u of every 32.
KERF_GLOBAL(kThreads) route(RouterArgs a) {
  const int64_t t = static_cast<int64_t>(block_x()) * kWarps + warp();
  if (t >= a.T) return;
  const float* logits = a.logits + t * a.X;
  float largest = 0, chosen = 0, total = 0;
  uint64_t last = ~uint64_t{0};
  for (int u = 0; u < a.used; ++u) {
    uint64_t next = 0;
    for (unsigned e = lane(); e < a.X; e += kLanes) {
      const uint64_t r = rank_of(logits[e], e);
      if (r < last && r > next) next = r;
    }
    last = warp_highest(next);
    const float logit = logits[id_of(last)];
    if (u == 0) largest = logit;
    chosen += expf(logit - largest);
    if (lane() == 0) a.ids[t * a.used + u] = static_cast<int32_t>(id_of(last));
  }
  for (unsigned e = lane(); e < a.X && !a.renormalize; e += kLanes) total += expf(logits[e] - largest);
  const float divisor = a.renormalize ? chosen : warp_sum(total);
  warp_sync();
  for (int u = static_cast<int>(lane()); u < a.used; u += kLanes) a.weights[t * a.used + u] = expf(logits[a.ids[t * a.used + u]] - largest) / divisor;
}

void run_router(const Problem& p, const Call& call) {
  const auto& op = std::get<Router>(p.op);
  const TensorDesc& x = p.in[0];
  const RouterArgs args{.logits = call.in[0].as<const float>(),
                        .ids = call.out[0].as<int32_t>(),
                        .weights = call.out[1].as<float>(),
                        .T = x.rows(),
                        .X = static_cast<unsigned>(x.cols()),
                        .used = op.used,
                        .renormalize = op.renormalize};
  launch(call, {.kernel = "route", .blocks = {blocks_for(args.T, kWarps)}, .threads = kThreads}, route, args);
}

struct SumArgs {
  const float* y;        // [T*used, E]
  const float* weights;  // [T, used]
  float* out;            // [T, E]
  int64_t E;
  int used;
};

/// Block (i, t): values i * kThreads .. of token t.
KERF_GLOBAL(kThreads) sum_slots(SumArgs a) {
  const int64_t e = static_cast<int64_t>(block_x()) * kThreads + thread_x(), first = static_cast<int64_t>(block_y()) * a.used;
  if (e < a.E) a.out[first / a.used * a.E + e] = sum_of_slots(a.weights, a.y, first, a.used, a.E, e);
}

void run_sum(const Problem& p, const Call& call) {
  const SumArgs args{.y = call.in[0].as<const float>(),
                     .weights = call.in[1].as<const float>(),
                     .out = call.out[0].as<float>(),
                     .E = p.out[0].cols(),
                     .used = static_cast<int>(p.in[1].cols())};
  launch(call, {.kernel = "sum_slots", .blocks = {blocks_for(args.E, kThreads), static_cast<unsigned>(p.out[0].rows())}, .threads = kThreads},
         sum_slots, args);
}

}  // namespace

void routing(Registry::Adder registry) {
  registry.add({.op = Router::name,
                .variant = "1_warp",
                .note = "a warp per token: the next of the list is the largest of the ranks below the last, met in shuffles",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.in[0].cols() <= kMostExperts, "more than 2^14 experts"); },
                .run = run_router});
  registry.add({.op = ExpertSum::name,
                .variant = "1_thread",
                .note = "a thread per value adds the slots of its token in their order",
                .preference = 1,
                .accepts = [](const Problem& p) { return require(p.out[0].rows() < 65536, "more tokens than a grid has rows"); },
                .run = run_sum});
}

}  // namespace kerf::KERF_GPU_NS
