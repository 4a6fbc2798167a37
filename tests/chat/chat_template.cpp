// Chat templates against jinja2 (goldens written by make_goldens.py), and the marks on the conversation's text.
#include "loaders/chat/chat_template.h"

#include <fstream>
#include <map>
#include <sstream>

#include "core/error.h"
#include "loaders/chat/jinja_ast.h"
#include "loaders/chat/jinja_interpreter.h"
#include "tests/catch.h"

using kerf::ChatTemplate;
using Json = nlohmann::ordered_json;

namespace {

std::string read(const std::string& name) {
  std::ifstream file(std::string(KERF_TEST_DATA) + "/chat/" + name, std::ios::binary);
  REQUIRE(file);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string render_snippet(const std::string& source, const Json& variables, const std::string& date) {
  return ChatTemplate(source).render(Json::array(), {.extra = variables, .date = date}).text();
}

}  // namespace

TEST_CASE("conversations render as jinja2 renders them") {
  const Json golden = Json::parse(read("conversations.json"));
  std::map<std::string, ChatTemplate> templates;
  size_t rendered = 0, refused = 0;
  for (const Json& row : golden["cases"]) {
    const auto name = row[0].get<std::string>();
    if (!templates.contains(name)) templates.emplace(name, ChatTemplate(read("templates/" + name + ".jinja")));
    const Json& messages = golden["conversations"][row[1].get<std::string>()];
    const ChatTemplate::Options options{.add_generation_prompt = row[3].get<bool>(),
                                        .bos_token = "<s>",
                                        .eos_token = "</s>",
                                        .extra = golden["extras"][row[2].get<size_t>()],
                                        .date = golden["date"].get<std::string>()};
    INFO(name << " " << row[1] << " extra " << row[2]);
    if (row[4].is_null()) {
      ++refused;
      CHECK_THROWS_AS(templates.at(name).render(messages, options), kerf::Error);
    } else {
      ++rendered;
      CHECK(templates.at(name).render(messages, options).text() == row[4].get<std::string>());
    }
  }
  CHECK(rendered > 900);
  CHECK(refused > 200);
}

TEST_CASE("expressions, statements and whitespace behave as in jinja2") {
  const Json golden = Json::parse(read("snippets.json"));
  for (const Json& row : golden["cases"]) {
    const auto source = row[0].get<std::string>();
    INFO(source);
    if (row[1].is_null())
      CHECK_THROWS_AS(render_snippet(source, golden["variables"], golden["date"]), kerf::Error);
    else
      CHECK(render_snippet(source, golden["variables"], golden["date"]) == row[1].get<std::string>());
  }
}

TEST_CASE("without a date strftime_now is undefined") {
  CHECK(render_snippet("{{ strftime_now is defined }}", Json::object(), "") == "False");
  CHECK(render_snippet("{{ strftime_now('%A') }}", Json::object(), "2026-11-21") == "Saturday");
  CHECK_THROWS_AS(render_snippet("{{ strftime_now('%Q') }}", Json::object(), "2026-11-21"), kerf::Error);
  CHECK_THROWS_AS(render_snippet("{{ strftime_now('%Y') }}", Json::object(), "yesterday"), kerf::Error);
}

TEST_CASE("text of the conversation is marked, the template's and plain roles are not") {
  const auto chatml = ChatTemplate::chatml();
  const auto out = chatml.render(std::vector<ChatTemplate::Message>{{"user", "<|im_end|>"}, {"x<|y|>", ""}}, {});
  REQUIRE(out.segments.size() == 5);
  CHECK(out.segments[0].text == "<|im_start|>user\n");
  CHECK_FALSE(out.segments[0].from_user);
  CHECK(out.segments[1].text == "<|im_end|>");
  CHECK(out.segments[1].from_user);
  CHECK(out.segments[2].text == "<|im_end|>\n<|im_start|>");
  CHECK(out.segments[3].text == "x<|y|>");
  CHECK(out.segments[3].from_user);
  CHECK(out.segments[4].text == "\n<|im_end|>\n<|im_start|>assistant\n");
}

TEST_CASE("marks survive every operation on strings") {
  const Json secret = {{"s", " <|A|>b "}, {"list", {"<|A|>", "<|B|>"}}};
  for (const std::string expression : {"s",
                                       "s.strip()",
                                       "s | trim",
                                       "s[1:-1]",
                                       "s[::-1]",
                                       "s | upper",
                                       "s.title()",
                                       "s | capitalize",
                                       "s.replace('b', 'c')",
                                       "'xAy'.replace('A', s)",
                                       "s.split('b')[0]",
                                       "s | tojson",
                                       "[s] | tojson",
                                       "{'k': s} | tojson(indent=1)",
                                       "[s]",
                                       "{'k': s}",
                                       "(s,)",
                                       "s ~ ''",
                                       "s + ''",
                                       "s * 1",
                                       "list | join('')",
                                       "list | first",
                                       "list | last",
                                       "list | map('lower') | list | join",
                                       "s if true else ''",
                                       "s or 'x'",
                                       "s | default('x')",
                                       "dict(a=s).a",
                                       "namespace(a=s).a",
                                       "s | indent",
                                       "s | string",
                                       "s | safe",
                                       "s | reverse",
                                       "s | list | join",
                                       "list | sort | first",
                                       "[{'k': s}] | map(attribute='k') | first",
                                       "s.lstrip() | trim",
                                       "list | unique | list | join",
                                       "s.split()[0]",
                                       "list[-1]",
                                       "','.join([s])"}) {
    INFO(expression);
    const auto out = ChatTemplate("<|t|>{{ " + expression + " }}<|t|>").render(Json::array(), {.extra = secret});
    size_t template_bars = 0, user_bars = 0;
    for (const auto& segment : out.segments)
      for (const char c : segment.text) (segment.from_user ? user_bars : template_bars) += c == '|';
    CHECK(template_bars == 4);
    CHECK(user_bars >= 2);
  }
}

TEST_CASE("neighbouring segments differ and cover the text") {
  const auto t = ChatTemplate("{{ a }}{{ a }}x{{ 'y' }}{{ '' }}{{ a }}");
  const auto out = t.render(Json::array(), {.extra = {{"a", "u"}}});
  REQUIRE(out.segments.size() == 3);
  CHECK(out.segments[0].text == "uu");
  CHECK(out.segments[1].text == "xy");
  CHECK(out.text() == "uuxyu");
}

TEST_CASE("errors name what is wrong and where") {
  const auto message = [](const std::string& source) {
    try {
      ChatTemplate(source).render(Json::array(), {});
    } catch (const kerf::Error& e) {
      CHECK(e.kind == kerf::ErrorKind::bad_file);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  const auto has = [&](const std::string& source, const std::string& what, const std::string& where) {
    const std::string m = message(source);
    INFO(source << " -> " << m);
    CHECK(m.find(what) != std::string::npos);
    CHECK(m.find(where) != std::string::npos);
  };
  has("ab\n  {% call x() %}{% endcall %}", "{% call %}", "line 2, column 6");
  has("{{ messages | nosuch }}", "\"nosuch\"", "line 1, column 15");
  has("a\n\n{{ x.y }}", "\"x\" is undefined", "line 3, column 5");
  has("{% if 1 %}x", "endif", "line 1");
  has("{{ raise_exception('no system role') }}", "no system role", "line 1");
  has("x {{ 'abc }}", "not closed", "line 1, column 6");
  has("{{ 9223372036854775807 + 1 }}", "64 bits", "line 1");
  has("{% for a in b recursive %}{% endfor %}", "recursive", "line 1");
}

TEST_CASE("arguments of the caller are checked") {
  const auto t = ChatTemplate::chatml();
  CHECK_THROWS_AS(t.render(Json::object(), {}), kerf::Error);
  CHECK_THROWS_AS(t.render(Json::array(), {.extra = Json::array()}), kerf::Error);
}
