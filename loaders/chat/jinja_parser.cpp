#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "core/text.h"
#include "loaders/chat/jinja_ast.h"
#include "loaders/chat/jinja_lexer.h"

namespace kerf::jinja {
namespace {

bool one_of(std::string_view s, std::initializer_list<std::string_view> list) {
  for (const auto item : list)
    if (s == item) return true;
  return false;
}

/// Recursive descent; every way down goes through a Level, so the C++ stack is as deep as kMaxDepth allows.
class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  std::vector<Statement> run() {
    auto body = statements({});
    return body;
  }

 private:
  struct Level {
    explicit Level(Parser& p) : parser(p) {
      if (++parser.depth_ > kMaxDepth) fail(parser.now().at, fmt::format("nested deeper than {}", kMaxDepth));
    }
    ~Level() { --parser.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Parser& parser;
  };

  const Token& now() const { return tokens_[next_]; }
  const Token& ahead(size_t n = 1) const { return tokens_[std::min(next_ + n, tokens_.size() - 1)]; }
  Token take() { return tokens_[next_ + 1 < tokens_.size() ? next_++ : next_]; }
  bool is_symbol(std::string_view s) const { return now().kind == TokenKind::symbol && now().text == s; }
  bool is_name(std::string_view s) const { return now().kind == TokenKind::name && now().text == s; }
  bool skip_symbol(std::string_view s) { return is_symbol(s) && (take(), true); }
  bool skip_name(std::string_view s) { return is_name(s) && (take(), true); }

  static std::string shown(const Token& t) {
    switch (t.kind) {
      case TokenKind::data:
        return "text";
      case TokenKind::output_begin:
        return "\"{{\"";
      case TokenKind::output_end:
        return "\"}}\"";
      case TokenKind::block_begin:
        return "\"{%\"";
      case TokenKind::block_end:
        return "\"%}\"";
      case TokenKind::end:
        return "the end of the template";
      case TokenKind::string:
        return fmt::format("the string \"{}\"", printable(t.text, 40));
      default:
        return fmt::format("\"{}\"", printable(t.text, 40));
    }
  }
  [[noreturn]] void expected(std::string_view what) const { fail(now().at, fmt::format("expected {}, got {}", what, shown(now()))); }
  void need_symbol(std::string_view s) {
    if (!skip_symbol(s)) expected(fmt::format("\"{}\"", s));
  }
  std::string need_name(std::string_view what) {
    if (now().kind != TokenKind::name) expected(what);
    return take().text;
  }
  void need(TokenKind kind, std::string_view what) {
    if (now().kind != kind) expected(what);
    take();
  }

  // ---- statements

  /// Up to (not including) a block tag whose name is in `ends`; an empty list means the end of the template.
  std::vector<Statement> statements(std::initializer_list<std::string_view> ends) {
    const Level level(*this);
    std::vector<Statement> list;
    const Position begin = now().at;
    for (;;) {
      const Token& t = now();
      if (t.kind == TokenKind::end) {
        if (ends.size() == 0) return list;
        fail(begin, fmt::format("{{% {} %}} is missing at the end of the template", *(ends.end() - 1)));
      }
      if (t.kind == TokenKind::data) {
        Statement s{.kind = Statement::Kind::text, .at = t.at};
        s.name = take().text;
        list.push_back(std::move(s));
      } else if (t.kind == TokenKind::output_begin) {
        Statement s{.kind = Statement::Kind::output, .at = take().at};
        s.value = tuple();
        need(TokenKind::output_end, "\"}}\"");
        list.push_back(std::move(s));
      } else {
        if (ahead().kind == TokenKind::name && one_of(ahead().text, ends)) return list;
        take();
        block(list);
      }
    }
  }

  void block(std::vector<Statement>& list) {
    Statement s{.at = now().at};
    const std::string name = need_name("the name of a statement");
    if (name == "for") {
      loop(s);
    } else if (name == "if") {
      branch(s);
    } else if (name == "set") {
      set(s);
    } else if (name == "macro") {
      macro(s);
    } else if (name == "generation") {
      s.kind = Statement::Kind::block;
      need(TokenKind::block_end, "\"%}\"");
      s.body = statements({"endgeneration"});
      end_tag();
    } else if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(s.at, fmt::format("{{% {} %}} outside a loop", name));
      s.kind = name == "break" ? Statement::Kind::leave : Statement::Kind::next;
      need(TokenKind::block_end, "\"%}\"");
    } else {
      fail(s.at, fmt::format("the statement {{% {} %}} is not supported", printable(name, 40)));
    }
    list.push_back(std::move(s));
  }

