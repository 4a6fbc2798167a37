#include "core/error.h"
#include "core/placement.h"
#include "tests/catch.h"
#include "tests/engine/toy_graph.h"

using namespace kerf;
using namespace kerf::test;

namespace {
std::vector<std::string> devices_of(const std::vector<Rule>& rules) {
  std::vector<std::string> all;
  for (const auto& r : rules) all.push_back(r.device);
  return all;
}
}  // namespace

TEST_CASE("-ngl takes the last layers, head included, and shares them in order") {
  using V = std::vector<std::string>;
  CHECK(layer_rules(4, 0, {}, {}).empty());
  CHECK(devices_of(layer_rules(4, 1, {"a"}, {})) == V{"a"});
  CHECK(layer_rules(4, 1, {"a"}, {})[0].pattern == R"(^output(_norm)?\.)");
  CHECK(layer_rules(4, 2, {"a"}, {})[0].pattern == R"((^|\.)blk\.3\.)");
  CHECK(devices_of(layer_rules(5, 6, {"a", "b"}, {})) == V{"a", "a", "a", "b", "b", "b"});
  CHECK(devices_of(layer_rules(5, 6, {"a", "b"}, {2, 1})) == V{"a", "a", "a", "a", "b", "b"});
  CHECK(devices_of(layer_rules(5, 6, {"a", "b"}, {0, 1})) == V{"b", "b", "b", "b", "b", "b"});
  CHECK(devices_of(layer_rules(5, 6, {"a", "b"}, {1, 0})) == V{"a", "a", "a", "a", "a", "a"});
  CHECK(devices_of(layer_rules(2, 99, {"a"}, {})).size() == 3);
  CHECK_THROWS_AS(layer_rules(2, 1, {}, {}), Error);
  CHECK_THROWS_AS(layer_rules(2, 1, {"a"}, {1, 2}), Error);
  CHECK_THROWS_AS(layer_rules(2, 1, {"a"}, {-1}), Error);
}

TEST_CASE("the first matching rule wins and is remembered") {
  const Graph g = toy_graph();
  const auto p = place(g, {{R"(blk\.1)", "pretend:0", "x.rules:1"}, {"blk", "pretend:1", "x.rules:2"}}, {"cpu", "pretend:0", "pretend:1"});
  CHECK(p.of("blk.1.w.weight").device == "pretend:0");
  CHECK(p.of("blk.1.w.weight").because == R"(x.rules:1: blk\.1)");
  CHECK(p.of("blk.0.w.weight").device == "pretend:1");
  CHECK(p.of("embed.weight").device == "cpu");
  CHECK(p.of("embed.weight").because == "default");
  CHECK_THROWS_AS(p.of("nothing"), Error);
  CHECK_THROWS_AS(place(g, {{"blk", "cuda:7", "-ot"}}, {"cpu"}), Error);
}

TEST_CASE("experts stay on the host in the first layers, or in all") {
  CHECK(expert_rules(4, 0).empty());
  REQUIRE(expert_rules(4, 99).size() == 4);
  const auto all = expert_rules(4, std::nullopt), two = expert_rules(20, 2);
  REQUIRE(all.size() == 1);
  REQUIRE(two.size() == 2);
  CHECK(all[0].device == kHost);
  CHECK(two[0].device == kHost);
  const auto match = [](const Rule& r, const std::string& name) { return name_matcher(r.pattern, r.origin)(name); };
  for (const std::string part : {"gate", "up", "down", "gate_up"}) {
    CHECK(match(all[0], "blk.13.ffn_" + part + "_exps.weight"));
    CHECK(match(two[1], "blk.1.ffn_" + part + "_exps.weight"));
    CHECK(!match(two[1], "blk.11.ffn_" + part + "_exps.weight"));
  }
  for (const std::string other : {"blk.1.ffn_gate_inp.weight", "blk.1.ffn_up_shexp.weight", "blk.1.ffn_up.weight", "kv.blk.1.k"}) {
    CHECK(!match(all[0], other));
    CHECK(!match(two[1], other));
  }
  CHECK_THROWS_AS(name_matcher("(", "--capture"), Error);
  CHECK_THROWS_AS(name_matcher(std::string(2000, '.'), "--capture"), Error);
}

TEST_CASE("rules files and overrides say where they are wrong") {
  const auto rules = parse_rules("# experts\nffn_.*  pretend:0   # why\n\n.  cpu\n", "my.rules");
  REQUIRE(rules.size() == 2);
  CHECK(rules[0].pattern == "ffn_.*");
  CHECK(rules[0].origin == "my.rules:2");
  CHECK(parse_rules("", "empty").empty());
  CHECK(parse_override("a=cpu,b.c=pretend:0").size() == 2);
  for (const std::string wrong : {"lonely", "ok cpu\nlonely", "( cpu"}) {
    try {
      parse_rules(wrong, "bad.rules");
      FAIL("accepted: " << wrong);
    } catch (const FileError& e) {
      CHECK(std::string(e.what()).find("bad.rules: offset") == 0);
      CHECK(std::string(e.what()).find("line") != std::string::npos);
    }
  }
  for (const std::string wrong : {"x", "=cpu", "x=", "(=cpu"}) CHECK_THROWS_AS(parse_override(wrong), Error);
}

TEST_CASE("devices are named strictly") {
  CHECK(make_device("cpu")->limit() == 0);
  CHECK(make_device("cpu=2GiB")->limit() == int64_t{2} << 30);
  CHECK(make_device("pretend:3=1.5KiB")->limit() == 1536);
  for (const std::string wrong :
       {"gpu", "pretend:0", "pretend:=1GiB", "pretend:x=1GiB", "pretend:-1=1GiB", "pretend:0=many", "cuda:0=1GiB", "cpu=1XB", ""}) {
    INFO(wrong);
    CHECK_THROWS_AS(make_device(wrong), Error);
  }
}
