#include "loaders/chat/jinja_interpreter.h"

#include <fmt/format.h>

#include "core/text.h"

namespace kerf::jinja {
namespace {

constexpr int kMaxRunDepth = 4 * kMaxDepth;  // expressions, blocks and macro calls in progress
constexpr int64_t kMaxRange = 100'000;       // Jinja's own sandbox has the same limit

enum class Flow { on, leave, next };

class Interpreter {
 public:
  Interpreter(Variables variables, const std::string& date, Budget& budget) : date_(date), budget_(budget) {
    scopes_.push_back({std::move(variables)});
    for (const char* name : {"range", "namespace", "dict", "raise_exception"}) assign(name, Callable{name});
    if (!date.empty()) assign("strftime_now", Callable{"strftime_now"});
  }

  Text run(const std::vector<Statement>& program) {
    Text out;
    execute(program, out);
    return out;
  }

 private:
  struct Scope {
    Variables variables{};
    bool function = false;  // names outside are those of the template's top level, not of the caller
  };
  struct Nested {
    explicit Nested(Interpreter& i) : interpreter(i) {
      if (++interpreter.depth_ > kMaxRunDepth) interpreter.budget_.fail("macros call each other too deeply");
    }
    ~Nested() { --interpreter.depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    Interpreter& interpreter;
  };

  // ---- names

  static Value* find_in(Scope& scope, std::string_view name) {
    for (auto& [n, v] : scope.variables)
      if (n == name) return &v;
    return nullptr;
  }

  Value look_up(const std::string& name) {
    for (size_t i = scopes_.size(); i-- > 0;) {
      if (const Value* v = find_in(scopes_[i], name)) return *v;
      if (scopes_[i].function) i = 1;
    }
    return Undefined{name};
  }

  void assign(const std::string& name, Value value) {
    if (Value* v = find_in(scopes_.back(), name))
      *v = std::move(value);
    else
      scopes_.back().variables.emplace_back(name, std::move(value));
  }

  void assign(const std::vector<std::string>& names, const Value& value) {
    if (names.size() == 1) return assign(names[0], value);
    const ListRef parts = iterate(budget_, value);
    if (parts->items.size() != names.size()) budget_.fail(fmt::format("{} values for {} names", parts->items.size(), names.size()));
    for (size_t i = 0; i < names.size(); ++i) assign(names[i], parts->items[i]);
  }

  // ---- statements

  void emit(Text& out, const Text& t) {
    budget_.bytes(t.str().size());
    if (out.str().size() + t.str().size() > kMaxOutput) budget_.fail("the template writes more than 16 MiB");
    out.append(t);
  }