  void end_tag() {
    take();  // {%
    take();  // its name, seen by statements()
    need(TokenKind::block_end, "\"%}\"");
  }

  void targets(std::vector<std::string>& names) {
    const bool bracket = skip_symbol("(");
    do names.push_back(need_name("a name"));
    while (skip_symbol(","));
    if (bracket) need_symbol(")");
  }

  void loop(Statement& s) {
    s.kind = Statement::Kind::loop;
    targets(s.targets);
    if (!skip_name("in")) expected("\"in\"");
    s.value = tuple(false);
    if (skip_name("if")) s.filter = expression();
    if (is_name("recursive")) fail(now().at, "a recursive loop is not supported");
    need(TokenKind::block_end, "\"%}\"");
    ++loops_;
    s.body = statements({"else", "endfor"});
    --loops_;
    if (ahead().text == "else") {
      end_tag();
      s.otherwise = statements({"endfor"});
    }
    end_tag();
  }

  void branch(Statement& s) {
    s.kind = Statement::Kind::branch;
    for (bool has_condition = true;;) {
      Statement arm{.kind = Statement::Kind::block, .at = now().at};
      if (has_condition) arm.value = tuple();
      need(TokenKind::block_end, "\"%}\"");
      arm.body = has_condition ? statements({"elif", "else", "endif"}) : statements({"endif"});
      s.body.push_back(std::move(arm));
      if (ahead().text == "endif") return end_tag();
      take();
      has_condition = take().text == "elif";
    }
  }

  void set(Statement& s) {
    s.kind = Statement::Kind::set;
    targets(s.targets);
    if (s.targets.size() == 1 && skip_symbol(".")) s.name = need_name("an attribute");
    if (skip_symbol("=")) {
      s.value = tuple();
      return need(TokenKind::block_end, "\"%}\"");
    }
    if (s.targets.size() != 1) expected("\"=\"");
    s.kind = Statement::Kind::set_block;
    s.filter.at = now().at;
    while (is_symbol("|")) filter(s.filter.steps);
    need(TokenKind::block_end, "\"%}\"");
    s.body = statements({"endset"});
    end_tag();
  }

  void macro(Statement& s) {
    s.kind = Statement::Kind::macro;
    if (loops_ > 0 || macros_ > 0) fail(s.at, "a macro inside a loop or a macro is not supported");
    s.name = need_name("the name of the macro");
    need_symbol("(");
    while (!is_symbol(")")) {
      s.targets.push_back(need_name("a parameter"));
      s.defaults.push_back(skip_symbol("=") ? expression() : Expr{});
      if (!skip_symbol(",")) break;
    }
    need_symbol(")");
    need(TokenKind::block_end, "\"%}\"");
    ++macros_;
    s.body = statements({"endmacro"});
    --macros_;
    end_tag();
  }

  // ---- expressions, loosest binding first (Jinja's order: "~" binds tighter than "+", "is" tighter than "*")

  /// a, b, c without brackets is a tuple.
  Expr tuple(bool with_choice = true) {
    Expr first = with_choice ? expression() : any_of();
    if (!is_symbol(",")) return first;
    Expr e{.kind = Expr::Kind::tuple, .at = first.at};
    e.children.push_back(std::move(first));
    while (skip_symbol(",")) {
      if (now().kind == TokenKind::output_end || now().kind == TokenKind::block_end) break;
      e.children.push_back(with_choice ? expression() : any_of());
    }
    return e;
  }

  Expr expression() {
    const Level level(*this);
    Expr value = any_of();
    while (is_name("if")) {
      Expr e{.kind = Expr::Kind::choice, .at = take().at};
      e.children.push_back(any_of());
      e.children.push_back(std::move(value));
      e.children.push_back(skip_name("else") ? expression() : Expr{});
      value = std::move(e);
      if (++chained_choices_ > kMaxDepth) fail(now().at, fmt::format("nested deeper than {}", kMaxDepth));
    }
    chained_choices_ = 0;
    return value;
  }

