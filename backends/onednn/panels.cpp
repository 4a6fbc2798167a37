#include "backends/onednn/panels.h"

#include <algorithm>
#include <array>

#include "backends/onednn/decode.h"
#include "backends/onednn/library.h"
#include "core/threadpool.h"
#include "quant/formats.h"

namespace kerf::onednn {
namespace {

using dnnl::memory;

// oneDNN packs both operands for every product, so a panel must be high. 256 rows x 1024 floats are 1 MB of an L2 cache.
// Below 8 tokens nothing is packed; then 64 rows leave decoded values near the core, and each product still takes several
// times as long as the call.
constexpr int64_t kRows = 256, kFewRows = 64, kFewTokens = 8, kDepth = 1024, kSlots = 32, kAlignment = 64;

struct Cut {
  int64_t rows = 0, depth = 0, panels = 0, slots = 0;
  int64_t pitch = 0;                                    // values between two rows of decoded weights
  int64_t x_bytes = 0, panel_bytes = 0, row_bytes = 0;  // scratch: rounded activations; per slot a panel and a row of floats
  bool direct = false;                                  // weights are read where they lie
};

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

Cut cut_of(const Problem& p, Operands operands) {
  const int64_t T = p.in[0].rows(), N = p.in[1].rows(), K = p.in[1].cols();
  Cut c;
  c.direct = p.in[1].dtype == (operands == Operands::f32 ? DType::f32 : DType::bf16);
  c.rows = T < kFewTokens && !c.direct ? kFewRows : std::clamp<int64_t>((N + 15) / 16 / 16 * 16, 32, kRows);
  c.rows = std::min(c.rows, N);
  c.panels = (N + c.rows - 1) / c.rows;
  c.slots = c.direct ? c.panels : std::min(c.panels, kSlots);
  c.depth = c.direct ? K : std::min(K, kDepth);
  c.pitch = c.direct ? K : (c.depth + 31) / 32 * 32 + 32;  // not a power of two: rows would compete for one set of the L1 cache
  if (operands == Operands::bf16) c.x_bytes = aligned(T * K * 2);
  if (!c.direct) c.panel_bytes = aligned(c.rows * c.pitch * (operands == Operands::f32 ? 4 : 2));
  if (!c.direct && operands == Operands::bf16) c.row_bytes = aligned(c.depth * 4);
  return c;
}

struct Decoder {
  DecodeFn decode = base::decode;
  RoundFn round = base::round_to_bf16;
};
Decoder decoder() {
  const Isa isa = isa_in_use();
  if (isa >= Isa::avx512) return {avx512::decode, avx512::round_to_bf16};
  if (isa >= Isa::avx2) return {avx2::decode, avx2::round_to_bf16};
  return {};
}

/// The primitives of a call: [last panel][last piece of columns][added to what is there].
class Products {
 public:
  Products(const Problem& p, const Cut& c, Operands operands) : type_(operands == Operands::f32 ? memory::data_type::f32 : memory::data_type::bf16) {
    const int64_t T = p.in[0].rows(), N = p.in[1].rows(), K = p.in[1].cols();
    const int64_t rows[] = {c.rows, N - (c.panels - 1) * c.rows}, pieces = (K + c.depth - 1) / c.depth,
                  depths[] = {c.depth, K - (pieces - 1) * c.depth};
    const OneThread one_thread;
    for (int r = 0; r < 2; ++r)
      for (int d = 0; d < 2; ++d) {
        auto& s = shapes_[r][d];
        s.x = {{T, depths[d]}, type_, {K, 1}};
        s.w = {{depths[d], rows[r]}, type_, {1, c.pitch}};
        s.y = {{T, rows[r]}, memory::data_type::f32, {N, 1}};
        for (const bool add : {false, true}) s.product[add] = make(s, add);
      }
  }
  void run(dnnl::stream& stream, bool last_panel, bool last_piece, bool add, const void* x, const void* w, float* y) const {
    const auto& s = shapes_[last_panel][last_piece];
    const auto at = [&](const memory::desc& d, const void* data) { return memory(d, engine_, const_cast<void*>(data)); };
    s.product[add].execute(stream, {{DNNL_ARG_SRC, at(s.x, x)}, {DNNL_ARG_WEIGHTS, at(s.w, w)}, {DNNL_ARG_DST, at(s.y, y)}});
  }
  const dnnl::engine& engine() const { return engine_; }

