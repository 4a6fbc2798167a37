#include "core/error.h"
#include "core/executor.h"
#include "core/threadpool.h"
#include "tests/catch.h"
#include "tests/engine/toy_graph.h"

using namespace kerf;
using namespace kerf::test;

namespace {

Plan plan_with(const Graph& g, const std::vector<Rule>& rules) {
  return make_plan(g, place(g, rules, {"cpu", "pretend:0", "pretend:1"}), {.tokens = 3, .outputs = 3, .context = 8}, reference_kernels(),
                   reference_policy());
}

int copies_of(const Plan& plan, const Graph& g, const std::string& value) {
  int n = 0;
  for (const auto& step : plan.steps)
    if (const auto* copy = std::get_if<CopyStep>(&step)) n += g[plan.places[copy->from].value].name == value ? 1 : 0;
  return n;
}

}  // namespace

TEST_CASE("one device needs no copies") {
  const Graph g = toy_graph();
  const Plan plan = plan_with(g, {});
  CHECK(plan.boundary_copies() == 0);
  CHECK(plan.steps.size() == g.nodes().size());
}

TEST_CASE("a node runs where its weight lives; a weightless one where the fewest bytes move") {
  const Graph g = toy_graph();
  const Plan plan = plan_with(g, {{R"(blk\.1)", "pretend:0", "t"}});
  std::map<std::string, std::string> where;
  for (const auto& step : plan.steps)
    if (const auto* run = std::get_if<RunStep>(&step)) where[g.nodes()[run->node].name] = run->device;
  CHECK(where["blk.0.w"] == "cpu");
  CHECK(where["blk.1.w"] == "pretend:0");
  CHECK(where["blk.1.add"] == "pretend:0");  // both operands are there after the copy
  CHECK(where["output"] == "cpu");
  CHECK(copies_of(plan, g, "blk.0.add") == 1);
  CHECK(copies_of(plan, g, "blk.1.add") == 1);
  CHECK(plan.boundary_bytes() == 2 * 3 * 32 * 4);
}

TEST_CASE("a value is copied to a device once") {
  const Graph g = toy_graph();
  const Plan plan = plan_with(g, {{"w.weight", "pretend:0", "t"}});
  CHECK(copies_of(plan, g, "embed") == 1);  // read by the matmul and the add of layer 0
}

TEST_CASE("memory counts weights, aligned, and the arena with scratch") {
  const Graph g = toy_graph();
  const Plan plan = plan_with(g, {{"blk", "pretend:0", "t"}});
  const auto& there = plan.memory.at("pretend:0");
  CHECK(there.weights == 2 * 32 * 32 * 4);
  CHECK(there.state == 0);
  CHECK(there.arena >= 3 * 32 * 4 * 3);  // x, y and their sum are alive together
  CHECK(plan.memory.at("cpu").weights == 2 * 10 * 32 * 4);
}

TEST_CASE("an op without a kernel names every candidate and its reason") {
  const Graph g = toy_graph();
  auto policy = reference_policy();
  policy.backends = {"cpu"};
  try {
    make_plan(g, place(g, {}, {"cpu"}), {}, reference_kernels(), policy);
    FAIL("planned without kernels");
  } catch (const Error& e) {
    CHECK(e.kind == ErrorKind::usage);
    CHECK(std::string(e.what()).find("reference/rows") != std::string::npos);
  }
}

TEST_CASE("a pinned kernel is used or refused") {
  const Graph g = toy_graph();
  auto policy = reference_policy();
  policy.pins = {{"matmul", "reference/no_such"}};
  CHECK_THROWS_AS(make_plan(g, place(g, {}, {"cpu"}), {}, reference_kernels(), policy), Error);
  policy.pins = {{"matmul", "reference/rows"}};  // exists, computes something else
  CHECK_THROWS_AS(make_plan(g, place(g, {}, {"cpu"}), {}, reference_kernels(), policy), Error);
}

TEST_CASE("two kernels of equal preference for one problem are an error") {
  Registry registry;
  auto adder = registry.backend("reference");
  const Kernel k{
      .op = Add::name, .variant = "a", .note = "n", .accepts = [](const Problem&) { return Support{}; }, .run = [](const Problem&, const Call&) {}};
  adder.add(k);
  Kernel other = k;
  other.variant = "b";
  adder.add(other);
  CHECK_THROWS_AS(adder.add(other), std::logic_error);  // a name twice
  const auto p = problem(Add{}, {matrix(DType::f32, 2, 4), matrix(DType::f32, 2, 4)});
  CHECK_THROWS_AS(registry.best(p, reference_policy()), std::logic_error);
}

TEST_CASE("shape rules name the node, what was expected and what was found") {
  Graph g;
  const auto scope = g.scope("blk.7");
  const Value a = g.leaf(Kind::input, "a", matrix(DType::f32, 2, 8));
  const Value b = g.leaf(Kind::input, "b", matrix(DType::f32, 2, 9));
  try {
    g.append(Add{}, {a, b});
    FAIL("added [2,8] and [2,9]");
  } catch (const Error& e) {
    const std::string text = e.what();
    CHECK(text.find("blk.7.add") != std::string::npos);
    CHECK(text.find("[2, 8]") != std::string::npos);
    CHECK(text.find("[2, 9]") != std::string::npos);
  }
}

TEST_CASE("a pass over three devices computes what one device computes") {
  const Graph g = toy_graph();
  std::map<std::string, std::vector<float>> weights;
  for (const auto& value : g.values())
    if (value.kind == Kind::weight)
      for (int64_t i = 0; i < value.desc.size(); ++i)
        weights[value.name].push_back(static_cast<float>((i * 7 + static_cast<int64_t>(value.name.size())) % 11 - 5) / 8);
  std::vector<int32_t> ids{4, 0, 9};
  const std::map<std::string, std::byte*> inputs{{"tokens", reinterpret_cast<std::byte*>(ids.data())}};
  const auto compute = [&](const std::vector<Rule>& rules) {
    const auto host = make_device("cpu"), d0 = make_device("pretend:0=1MiB"), d1 = make_device("pretend:1=1MiB");
    const auto graph = std::make_shared<const Graph>(g);
    const auto plan = std::make_shared<const Plan>(plan_with(g, rules));
    ThreadPool pool(2);
    Storage storage({host.get(), d0.get(), d1.get()}, g, plan->placement,
                    {.source = [&](const std::string& name) { return std::as_bytes(std::span<const float>(weights.at(name))); }}, reference_kernels(),
                    pool);
    storage.reserve(*plan);
    Program program(graph, plan, reference_kernels(), storage, inputs);
    ExecutorCounters counters;
    program.run(pool, counters, {}, {});
    CHECK(counters.copied_bytes == plan->boundary_bytes());
    const auto* y = program.outputs()[0].as<float>();
    return std::vector<float>(y, y + program.outputs()[0].desc.size());
  };
  const auto want = compute({});
  CHECK(want != std::vector<float>(want.size(), 0.f));
  CHECK(compute({{R"(blk\.0)", "pretend:0", "t"}, {R"(blk\.1)", "pretend:1", "t"}}) == want);
  CHECK(compute({{"embed", "pretend:1", "t"}, {"output", "pretend:0", "t"}}) == want);
}
