// The generic kernel test on the recipe's kernel, and on a wrong one: the same formula through tanh loses all digits for
// large negative gates, which no look at a plot shows.
#include <cmath>

#include "experiments/kernel_check.h"
#include "tests/catch.h"

namespace kerf {
void fill_recipe(Registry& registry);

namespace {

void through_tanh(const Problem&, const Call& call) {
  const float *gate = call.in[0].as<const float>(), *up = call.in[1].as<const float>();
  for (int64_t i = 0; i < call.out[0].desc.size(); ++i) call.out[0].as<float>()[i] = gate[i] * 0.5f * (1 + std::tanh(gate[i] / 2)) * up[i];
}

}  // namespace

TEST_CASE("the recipe's kernel is registered, chosen and right") {
  Registry registry;
  fill_recipe(registry);
  const Problem p = problem(SwiGlu{}, {matrix(DType::f32, 3, 5), matrix(DType::f32, 3, 5)});
  const Kernel* best = registry.best(p, {.backends = {"recipe"}});
  REQUIRE(best != nullptr);
  CHECK(best->name() == "recipe/swiglu.1_exp");
  KernelChecker checker;
  const auto reports = checker.test(registry, {.isa = detect_isa(), .seed = 1});
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].cases > 0);
  CHECK(reports[0].failed == 0);
}

TEST_CASE("a formula that cancels is caught") {
  Registry registry;
  registry.backend("wrong").add(
      {.op = SwiGlu::name, .variant = "tanh", .note = "cancels", .accepts = [](const Problem&) { return Support{}; }, .run = through_tanh});
  KernelChecker checker;
  const auto reports = checker.test(registry, {.isa = detect_isa(), .seed = 1});
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].failed > 0);
}

}  // namespace kerf