 private:
  struct Shape {
    memory::desc x{}, w{}, y{};
    std::array<dnnl::matmul, 2> product{};
  };
  dnnl::matmul make(const Shape& s, bool add) const {
    dnnl::primitive_attr attributes;
    dnnl::post_ops ops;
    if (add) ops.append_sum(1.f);
    attributes.set_post_ops(ops);
    return dnnl::matmul(dnnl::matmul::primitive_desc({s.x, s.w, s.y}, attributes, engine_));
  }
  memory::data_type type_;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  std::array<std::array<Shape, 2>, 2> shapes_{};
};

/// One panel after the other, in one task.
struct Slot {
  const Problem& p;
  const Call& call;
  const Cut& c;
  const Products& products;
  Decoder decoder;
  const std::byte* x;  // activations as operands
  std::byte *panel, *row;
  Operands operands;

  const void* weights(int64_t n, int64_t rows, int64_t k, int64_t depth) const {
    const TensorView& w = call.in[1];
    if (c.direct) return w.row<const std::byte>(n);
    for (int64_t r = 0; r < rows; ++r) {
      const std::byte* source = w.row<const std::byte>(n + r) + kerf::row_bytes(w.desc.dtype, k);
      if (operands == Operands::f32) {
        decoder.decode(w.desc.dtype, source, depth, reinterpret_cast<float*>(panel) + r * c.pitch);
      } else {
        decoder.decode(w.desc.dtype, source, depth, reinterpret_cast<float*>(row));
        decoder.round(reinterpret_cast<const float*>(row), depth, reinterpret_cast<uint16_t*>(panel) + r * c.pitch);
      }
    }
    return panel;
  }

  void run(int64_t first_panel) const {
    const OneThread one_thread;
    dnnl::stream stream(products.engine());
    const int64_t N = p.in[1].rows(), K = p.in[1].cols(), value = operands == Operands::f32 ? 4 : 2;
    for (int64_t i = first_panel; i < c.panels; i += c.slots) {
      const int64_t n = i * c.rows, rows = std::min(c.rows, N - n);
      for (int64_t k = 0; k < K; k += c.depth) {
        const int64_t depth = std::min(c.depth, K - k);
        products.run(stream, i + 1 == c.panels, k + c.depth >= K, k > 0, x + k * value, weights(n, rows, k, depth), call.out[0].as<float>() + n);
      }
    }
    stream.wait();
  }
};

}  // namespace

Support accepts_panels(const Problem& p) {
  if (auto s = require(p.in[0].dtype == DType::f32, "the activations are not f32"); !s) return s;
  return require(quant::Formats::visit(p.in[1].dtype, [](auto) {}), "the weights' format has no decoder");
}

size_t panel_scratch(const Problem& p, Operands operands) {
  const Cut c = cut_of(p, operands);
  return static_cast<size_t>(c.x_bytes + c.slots * (c.panel_bytes + c.row_bytes));
}

void run_panels(const Problem& p, const Call& call, Operands operands) {
  const Cut c = cut_of(p, operands);
  const Decoder decoder = onednn::decoder();
  const TensorView& x = call.in[0];
  const auto* values = x.as<const std::byte>();
  if (operands == Operands::bf16) {
    const int64_t K = x.desc.cols();
    call.pool.parallel_for(x.desc.rows(),
                           [&](int64_t t) { decoder.round(x.row<const float>(t), K, reinterpret_cast<uint16_t*>(call.scratch.data()) + t * K); });
    values = call.scratch.data();
  }
  const Products products(p, c, operands);
  call.pool.parallel_for(c.slots, [&](int64_t slot) {
    std::byte* scratch = call.scratch.data() + c.x_bytes + slot * (c.panel_bytes + c.row_bytes);
    Slot{p, call, c, products, decoder, values, scratch, scratch + c.panel_bytes, operands}.run(slot);
  });
}

}  // namespace kerf::onednn