  /// Operands of one kind of chain, joined into one node if there are several.
  template <class Operand, class IsSymbol>
  Expr chain(Expr::Kind kind, Operand operand, IsSymbol take_symbol) {
    Expr first = operand();
    std::string symbol = take_symbol();
    if (symbol.empty()) return first;
    Expr e{.kind = kind, .at = first.at};
    e.children.push_back(std::move(first));
    for (; !symbol.empty(); symbol = take_symbol()) {
      e.symbols.push_back(symbol);
      e.children.push_back(operand());
    }
    return e;
  }
  std::string take_one_of(std::initializer_list<std::string_view> symbols) {
    return now().kind == TokenKind::symbol && one_of(now().text, symbols) ? take().text : "";
  }

  Expr any_of() {
    return chain(
        Expr::Kind::any_of, [this] { return all_of(); }, [this] { return is_name("or") ? take().text : ""; });
  }
  Expr all_of() {
    return chain(
        Expr::Kind::all_of, [this] { return negation(); }, [this] { return is_name("and") ? take().text : ""; });
  }
  Expr negation() {
    if (!is_name("not")) return comparison();
    const Level level(*this);
    Expr e{.kind = Expr::Kind::negation, .at = take().at};
    e.children.push_back(negation());
    return e;
  }
  Expr comparison() {
    return chain(
        Expr::Kind::compare, [this] { return sum(); },
        [this]() -> std::string {
          if (skip_name("in")) return "in";
          if (is_name("not") && ahead().text == "in") return take(), take(), "not in";
          return take_one_of({"==", "!=", "<", "<=", ">", ">="});
        });
  }
  Expr sum() {
    return chain(
        Expr::Kind::arithmetic, [this] { return joined(); },
        [this] {
          return take_one_of({"+", "-"});
        });
  }
  Expr joined() {
    return chain(
        Expr::Kind::arithmetic, [this] { return product(); }, [this] { return take_one_of({"~"}); });
  }
  Expr product() {
    return chain(
        Expr::Kind::arithmetic, [this] { return power(); },
        [this] {
          return take_one_of({"*", "/", "//", "%"});
        });
  }
  Expr power() {
    return chain(
        Expr::Kind::arithmetic, [this] { return unary(true); }, [this] { return take_one_of({"**"}); });
  }
  Expr unary(bool with_filters) {
    const Level level(*this);
    Expr e;
    if (is_symbol("-") || is_symbol("+")) {
      e = {.kind = is_symbol("-") ? Expr::Kind::minus : Expr::Kind::plus, .at = take().at};
      e.children.push_back(unary(false));
    } else {
      e = primary();
    }
    return with_steps(std::move(e), with_filters);
  }

  Expr primary() {
    Expr e{.kind = Expr::Kind::literal, .at = now().at};
    const Token t = now();
    if (t.kind == TokenKind::name) {
      take();
      if (one_of(t.text, {"true", "True"}))
        e.literal = true;
      else if (one_of(t.text, {"false", "False"}))
        e.literal = false;
      else if (one_of(t.text, {"none", "None"}))
        e.literal = None{};
      else
        e.kind = Expr::Kind::name, e.name = t.text;
    } else if (t.kind == TokenKind::string) {
      std::string s;
      while (now().kind == TokenKind::string) s += take().text;
      e.literal = text(std::move(s));
    } else if (t.kind == TokenKind::integer || t.kind == TokenKind::floating) {
      take();
      e.literal = number(t);
    } else if (skip_symbol("(")) {
      e = brackets(t.at, ")", Expr::Kind::tuple);
    } else if (skip_symbol("[")) {
      e = brackets(t.at, "]", Expr::Kind::list);
    } else if (skip_symbol("{")) {
      e.kind = Expr::Kind::dict;
      while (!is_symbol("}")) {
        e.children.push_back(expression());
        need_symbol(":");
        e.children.push_back(expression());
        if (!skip_symbol(",")) break;
      }
      need_symbol("}");
    } else {
      expected("an expression");
    }
    return e;
  }

  /// (a) is a; (a,) and () are tuples; [a] is a list.
  Expr brackets(Position at, std::string_view close, Expr::Kind kind) {
    Expr e{.kind = kind, .at = at};
    bool comma = false;
    while (!is_symbol(close)) {
      e.children.push_back(expression());
      if (!skip_symbol(",")) break;
      comma = true;
    }
    need_symbol(close);
    if (kind == Expr::Kind::tuple && !comma && e.children.size() == 1) return Expr(std::move(e.children[0]));
    return e;
  }

