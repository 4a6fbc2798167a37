// gated_delta_rule (Yang, Kautz, Hatamizadeh 2024): a state S [dv,dk] for each head of values. Row i of it meets no other row, so
// blocks share the rows of a head. d is S's decay exp(g), b the rate of a token.
#include "backends/gpu/gpu.h"

namespace kerf::KERF_GPU_NS {
namespace {

/// Four values that are loaded at once.
struct alignas(16) Quad {
  float e[4];
};
KERF_DEVICE float dot(const Quad& a, const Quad& b, float sum) {
  KERF_UNROLL
  for (int i = 0; i < 4; ++i) sum = fmaf(a.e[i], b.e[i], sum);
  return sum;
}

struct DeltaArgs {
  const float *q, *k;        // [T, Hk*dk]
  const float* v;            // [T, H*dv]
  const float *g, *b;        // [T, H]
  const int32_t* positions;  // [T]
  float* out;                // [T, H*dv]
  float* state;              // [H, dv, dk]
  int64_t T;
  int Hk, H, dv, dk;
  bool tiled;
  float scale;

  /// Where head h of v has its query or key of token t.
  KERF_DEVICE int64_t key_at(int64_t t, int h) const { return (t * Hk + (tiled ? h % Hk : h / (H / Hk))) * dk; }
  KERF_DEVICE int64_t value_at(int64_t t, int h) const { return (t * H + h) * dv; }
};

/// Values j .. j + 3 of a row of n, zeros behind its end. A quad is aligned where n is a multiple of 4.
KERF_DEVICE Quad load_quad(const float* row, int j, int n) {
  Quad x{};
  if (n % 4 == 0) {
    if (j < n) x = *reinterpret_cast<const Quad*>(row + j);
  } else {
    KERF_UNROLL
    for (int i = 0; i < 4; ++i)
      if (j + i < n) x.e[i] = row[j + i];
  }
  return x;
}
KERF_DEVICE void store_quad(const Quad& x, float* row, int j, int n) {
  if (n % 4 == 0) {
    if (j < n) *reinterpret_cast<Quad*>(row + j) = x;
  } else {
    KERF_UNROLL
    for (int i = 0; i < 4; ++i)
      if (j + i < n) row[j + i] = x.e[i];
  }
}

// ---- 1_serial: token by token. Eight lanes hold a row of S in registers, so that a sum takes three shuffles.

constexpr int kThreads = 128, kRowLanes = 8, kRows = kThreads / kRowLanes;
/// Tokens whose inputs are brought to shared memory together: a barrier for each eight of them.
constexpr int kStage = 8;

KERF_DEVICE float row_sum(float x) {
  for (unsigned bits = kRowLanes / 2; bits > 0; bits /= 2) x += shfl_xor(x, bits);
  return x;
}

template <int quads>  // of a row, for each of its lanes
struct Stage {
  static constexpr int kRow = quads * kRowLanes;
  Quad k[kStage][kRow], q[kStage][kRow];
  float v[kStage][kRows], decay[kStage], rate[kStage], kq[kStage];
};

template <int quads>
KERF_DEVICE void load_stage(const DeltaArgs& a, Stage<quads>& to, int64_t t0, int n, int h, int first_row) {
  const int me = static_cast<int>(thread_x());
  constexpr int kRow = Stage<quads>::kRow;
  for (int i = me; i < n * kRow; i += kThreads) {
    const int64_t at = a.key_at(t0 + i / kRow, h);
    to.k[i / kRow][i % kRow] = load_quad(a.k + at, i % kRow * 4, a.dk);
    to.q[i / kRow][i % kRow] = load_quad(a.q + at, i % kRow * 4, a.dk);
  }
  for (int i = me; i < n * kRows; i += kThreads) {
    const int row = first_row + i % kRows;
    to.v[i / kRows][i % kRows] = row < a.dv ? a.v[a.value_at(t0 + i / kRows, h) + row] : 0;
  }
  if (me >= n) return;
  to.decay[me] = expf(a.g[(t0 + me) * a.H + h]);
  to.rate[me] = a.b[(t0 + me) * a.H + h];
}

/// k.q of each token, which all rows need: a warp per token.
template <int quads>
KERF_DEVICE void multiply_keys(Stage<quads>& s, int n) {
  for (int t = static_cast<int>(warp()); t < n; t += kThreads / kLanes) {
    float sum = 0;
    for (int j = static_cast<int>(lane()); j < Stage<quads>::kRow; j += kLanes) sum = dot(s.k[t][j], s.q[t][j], sum);
    sum = warp_sum(sum);
    if (lane() == 0) s.kq[t] = sum;
  }
}

/// Block (part, h): rows part * kRows .. of head h. S q is summed together with S k, from the state before its change, whose share of
/// the output is then change (k.q): one chain of shuffles for each token instead of two.
template <int quads>
KERF_GLOBAL(kThreads)
serial(DeltaArgs a) {
  using Inputs = Stage<quads>;
  KERF_SHARED(Inputs, in);
  const int h = static_cast<int>(block_y()), l = static_cast<int>(thread_x()) % kRowLanes, r = static_cast<int>(thread_x()) / kRowLanes;
  const int first_row = static_cast<int>(block_x()) * kRows, row = first_row + r;
  float* const state = a.state + (static_cast<int64_t>(h) * a.dv + row) * a.dk;
  Quad S[quads];
  KERF_UNROLL
  for (int i = 0; i < quads; ++i) S[i] = row < a.dv && a.positions[0] != 0 ? load_quad(state, (i * kRowLanes + l) * 4, a.dk) : Quad{};
  for (int64_t t0 = 0; t0 < a.T; t0 += kStage) {
    const int n = static_cast<int>(a.T - t0 < kStage ? a.T - t0 : kStage);
    load_stage<quads>(a, in, t0, n, h, first_row);
    block_sync();
    multiply_keys<quads>(in, n);
    block_sync();
    for (int t = 0; t < n; ++t) {
      float held = 0, seen = 0;
      KERF_UNROLL
      for (int i = 0; i < quads; ++i) {
        held = dot(S[i], in.k[t][i * kRowLanes + l], held);
        seen = dot(S[i], in.q[t][i * kRowLanes + l], seen);
      }
      held = row_sum(held), seen = row_sum(seen);
      const float decay = in.decay[t], change = in.rate[t] * fmaf(-decay, held, in.v[t][r]);
      KERF_UNROLL
      for (int i = 0; i < quads; ++i) {
        const Quad k = in.k[t][i * kRowLanes + l];
        KERF_UNROLL
        for (int e = 0; e < 4; ++e) S[i].e[e] = fmaf(change, k.e[e], decay * S[i].e[e]);
      }
      if (l == 0 && row < a.dv) a.out[a.value_at(t0 + t, h) + row] = a.scale * fmaf(change, in.kq[t], decay * seen);
    }
    block_sync();
  }
  if (row >= a.dv) return;
  KERF_UNROLL
  for (int i = 0; i < quads; ++i) store_quad(S[i], state, (i * kRowLanes + l) * 4, a.dk);
}

DeltaArgs arguments(const Problem& p, const Call& call) {
  const auto& op = std::get<GatedDeltaRule>(p.op);
  const Shape& state = p.in[5].shape;
  return {.q = call.in[0].as<const float>(),
          .k = call.in[1].as<const float>(),
          .v = call.in[2].as<const float>(),
          .g = call.in[3].as<const float>(),
          .b = call.in[4].as<const float>(),
          .positions = call.in[6].as<const int32_t>(),
          .out = call.out[0].as<float>(),
          .state = call.out[1].as<float>(),
          .T = p.in[0].rows(),
          .Hk = op.n_head_k,
          .H = static_cast<int>(state[1]),
          .dv = static_cast<int>(state[2]),
          .dk = static_cast<int>(state[3]),
          .tiled = op.order == HeadOrder::tiled,
          .scale = op.scale};
}

void run_serial(const Problem& p, const Call& call) {
  const DeltaArgs a = arguments(p, call);
  const auto kernel = a.dk <= 32 ? serial<1> : a.dk <= 64 ? serial<2> : a.dk <= 128 ? serial<4> : serial<8>;
  launch(call, {.kernel = "serial", .blocks = {blocks_for(a.dv, kRows), static_cast<unsigned>(a.H)}, .threads = kThreads}, kernel, a);
}

// ---- 2_chunked: sixteen tokens at a time (the WY form of Yang, Wang, Zhang, Shen, Kim 2024, with decays). With D[t][s] the decay from
// token s to token t of a chunk, A below the diagonal and P on and below it:
//
//   A = b[t] D[t][s] k[t].k[s],  P = scale D[t][s] q[t].k[s],  X = (I + A)^-1 b[t] (v[t] - D[t][start] S k[t])
//   out = scale D[t][start] S q + P X,  S <- D[end][start] S + (D[end][t] X)^T k
//
// The inverse does not depend on S: `prepare` makes it for all chunks at once, and `pass`, which has to go from chunk to chunk, only
// multiplies. No element of the inverse is larger than 1 where keys are no longer than 1 and rates no larger (it is one key, seen by
// another through steps between that make nothing longer), so that this is as accurate as to solve the system. D is made of
// products of decays and not of exponentials of differences, so nothing overflows.

constexpr int kChunk = 16;
constexpr int kMostQuads = 32;             // of a key
constexpr int kRowQuads = kMostQuads + 1;  // of a key or a row of S in shared memory: eight rows one below the other are in all banks

/// What `prepare` leaves of a chunk for one head of v.
struct alignas(16) Pairs {
  float inverse[kChunk][kChunk];       // (I + A)^-1, column s times b[s]
  float weights[kChunk][kChunk];       // P
  float since[kChunk], until[kChunk];  // D[t][start], D[end][t]
};
constexpr int kPairQuads = sizeof(Pairs) / sizeof(Quad);

struct ChunkArgs {
  DeltaArgs d;
  Pairs* pairs;  // [chunks, H]
};

/// D[t][s] of the decays of a chunk's tokens.
KERF_DEVICE float decay_between(const float* decay, int s, int t) {
  float product = 1;
  for (int i = s + 1; i <= t; ++i) product *= decay[i];
  return product;
}

/// Column c of (I + A)^-1.
KERF_DEVICE void invert_column(const float (&A)[kChunk][kChunk + 1], int c, float (&x)[kChunk]) {
  KERF_UNROLL
  for (int t = 0; t < kChunk; ++t) {
    x[t] = t == c ? 1.0f : 0.0f;
    KERF_UNROLL
    for (int s = 0; s < t; ++s) x[t] = fmaf(-A[t][s], x[s], x[t]);
  }
}

/// Block (h, chunk), a thread for each pair of tokens. Tokens behind the last have no rate and do not decay: they change nothing.
KERF_GLOBAL(kChunk* kChunk) prepare(ChunkArgs a) {
  KERF_SHARED(Quad, k, [kChunk][kRowQuads]);
  KERF_SHARED(Quad, q, [kChunk][kRowQuads]);
  KERF_SHARED(float, A, [kChunk][kChunk + 1]);
  KERF_SHARED(float, decay, [kChunk]);
  KERF_SHARED(float, rate, [kChunk]);
  const DeltaArgs& d = a.d;
  const int h = static_cast<int>(block_x()), t = static_cast<int>(thread_x()) / kChunk, s = static_cast<int>(thread_x()) % kChunk;
  const int64_t chunk = block_y(), t0 = chunk * kChunk;
  const bool there = t0 + t < d.T;
  const int quads = d.dk / 4;
  for (int j = s; j < quads; j += kChunk) {
    k[t][j] = there ? load_quad(d.k + d.key_at(t0 + t, h), 4 * j, d.dk) : Quad{};
    q[t][j] = there ? load_quad(d.q + d.key_at(t0 + t, h), 4 * j, d.dk) : Quad{};
  }
  if (s == 0) {
    decay[t] = there ? expf(d.g[(t0 + t) * d.H + h]) : 1;
    rate[t] = there ? d.b[(t0 + t) * d.H + h] : 0;
  }
  block_sync();
  float kk = 0, qk = 0;
  for (int j = 0; j < quads; ++j) {
    kk = dot(k[t][j], k[s][j], kk);
    qk = dot(q[t][j], k[s][j], qk);
  }
  Pairs& to = a.pairs[chunk * d.H + h];
  const float D = decay_between(decay, s, t);
  A[t][s] = rate[t] * D * kk;
  to.weights[t][s] = s <= t ? d.scale * D * qk : 0;
  if (s == 0) to.since[t] = D * decay[0];
  if (t == kChunk - 1) to.until[s] = D;
  block_sync();
  if (t > 0) return;
  float x[kChunk];
  invert_column(A, s, x);
  KERF_UNROLL
  for (int i = 0; i < kChunk; ++i) to.inverse[i][s] = x[i] * rate[s];
}

constexpr int kPassThreads = 256, kPassRows = 32, kWarpRows = 4;
static_assert(kPassThreads / kLanes * kWarpRows == kPassRows && kPassRows == kLanes);

/// What `pass` has in shared memory.
struct Passing {
  Quad S[kPassRows][kRowQuads];
  Quad kq[2 * kChunk][kRowQuads];  // keys of a chunk, then its queries
  Pairs pairs;
  Quad rest[kChunk][kPassRows / 4 + 1];  // by token, then by row of S: v - D S k
  Quad seen[kChunk][kPassRows / 4 + 1];  // scale D S q
  float x[kChunk][kPassRows];            // X
  Quad x_end[kChunk][kPassRows / 4];     // X with the decay to the end of the chunk
};

/// A thread's share of what a chunk reads, on its way from device to shared memory while the chunk before is multiplied.
struct Fetched {
  Quad kq[2 * kChunk * kMostQuads / kPassThreads];
  Quad pairs;
};
static_assert(kPairQuads <= kPassThreads);

KERF_DEVICE void fetch(const ChunkArgs& a, int64_t chunk, int h, Fetched& to) {
  const DeltaArgs& d = a.d;
  KERF_UNROLL
  for (int i = 0; i < 2 * kChunk * kMostQuads / kPassThreads; ++i) {
    const int at = static_cast<int>(thread_x()) + i * kPassThreads, row = at / kMostQuads, j = at % kMostQuads * 4;
    const int64_t t = chunk * kChunk + row % kChunk;
    to.kq[i] = t < d.T ? load_quad((row < kChunk ? d.k : d.q) + d.key_at(t, h), j, d.dk) : Quad{};
  }
  if (thread_x() < kPairQuads) to.pairs = reinterpret_cast<const Quad*>(&a.pairs[chunk * d.H + h])[thread_x()];
}
KERF_DEVICE void put(const Fetched& from, Passing& s) {
  KERF_UNROLL
  for (int i = 0; i < 2 * kChunk * kMostQuads / kPassThreads; ++i) {
    const int at = static_cast<int>(thread_x()) + i * kPassThreads;
    s.kq[at / kMostQuads][at % kMostQuads] = from.kq[i];
  }
  if (thread_x() < kPairQuads) reinterpret_cast<Quad*>(&s.pairs)[thread_x()] = from.pairs;
}

/// S k and S q. A warp has four rows; a lane has two keys and two queries, and one in four quads of them: sixteen products for
/// eight quads from shared memory, and the four partial sums of each meet in two shuffles. Afterwards lanes 8i .. 8i + 7 have
/// key or query 8i + lane % 8 of the chunk's 16 keys and 16 queries.
KERF_DEVICE void read_state(const Passing& s, int quads, Quad& sums) {
  const int column = static_cast<int>(lane()) % 8, part = static_cast<int>(lane()) / 8, first = static_cast<int>(warp()) * kWarpRows;
  float sum[kWarpRows][4] = {};
  for (int j = part; j < quads; j += 4) {
    Quad x[4];
    KERF_UNROLL
    for (int c = 0; c < 4; ++c) x[c] = s.kq[column + 8 * c][j];
    KERF_UNROLL
    for (int r = 0; r < kWarpRows; ++r) {
      const Quad row = s.S[first + r][j];
      KERF_UNROLL
      for (int c = 0; c < 4; ++c) sum[r][c] = dot(row, x[c], sum[r][c]);
    }
  }
  KERF_UNROLL
  for (int r = 0; r < kWarpRows; ++r) {
    KERF_UNROLL
    for (int c = 0; c < 4; ++c) {
      float x = sum[r][c];
      x += shfl_xor(x, 8);
      x += shfl_xor(x, 16);
      if (c == part) sums.e[r] = x;
    }
  }
}

/// What is left of the values once the state's answer is taken off, and its share of the outputs.
KERF_DEVICE void take_off(Passing& s, const Quad& sums, const Quad& v, float scale) {
  const int t = static_cast<int>(lane()) % kChunk, group = static_cast<int>(warp());
  Quad x{};
  KERF_UNROLL
  for (int r = 0; r < kWarpRows; ++r) x.e[r] = lane() < kChunk ? fmaf(-s.pairs.since[t], sums.e[r], v.e[r]) : scale * s.pairs.since[t] * sums.e[r];
  (lane() < kChunk ? s.rest : s.seen)[t][group] = x;
}

/// sum over s <= t of M[t][s] y[s], where a later token has no part: what is no number there stays there.
template <class Row>
KERF_DEVICE float up_to(const float (&M)[kChunk][kChunk], int t, Row&& y) {
  float sum = 0;
  for (int s = 0; s <= t; ++s) sum = fmaf(M[t][s], y(s), sum);
  return sum;
}

KERF_DEVICE void solve(Passing& s) {
  const int row = static_cast<int>(lane());
  for (int t = static_cast<int>(warp()); t < kChunk; t += kPassThreads / kLanes) {
    const float x = up_to(s.pairs.inverse, t, [&](int i) { return s.rest[i][row / 4].e[row % 4]; });
    s.x[t][row] = x;
    s.x_end[t][row / 4].e[row % 4] = s.pairs.until[t] * x;
  }
}

KERF_DEVICE void write_outputs(const DeltaArgs& d, const Passing& s, int64_t t0, int h, int first_row) {
  const int row = static_cast<int>(lane());
  for (int t = static_cast<int>(warp()); t < kChunk; t += kPassThreads / kLanes) {
    const float sum = up_to(s.pairs.weights, t, [&](int i) { return s.x[i][row]; });
    if (t0 + t < d.T && first_row + row < d.dv) d.out[d.value_at(t0 + t, h) + first_row + row] = sum + s.seen[t][row / 4].e[row % 4];
  }
}

/// S <- D S + X^T k, four rows a warp, a quad of each a lane.
KERF_DEVICE void change_state(Passing& s, int quads) {
  const int j = static_cast<int>(lane()), group = static_cast<int>(warp());
  if (j >= quads) return;
  Quad S[kWarpRows];
  KERF_UNROLL
  for (int r = 0; r < kWarpRows; ++r) {
    S[r] = s.S[group * kWarpRows + r][j];
    KERF_UNROLL
    for (int e = 0; e < 4; ++e) S[r].e[e] *= s.pairs.since[kChunk - 1];
  }
  KERF_UNROLL
  for (int t = 0; t < kChunk; ++t) {
    const Quad k = s.kq[t][j], x = s.x_end[t][group];
    KERF_UNROLL
    for (int r = 0; r < kWarpRows; ++r) {
      KERF_UNROLL
      for (int e = 0; e < 4; ++e) S[r].e[e] = fmaf(x.e[r], k.e[e], S[r].e[e]);
    }
  }
  KERF_UNROLL
  for (int r = 0; r < kWarpRows; ++r) s.S[group * kWarpRows + r][j] = S[r];
}

/// Block (part, h): rows part * kPassRows .. of head h, chunk after chunk.
KERF_GLOBAL(kPassThreads) pass(ChunkArgs a) {
  KERF_SHARED(Passing, s);
  const DeltaArgs& d = a.d;
  const int h = static_cast<int>(block_y()), first_row = static_cast<int>(block_x()) * kPassRows, quads = d.dk / 4;
  const int j = static_cast<int>(lane()), first = static_cast<int>(warp()) * kWarpRows;
  float* const state = d.state + static_cast<int64_t>(h) * d.dv * d.dk;
  const auto row_of = [&](int r) { return state + static_cast<int64_t>(first_row + first + r) * d.dk; };
  for (int r = 0; r < kWarpRows; ++r)
    s.S[first + r][j] = first_row + first + r < d.dv && d.positions[0] != 0 ? load_quad(row_of(r), 4 * j, d.dk) : Quad{};
  Fetched next;
  fetch(a, 0, h, next);
  for (int64_t t0 = 0; t0 < d.T; t0 += kChunk) {
    put(next, s);
    block_sync();
    if (t0 + kChunk < d.T) fetch(a, t0 / kChunk + 1, h, next);
    const int64_t t = t0 + lane() % kChunk;
    const bool mine = t < d.T && lane() < kChunk && first_row + first < d.dv;
    const Quad v = mine ? load_quad(d.v + d.value_at(t, h), first_row + first, d.dv) : Quad{};
    Quad sums{};
    read_state(s, quads, sums);
    take_off(s, sums, v, d.scale);
    block_sync();
    solve(s);
    block_sync();
    write_outputs(d, s, t0, h, first_row);
    change_state(s, quads);
    block_sync();
  }
  for (int r = 0; r < kWarpRows; ++r)
    if (first_row + first + r < d.dv) store_quad(s.S[first + r][j], row_of(r), 4 * j, d.dk);
}

int64_t chunks_of(const Problem& p) { return (p.in[0].rows() + kChunk - 1) / kChunk; }

void run_chunked(const Problem& p, const Call& call) {
  const ChunkArgs a{.d = arguments(p, call), .pairs = reinterpret_cast<Pairs*>(call.scratch.data())};
  const auto heads = static_cast<unsigned>(a.d.H);
  launch(call, {.kernel = "prepare", .blocks = {heads, static_cast<unsigned>(chunks_of(p))}, .threads = kChunk * kChunk}, prepare, a);
  launch(call, {.kernel = "pass", .blocks = {blocks_for(a.d.dv, kPassRows), heads}, .threads = kPassThreads}, pass, a);
}

Support accepts_rows(const Problem& p) {
  const Shape& state = p.in[5].shape;
  return require(state[3] <= 256 && state[1] < 65536, "keys are longer than 256, or more heads than a grid has rows");
}
Support accepts_chunks(const Problem& p) {
  const Shape& state = p.in[5].shape;
  if (p.in[0].rows() < kChunk) return {"tokens are too few for a chunk"};
  if (chunks_of(p) >= 65536) return {"more chunks than a grid has rows"};
  if (state[3] % 4 != 0 || state[2] % 4 != 0 || state[3] > 4 * kMostQuads) return {"keys are longer than 128, or keys or values no multiple of 4"};
  return accepts_rows(p);
}

}  // namespace

void gated_delta_rule(Registry::Adder registry) {
  registry.add({.op = GatedDeltaRule::name,
                .variant = "1_serial",
                .note = "token by token, rows of a state in registers of eight lanes: it is read and written once for all tokens",
                .preference = 1,
                .accepts = accepts_rows,
                .run = run_serial});
  registry.add({.op = GatedDeltaRule::name,
                .variant = "2_chunked",
                .improves = "1_serial",
                .note = "16 tokens at a time as products of small matrices: four barriers a chunk where a token waited for its sums, sixteen times",
                .preference = 2,
                .accepts = accepts_chunks,
                .scratch_bytes = [](const Problem& p) { return static_cast<size_t>(chunks_of(p) * p.in[5].shape[1]) * sizeof(Pairs); },
                .run = run_chunked});
}

}  // namespace kerf::KERF_GPU_NS
