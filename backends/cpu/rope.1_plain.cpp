// rope, rung 1: rotates pair (a, b) of every head by the angle of its token: (a cos - b sin, a sin + b cos).
// norm pairs neighbours (x[2i], x[2i+1]); neox pairs the halves (x[i], x[i + dims/2]). The rest of a head is copied.
#include "backends/cpu/simd_loop.h"
#include "backends/cpu/simd_rung.h"

namespace kerf::cpu {
namespace {

struct Pairing {
  int64_t stride, distance;  // pair i is (x[i*stride], x[i*stride + distance])
};

void rotate_head(const float* x, const float* table, int64_t half, Pairing pairing, float* out) {
  for (int64_t i = 0; i < half; ++i) {
    const int64_t first = i * pairing.stride, second = first + pairing.distance;
    const float a = x[first], b = x[second], c = table[i], s = table[half + i];
    out[first] = a * c - b * s;
    out[second] = a * s + b * c;
  }
}

void run(const Problem& p, const Call& call) {
  const Rope& op = rope_of(p);
  const TensorView &x = call.in[0], &table = call.in[1], &out = call.out[0];
  const int64_t cols = x.desc.cols(), dims = table.desc.cols();
  const Pairing pairing = op.pairing == RopePairing::norm ? Pairing{2, 1} : Pairing{1, dims / 2};
  for_each_rows(call.pool, x.desc.rows(), cols, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      for (int64_t h = 0; h < cols; h += op.head_dim) {
        const float* head = x.row<float>(t) + h;
        float* rotated = out.row<float>(t) + h;
        rotate_head(head, table.row<float>(t), dims / 2, pairing, rotated);
        for (int64_t i = dims; i < op.head_dim; ++i) rotated[i] = head[i];
      }
  });
}

}  // namespace

void rope_1_plain(Registry::Adder r);
void rope_1_plain(Registry::Adder r) {
  add_rung(r, {.op = Rope::name, .variant = "1_plain", .note = "head by head, pair by pair", .preference = 1, .accepts = accepts_all, .run = run});
}

}  // namespace kerf::cpu
