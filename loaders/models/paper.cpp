#include "loaders/models/paper.h"

#include <fmt/format.h>

namespace kerf {
namespace {

Weight bound(const gguf::TensorInfo& t) { return {.name = std::string(t.name), .desc = t.desc, .source = std::string(t.name)}; }

}  // namespace

Weight Binder::need(std::string_view name, std::initializer_list<int64_t> shape) { return bound(finder_.need(prefix_ + std::string(name), shape)); }

Weight Binder::want(std::string_view name, std::initializer_list<int64_t> shape) {
  const auto* t = finder_.want(prefix_ + std::string(name), shape);
  return t ? bound(*t) : Weight{};
}

Weight Binder::need(std::string_view name, std::string_view other, std::initializer_list<int64_t> shape) {
  if (has(name) || !has(other)) return need(name, shape);
  Weight w = need(other, shape);
  w.name = prefix_ + std::string(name);
  repaired(fmt::format("tensor {}: taken as {}", other, name));
  return w;
}

Weight Binder::need_experts(std::string_view stem, int64_t X, int64_t N, int64_t K) {
  const std::string name = fmt::format("{}_exps.weight", stem);
  const auto one = [&](int64_t e) { return fmt::format("{}.{}.weight", stem, e); };
  bool apart = false;
  for (int64_t e = 0; e < X && !apart && !has(name); ++e) apart = has(one(e));
  if (!apart) return need(name, {X, N, K});
  std::vector<Assembly::Piece> pieces;
  for (int64_t e = 0; e < X; ++e) pieces.push_back({.tensor = &finder_.need(prefix_ + one(e), {N, K}), .rows = N});
  repaired(fmt::format("tensors {}.0.weight to {}.{}.weight: stacked as {}", stem, stem, X - 1, name));
  const std::string full = prefix_ + name;
  return {.name = full, .desc = finder_.assemble(full, {X, N, K}, std::move(pieces)), .source = full};
}

Weight Binder::rows_of(const Weight& whole, std::string_view name, const std::vector<Rows>& rows) {
  const gguf::TensorInfo& tensor = finder_.need(whole.source, {whole.desc.rows(), whole.desc.cols()});
  std::vector<Assembly::Piece> pieces;
  int64_t count = 0;
  for (const auto& r : rows) {
    pieces.push_back({.tensor = &tensor, .first_row = r.first, .rows = r.count});
    count += r.count;
  }
  const std::string full = prefix_ + std::string(name);
  return {.name = full, .desc = finder_.assemble(full, {count, whole.desc.cols()}, std::move(pieces)), .source = full};
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
