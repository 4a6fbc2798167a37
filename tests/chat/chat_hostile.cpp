// Templates that try to use up time, memory or the stack: each must end in an error, soon.
#include <chrono>
#include <random>

#include "core/error.h"
#include "loaders/chat/chat_template.h"
#include "tests/catch.h"

using kerf::ChatTemplate;
using Json = nlohmann::ordered_json;

namespace {

std::string times(const std::string& s, size_t n) {
  std::string out;
  for (size_t i = 0; i < n; ++i) out += s;
  return out;
}

void check_refused(const std::string& source, const std::string& what) {
  INFO(source.substr(0, 100));
  const auto begin = std::chrono::steady_clock::now();
  std::string message = "no error";
  try {
    ChatTemplate(source).render(Json::array(), {});
  } catch (const kerf::Error& e) {
    CHECK(e.kind == kerf::ErrorKind::bad_file);
    message = e.what();
  }
  CHECK(message.find(what) != std::string::npos);
  INFO(message);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

}  // namespace

TEST_CASE("depth is limited where a template nests") {
  constexpr size_t n = 120'000;
  for (const std::string open :
       {"(", "[", "{'a':", "not ", "-", "+", "a[", "f(", "a|join(", "1 if 1 else ", "x if ", "a.b(c=", "(1,", "[[", "1 + (", "a is in [", "not not "})
    check_refused("{{ " + times(open, n / open.size()) + " }}", "deeper than 64");
  check_refused(times("{% if 1 %}", 10'000), "deeper than 64");
  check_refused(times("{% for i in [1] %}", 10'000), "deeper than 64");
  check_refused(times("{% set x %}", 10'000), "deeper than 64");
  check_refused(times("{% generation %}", 10'000), "deeper than 64");
  check_refused(times("{% if 0 %}{% else %}", 10'000), "deeper than 64");
}

TEST_CASE("long chains are not deep") {
  const auto text = [](const std::string& s) { return ChatTemplate(s).render(Json::array(), {}).text(); };
  CHECK(text("{{ 0" + times(" + 1", 50'000) + " }}") == "50000");
  CHECK(text("{{ 0" + times(" or 0", 50'000) + " or 7 }}") == "7");
  CHECK(text("{{ 'x'" + times("|trim", 20'000) + " }}") == "x");
  CHECK(text("{{ x" + times(" or x", 10) + times(".y", 0) + " }}").empty());
  CHECK(text("{% if 0 %}" + times("{% elif 0 %}", 50'000) + "{% else %}z{% endif %}") == "z");
  CHECK(text(times("(", 120'000)) == times("(", 120'000));
}

TEST_CASE("steps, text and ranges are limited") {
  check_refused("{% for i in range(10**9) %}{% endfor %}", "range of more than");
  check_refused("{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}", "steps");
  check_refused("{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}", "steps");
  check_refused("{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "256 MiB");
  check_refused("{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "steps");
  check_refused("{{ 'x' * 10**18 }}", "256 MiB");
  check_refused("{{ [1] * 10**18 }}", "steps");
  check_refused("{% set s = 'x' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}", "16 MiB");
  check_refused("{% set s = 'ab' * 1000000 %}{{ s.replace('a', s) }}", "256 MiB");
  check_refused("{{ 10 ** 1000000000 }}", "64 bits");
  check_refused("{{ 1 ** 1000000000000 }}", "steps");
  check_refused("{% set s = 'x' * 10**7 %}{% for i in range(9999) %}{{ s | length }}{% endfor %}", "MiB");
  check_refused("{% set s = 'x' * 10**7 %}{% for i in range(9999) %}{% if 'y' in s %}{% endif %}{% endfor %}", "MiB");
  check_refused("{% set s = 'x' * 10**7 %}{% for i in range(9999) %}{% if s == s ~ '' %}{% endif %}{% endfor %}", "MiB");
  check_refused("{% set s = 'x' * 10**7 %}{% for i in range(9999) %}{{ s[i] }}{% endfor %}", "MiB");
  check_refused("{% set s = 'x' * 10**7 %}{% for c in s %}{% endfor %}", "steps");
}

TEST_CASE("values that contain themselves many times over are not followed") {
  const std::string doubled = "{% set ns = namespace(x=[1]) %}{% for i in range(50) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  check_refused(doubled + "{{ ns.x }}", "steps");
  check_refused(doubled + "{{ ns.x | tojson }}", "");
  check_refused(doubled + "{% set a = ns.x %}{% set ns.x = [1] %}{% for i in range(50) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ a == ns.x }}",
                "steps");
  check_refused("{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}", "deeper than 64");
  check_refused("{% set ns = namespace() %}{% set ns.x = ns %}", "not supported");
  check_refused("{% set ns = namespace() %}{% set ns.x = [ns] %}", "not supported");
  check_refused("{% for i in [1] %}{% set x = [loop] %}{% endfor %}", "not supported");
}

TEST_CASE("macros that call themselves end") {
  check_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "too deeply");
  check_refused("{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}", "too deeply");
  check_refused("{% macro m(n) %}{{ m(n) ~ m(n) if n else '' }}{% endmacro %}{{ m(1) }}", "too deeply");
}

TEST_CASE("a conversation can be too deep, too") {
  Json deep = 1;
  for (int i = 0; i < 200; ++i) deep = Json::array({deep});
  CHECK_THROWS_AS(ChatTemplate::chatml().render(Json::array({{{"role", "user"}, {"content", deep}}}), {}), kerf::Error);
}

TEST_CASE("cut and mangled templates never do more than throw") {
  const std::string whole =
      "{%- if a is defined and b[1:-1] | length > 2 -%} x {{- a['b'].c(1, d=2) ~ \"s\\n\" }}{% for k, v in d.items() if k != 'x' %}{{ loop.index "
      "}}{% else %}{# c #}{% endfor %}"
      "{% elif not c %}{% set ns = namespace(a=[1, 2.5], b={'c': none}) %}{% set ns.a = 'x' if y else z %}{% endif %}{% macro m(p, q='r') %}{{ p "
      "}}{% endmacro %}{{ m(1) }}";
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const std::string& source : {whole.substr(0, i), whole.substr(i)}) {
      try {
        ChatTemplate(source).render(Json::array(), {});
      } catch (const kerf::Error& e) {
        CHECK(e.kind == kerf::ErrorKind::bad_file);
      }
    }
  }
  const uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 random(seed);
  const std::string alphabet = "{}%#-+|()[]'\"\\., :=<>!*/~\n\xC3\xA9\x00 abifornt1";
  for (int round = 0; round < 3000; ++round) {
    std::string source = whole;
    for (int k = 0; k < 3; ++k) source[random() % source.size()] = alphabet[random() % alphabet.size()];
    try {
      ChatTemplate(source).render(Json::array(), {});
    } catch (const kerf::Error& e) {
      CHECK(e.kind == kerf::ErrorKind::bad_file);
    }
  }
}