  Flow execute(const std::vector<Statement>& list, Text& out) {
    const Nested nested(*this);
    for (const Statement& s : list) {
      budget_.at = s.at;
      budget_.steps();
      const Flow flow = execute(s, out);
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow execute(const Statement& s, Text& out) {
    switch (s.kind) {
      case Statement::Kind::text:
        budget_.bytes(s.name.size());
        if (out.str().size() + s.name.size() > kMaxOutput) budget_.fail("the template writes more than 16 MiB");
        out.append(s.name);
        return Flow::on;
      case Statement::Kind::output:
        emit(out, to_text(budget_, evaluate(s.value)));
        return Flow::on;
      case Statement::Kind::loop:
        return loop(s, out);
      case Statement::Kind::branch:
        for (const Statement& arm : s.body)
          if (arm.value.kind == Expr::Kind::absent || truthy(evaluate(arm.value))) return execute(arm.body, out);
        return Flow::on;
      case Statement::Kind::set:
        set(s, evaluate(s.value));
        return Flow::on;
      case Statement::Kind::set_block: {
        Text captured;
        scopes_.push_back({});
        const Flow flow = execute(s.body, captured);
        scopes_.pop_back();
        if (flow != Flow::on) return flow;
        Value v = text(std::move(captured));
        for (const Postfix& p : s.filter.steps) v = step(v, p);
        set(s, std::move(v));
        return Flow::on;
      }
      case Statement::Kind::macro:
        assign(s.name, &s);
        return Flow::on;
      case Statement::Kind::leave:
        return Flow::leave;
      case Statement::Kind::next:
        return Flow::next;
      case Statement::Kind::block:
        return execute(s.body, out);
    }
    return Flow::on;
  }

  void set(const Statement& s, Value value) {
    if (s.name.empty()) return assign(s.targets, value);
    const Value target = look_up(s.targets[0]);
    const auto* ns = as<std::shared_ptr<Namespace>>(target);
    if (!ns) budget_.fail(fmt::format("{} is not a namespace: its attribute can not be set", s.targets[0]));
    list(budget_, {value});  // refuses what may not be inside another value
    for (auto& [name, v] : (*ns)->entries)
      if (name == s.name) {
        v = std::move(value);
        return;
      }
    (*ns)->entries.emplace_back(s.name, std::move(value));
  }

  Flow loop(const Statement& s, Text& out) {
    ListRef items = iterate(budget_, evaluate(s.value));
    if (s.filter.kind != Expr::Kind::absent) {
      std::vector<Value> kept;
      for (const Value& v : items->items) {
        scopes_.push_back({});
        assign(s.targets, v);
        if (truthy(evaluate(s.filter))) kept.push_back(v);
        scopes_.pop_back();
      }
      items = std::get<ListRef>(list(budget_, std::move(kept)));
    }
    if (items->items.empty()) return execute(s.otherwise, out);
    for (size_t i = 0; i < items->items.size(); ++i) {
      scopes_.push_back({});
      budget_.steps();
      assign("loop", std::make_shared<const Loop>(Loop{items, i}));
      assign(s.targets, items->items[i]);
      const Flow flow = execute(s.body, out);
      scopes_.pop_back();
      if (flow == Flow::leave) break;
    }
    return Flow::on;
  }

  // ---- expressions

  Value evaluate(const Expr& e) {
    const Nested nested(*this);
    budget_.steps();
    budget_.at = e.at;
    switch (e.kind) {
      case Expr::Kind::absent:
        return Undefined{"nothing"};
      case Expr::Kind::literal:
        return e.literal;
      case Expr::Kind::name:
        return look_up(e.name);
      case Expr::Kind::list:
      case Expr::Kind::tuple: {
        std::vector<Value> items;
        for (const Expr& c : e.children) items.push_back(evaluate(c));
        return list(budget_, std::move(items), e.kind == Expr::Kind::tuple);
      }
      case Expr::Kind::dict:
        return make_dict(e);
      case Expr::Kind::any_of:
      case Expr::Kind::all_of: {
        Value v = evaluate(e.children[0]);
        for (size_t i = 1; i < e.children.size() && truthy(v) == (e.kind == Expr::Kind::all_of); ++i) v = evaluate(e.children[i]);
        return v;
      }
      case Expr::Kind::negation:
        return !truthy(evaluate(e.children[0]));
      case Expr::Kind::minus:
        return arithmetic(budget_, "-", int64_t{0}, evaluate(e.children[0]));
      case Expr::Kind::plus:
        return arithmetic(budget_, "+", int64_t{0}, evaluate(e.children[0]));
      case Expr::Kind::compare:
        return compared(e);
      case Expr::Kind::arithmetic: {
        Value v = evaluate(e.children[0]);
        for (size_t i = 0; i < e.symbols.size(); ++i) {
          const Value right = evaluate(e.children[i + 1]);
          v = arithmetic(budget_, e.symbols[i], v, right);
        }
        return v;
      }
      case Expr::Kind::choice:
        if (truthy(evaluate(e.children[0]))) return evaluate(e.children[1]);
        return evaluate(e.children[2]);
      case Expr::Kind::postfix:
        return postfix(e);
    }
    return None{};
  }

  Value make_dict(const Expr& e) {
    std::vector<std::pair<Text, Value>> entries;
    for (size_t i = 0; i < e.children.size(); i += 2) {
      const Value key = evaluate(e.children[i]);
      if (!as_text(key)) budget_.fail(fmt::format("a {} as key of a dict is not supported", type_name(key)));
      Value value = evaluate(e.children[i + 1]);
      std::erase_if(entries, [&](const auto& entry) { return entry.first.str() == as_text(key)->str(); });
      entries.emplace_back(*as_text(key), std::move(value));
    }
    return dict(budget_, std::move(entries));
  }

  /// a < b < c means a < b and b < c.
  Value compared(const Expr& e) {
    Value left = evaluate(e.children[0]);
    for (size_t i = 0; i < e.symbols.size(); ++i) {
      Value right = evaluate(e.children[i + 1]);
      const std::string& s = e.symbols[i];
      const bool holds = s == "=="       ? equal(budget_, left, right)
                         : s == "!="     ? !equal(budget_, left, right)
                         : s == "in"     ? contains(budget_, right, left)
                         : s == "not in" ? !contains(budget_, right, left)
                         : s == "<"      ? compare(budget_, left, right) < 0
                         : s == "<="     ? compare(budget_, left, right) <= 0
                         : s == ">"      ? compare(budget_, left, right) > 0
                                         : compare(budget_, left, right) >= 0;
      if (!holds) return false;
      left = std::move(right);
    }
    return true;
  }

  Value postfix(const Expr& e) {
    Value v = evaluate(e.children[0]);
    for (size_t i = 0; i < e.steps.size(); ++i) {
      const Postfix& p = e.steps[i];
      const bool called = i + 1 < e.steps.size() && e.steps[i + 1].kind == Postfix::Kind::call;
      if (p.kind == Postfix::Kind::attribute && called && has_method(v, p.name)) {
        const Arguments args = arguments(e.steps[++i]);
        budget_.at = p.at;
        v = call_method(budget_, v, p.name, args);
      } else if (p.kind == Postfix::Kind::call) {
        v = call(v, p);
      } else {
        v = step(v, p);
      }
    }
    return v;
  }

  Arguments arguments(const Postfix& p) {
    Arguments args;
    for (const Expr& a : p.args) args.list.push_back(evaluate(a));
    for (const auto& [name, a] : p.kwargs) args.named.emplace_back(name, evaluate(a));
    return args;
  }

  Value step(const Value& v, const Postfix& p) {
    const Nested nested(*this);
    budget_.steps();
    const Arguments args = p.kind == Postfix::Kind::slice ? Arguments{} : arguments(p);
    budget_.at = p.at;
    switch (p.kind) {
      case Postfix::Kind::attribute:
        return attribute(budget_, v, p.name);
      case Postfix::Kind::item:
        return item(budget_, v, args.list[0]);
      case Postfix::Kind::filter:
        return apply_filter(budget_, p.name, v, args);
      case Postfix::Kind::test:
        return apply_test(budget_, p.name, v, args) != p.negated;
      case Postfix::Kind::slice: {
        Value bounds[3] = {None{}, None{}, None{}};
        for (size_t i = 0; i < p.args.size(); ++i)
          if (p.args[i].kind != Expr::Kind::absent) bounds[i] = evaluate(p.args[i]);
        budget_.at = p.at;
        return slice(budget_, v, bounds[0], bounds[1], bounds[2]);
      }
      case Postfix::Kind::call:
        break;
    }
    return call(v, p);
  }

  Value call(const Value& v, const Postfix& p) {
    const Nested nested(*this);
    const Arguments args = arguments(p);
    budget_.at = p.at;
    budget_.steps();
    if (const auto* macro = as<const Statement*>(v)) return call_macro(**macro, args);
    const auto* function = as<Callable>(v);
    if (!function) {
      const auto* u = as<Undefined>(v);
      budget_.fail(u ? fmt::format("\"{}\" is undefined: it can not be called", printable(u->name, 40))
                     : fmt::format("a {} can not be called", type_name(v)));
    }
    if (function->name == "range") return range(args);
    if (function->name == "namespace" || function->name == "dict") return from_arguments(function->name == "dict", args);
    if (function->name == "raise_exception") {
      const Value* message = args.get(0, "message");
      budget_.fail("the template refuses this conversation: " +
                   (message ? printable(to_text(budget_, *message).str(), 500) : std::string("no reason given")));
    }
    if (function->name == "strftime_now") {
      const Value* format = args.get(0, "format");
      if (!format || !as_text(*format)) budget_.fail("strftime_now needs a format");
      return text(format_date(budget_, date_, as_text(*format)->str()));
    }
    budget_.fail(fmt::format("the method {} is not supported here", function->name));
  }

  Value call_macro(const Statement& macro, const Arguments& args) {
    if (args.list.size() > macro.targets.size())
      budget_.fail(fmt::format("macro {} takes {} arguments, got {}", macro.name, macro.targets.size(), args.list.size()));
    for (const auto& [name, v] : args.named) {
      bool known = false;
      for (const auto& parameter : macro.targets) known |= parameter == name;
      if (!known) budget_.fail(fmt::format("macro {} has no parameter {}", macro.name, printable(name, 40)));
    }
    scopes_.push_back({.function = true});
    for (size_t i = 0; i < macro.targets.size(); ++i) {
      const Value* given = args.get(i, macro.targets[i]);
      assign(macro.targets[i], given                                          ? *given
                               : macro.defaults[i].kind == Expr::Kind::absent ? Value(Undefined{macro.targets[i]})
                                                                              : evaluate(macro.defaults[i]));
    }
    Text out;
    execute(macro.body, out);
    scopes_.pop_back();
    return text(std::move(out));
  }

  Value range(const Arguments& args) {
    int64_t bound[3] = {0, 0, 1};
    if (args.list.empty() || args.list.size() > 3) budget_.fail("range takes 1 to 3 numbers");
    for (size_t i = 0; i < args.list.size(); ++i) {
      const auto* n = as<int64_t>(args.list[i]);
      if (!n) budget_.fail(fmt::format("range needs integers, got a {}", type_name(args.list[i])));
      bound[args.list.size() == 1 ? 1 : i] = *n;
    }
    const auto [start, stop, by] = bound;
    if (by == 0) budget_.fail("range with a step of 0");
    std::vector<Value> items;
    for (__int128 i = start; by > 0 ? i < stop : i > stop; i += by) {
      if (static_cast<int64_t>(items.size()) == kMaxRange) budget_.fail(fmt::format("a range of more than {} numbers", kMaxRange));
      items.emplace_back(static_cast<int64_t>(i));
    }
    return list(budget_, std::move(items));
  }

  Value from_arguments(bool as_dict, const Arguments& args) {
    std::vector<std::pair<Text, Value>> entries;
    for (const Value& v : args.list) {
      const auto* d = as<DictRef>(v);
      if (!d) budget_.fail(fmt::format("expected a dict or NAME=value, got a {}", type_name(v)));
      for (const auto& entry : (*d)->entries) entries.push_back(entry);
    }
    for (const auto& [name, v] : args.named) {
      std::erase_if(entries, [&name = name](const auto& entry) { return entry.first.str() == name; });
      entries.emplace_back(Text(name), v);
    }
    const Value checked = dict(budget_, std::move(entries));
    if (as_dict) return checked;
    auto ns = std::make_shared<Namespace>();
    for (const auto& [name, v] : std::get<DictRef>(checked)->entries) ns->entries.emplace_back(name.str(), v);
    return ns;
  }

  std::vector<Scope> scopes_;
  const std::string& date_;
  Budget& budget_;
  int depth_ = 0;
};

}  // namespace

const Value* Arguments::get(size_t i, std::string_view name) const {
  if (i < list.size()) return &list[i];
  for (const auto& [n, v] : named)
    if (n == name) return &v;
  return nullptr;
}

Text render(const std::vector<Statement>& program, Variables variables, const std::string& date, Budget& budget) {
  return Interpreter(std::move(variables), date, budget).run(program);
}

}  // namespace kerf::jinja