  static Value number(const Token& t) {
    const char *begin = t.text.data(), *end = begin + t.text.size();
    int64_t i = 0;
    double d = 0;
    const bool integer = t.kind == TokenKind::integer;
    const auto result = integer ? std::from_chars(begin, end, i) : std::from_chars(begin, end, d);
    if (result.ec != std::errc{} || result.ptr != end) fail(t.at, fmt::format("the number {} does not fit in 64 bits", printable(t.text, 40)));
    return integer ? Value(i) : Value(d);
  }

  Expr with_steps(Expr base, bool with_filters) {
    std::vector<Postfix> steps;
    for (;;) {
      if (is_symbol(".") || is_symbol("[")) {
        subscript(steps);
      } else if (is_symbol("(")) {
        Postfix p = new_step(Postfix::Kind::call);
        arguments(p);
        steps.push_back(std::move(p));
      } else if (with_filters && is_symbol("|")) {
        filter(steps);
      } else if (with_filters && is_name("is")) {
        test(steps);
      } else {
        break;
      }
    }
    if (steps.empty()) return base;
    Expr e{.kind = Expr::Kind::postfix, .at = base.at};
    e.children.push_back(std::move(base));
    e.steps = std::move(steps);
    return e;
  }

  Postfix new_step(Postfix::Kind kind) const {
    Postfix p;
    p.kind = kind;
    p.at = now().at;
    return p;
  }

  void subscript(std::vector<Postfix>& steps) {
    Postfix p = new_step(Postfix::Kind::attribute);
    if (take().text == ".") {
      if (now().kind == TokenKind::integer) {
        p.kind = Postfix::Kind::item;
        p.args.push_back(primary());
      } else {
        p.name = need_name("an attribute");
      }
    } else {
      p.kind = Postfix::Kind::item;
      p.args.push_back(is_symbol(":") ? Expr{} : expression());
      while (p.args.size() < 3 && skip_symbol(":")) {
        p.kind = Postfix::Kind::slice;
        p.args.push_back(is_symbol(":") || is_symbol("]") ? Expr{} : expression());
      }
      need_symbol("]");
    }
    steps.push_back(std::move(p));
  }

  void arguments(Postfix& p) {
    need_symbol("(");
    while (!is_symbol(")")) {
      if (is_symbol("*") || is_symbol("**")) fail(now().at, "unpacking of arguments is not supported");
      if (now().kind == TokenKind::name && ahead().kind == TokenKind::symbol && ahead().text == "=") {
        std::string name = take().text;
        take();
        p.kwargs.emplace_back(std::move(name), expression());
      } else {
        if (!p.kwargs.empty()) expected("NAME=value after a named argument");
        p.args.push_back(expression());
      }
      if (!skip_symbol(",")) break;
    }
    need_symbol(")");
  }

  void filter(std::vector<Postfix>& steps) {
    take();  // |
    Postfix p = new_step(Postfix::Kind::filter);
    p.name = need_name("a filter");
    if (is_symbol("(")) arguments(p);
    steps.push_back(std::move(p));
  }

  void test(std::vector<Postfix>& steps) {
    take();  // is
    Postfix p = new_step(Postfix::Kind::test);
    p.negated = skip_name("not");
    p.name = need_name("a test");
    if (is_symbol("(")) {
      arguments(p);
    } else {
      const Token& t = now();
      const bool operand = one_of(p.name, {"divisibleby", "eq", "equalto", "ne", "in", "sameas", "lt", "le", "gt", "ge"});
      if (operand && (t.kind == TokenKind::name || t.kind == TokenKind::string || t.kind == TokenKind::integer || t.kind == TokenKind::floating ||
                      is_symbol("[") || is_symbol("{")))
        p.args.push_back(unary(false));
    }
    steps.push_back(std::move(p));
  }

  std::vector<Token> tokens_;
  size_t next_ = 0;
  int depth_ = 0, loops_ = 0, macros_ = 0, chained_choices_ = 0;
};

}  // namespace

std::vector<Statement> parse(std::string_view source) { return Parser(source).run(); }

}  // namespace kerf::jinja
