#include "loaders/models/paper.h"

#include <algorithm>

namespace kerf {
namespace {

Weight bound(const gguf::TensorInfo& t) { return {.name = std::string(t.name), .desc = t.desc, .source = std::string(t.name)}; }

}  // namespace

Weight Binder::need(std::string_view name, std::initializer_list<int64_t> shape) { return bound(finder_.need(prefix_ + std::string(name), shape)); }

Weight Binder::want(std::string_view name, std::initializer_list<int64_t> shape) {
  const auto* t = finder_.want(prefix_ + std::string(name), shape);
  return t ? bound(*t) : Weight{};
}

Value Paper::weight(const Weight& w) {
  if (const auto known = g.lookup(w.name)) return *known;
  return g.leaf(Kind::weight, w.name, w.desc, w.source);
}

Value Paper::weight_f32(const Weight& w) {
  const Value v = weight(w);
  if (w.desc.dtype == DType::f32) return v;
  return g.append(Convert{.to = DType::f32}, {v}, "widen." + w.name);
}

Value Paper::linear(Value x, const Weight& w, const Weight& bias) {
  const Value weights = weight(w);
  const Value y = g.append(MatMul{}, {x, weights});
  if (!bias) return y;
  const Value b = weight_f32(bias);
  return g.append(Add{}, {y, b});
}

Value Paper::experts(Value x, const Weight& w, Value ids) {
  const Value weights = weight(w);
  return g.append(ExpertMatMul{}, {x, weights, ids});
}

Value Paper::norm(Value x, const Weight& w, float eps) {
  const Value weights = weight_f32(w);
  return g.append(RmsNorm{.eps = eps}, {x, weights});
}

}  // namespace kerf
