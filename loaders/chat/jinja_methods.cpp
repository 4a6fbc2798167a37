// Operators, subscripts and methods: Python's, for the types that templates have.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/text.h"
#include "loaders/chat/jinja_interpreter.h"

namespace kerf::jinja {
namespace {

bool is_number(const Value& v) { return as<bool>(v) || as<int64_t>(v) || as<double>(v); }
double real(const Value& v) {
  if (const auto* d = as<double>(v)) return *d;
  if (const auto* b = as<bool>(v)) return *b ? 1 : 0;
  return static_cast<double>(std::get<int64_t>(v));
}
int64_t whole(const Value& v) {
  if (const auto* b = as<bool>(v)) return *b ? 1 : 0;
  return std::get<int64_t>(v);
}

Value integer_result(Budget& budget, __int128 n) {
  if (n > INT64_MAX || n < INT64_MIN) budget.fail("this integer does not fit in 64 bits");
  return static_cast<int64_t>(n);
}

Value integers(Budget& budget, std::string_view s, int64_t a, int64_t b) {
  const __int128 x = a, y = b;
  if (s == "+") return integer_result(budget, x + y);
  if (s == "-") return integer_result(budget, x - y);
  if (s == "*") return integer_result(budget, x * y);
  if (s == "**") {
    if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
    Value power = int64_t{1};
    for (int64_t i = 0; i < b; ++i) {
      budget.steps();
      power = integer_result(budget, static_cast<__int128>(std::get<int64_t>(power)) * x);
    }
    return power;
  }
  if (b == 0) budget.fail("division by zero");
  if (s == "/") return static_cast<double>(a) / static_cast<double>(b);
  const __int128 quotient = x / y - (x % y != 0 && (x < 0) != (y < 0));  // rounds down, like Python
  return integer_result(budget, s == "//" ? quotient : x - quotient * y);
}

Value reals(Budget& budget, std::string_view s, double a, double b) {
  if (s == "+") return a + b;
  if (s == "-") return a - b;
  if (s == "*") return a * b;
  if (s == "**") return std::pow(a, b);
  if (b == 0) budget.fail("division by zero");
  if (s == "/") return a / b;
  return s == "//" ? std::floor(a / b) : a - std::floor(a / b) * b;
}

Value repeated(Budget& budget, const Value& v, int64_t times) {
  if (const Text* t = as_text(v)) {
    Text out;
    const __int128 total = static_cast<__int128>(std::max<int64_t>(times, 0)) * static_cast<__int128>(t->str().size());
    budget.bytes(static_cast<size_t>(std::min<__int128>(total, INT64_MAX)));  // before the work, not along with it
    for (int64_t i = 0; i < times && !t->str().empty(); ++i) out.append(*t);
    return text(std::move(out));
  }
  std::vector<Value> items;
  const auto& from = std::get<ListRef>(v)->items;
  for (int64_t i = 0; i < times && !from.empty(); ++i) {
    budget.steps(static_cast<int64_t>(from.size()));
    items.insert(items.end(), from.begin(), from.end());
  }
  return list(budget, std::move(items), std::get<ListRef>(v)->tuple);
}

Text joined(Budget& budget, const Text& a, const Text& b) {
  budget.bytes(a.str().size() + b.str().size());
  Text t = a;
  t.append(b);
  return t;
}

std::string ascii_case(std::string_view s, bool upper) {
  std::string out(s);
  for (char& c : out) {
    if (upper && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    if (!upper && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

std::string title_case(std::string_view s) {
  std::string out = ascii_case(s, false);
  bool inside = false;
  for (char& c : out) {
    const bool letter = (c >= 'a' && c <= 'z') || static_cast<unsigned char>(c) >= 0x80;
    if (letter && !inside && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    inside = letter;
  }
  return out;
}

/// Without the characters of `set` (null: whitespace) at the chosen ends.
Text stripped(const Text& t, const Text* set, bool left, bool right) {
  const std::string& s = t.str();
  const auto offsets = code_points(s);
  const auto drop = [&](size_t i) {
    const std::string_view c = std::string_view(s).substr(offsets[i], offsets[i + 1] - offsets[i]);
    if (!set) return space_at(s, offsets[i]) == c.size();
    const auto chars = code_points(set->str());
    for (size_t k = 0; k + 1 < chars.size(); ++k)
      if (std::string_view(set->str()).substr(chars[k], chars[k + 1] - chars[k]) == c) return true;
    return false;
  };
  size_t begin = 0, end = offsets.size() - 1;
  while (left && begin < end && drop(begin)) ++begin;
  while (right && end > begin && drop(end - 1)) --end;
  return t.part(offsets[begin], offsets[end]);
}

Value split(Budget& budget, const Text& t, const Text* separator, int64_t limit) {
  const std::string& s = t.str();
  std::vector<Value> parts;
  const auto add = [&](size_t begin, size_t end) {
    budget.steps();
    parts.push_back(text(t.part(begin, end)));
  };
  const auto full = [&] { return limit >= 0 && static_cast<int64_t>(parts.size()) >= limit; };
  size_t at = 0;
  if (separator) {
    if (separator->str().empty()) budget.fail("split at an empty string");
    for (size_t hit; !full() && (hit = s.find(separator->str(), at)) != std::string::npos; at = hit + separator->str().size()) add(at, hit);
    add(at, s.size());
  } else {  // runs of whitespace; none at the ends
    for (;;) {
      while (at < s.size() && space_at(s, at)) at += space_at(s, at);
      if (at >= s.size()) break;
      size_t end = at;
      if (full()) {
        parts.push_back(text(t.part(at, s.size())));
        break;
      }
      while (end < s.size() && !space_at(s, end)) ++end;
      add(at, end);
      at = end;
    }
  }
  return list(budget, std::move(parts));
}

const Text* text_argument(Budget& budget, const Arguments& args, size_t i, std::string_view name) {
  const Value* v = args.get(i, name);
  if (!v || as<None>(*v)) return nullptr;
  if (!as_text(*v)) budget.fail(fmt::format("expected a string, got a {}", type_name(*v)));
  return as_text(*v);
}
const Text& need_text(Budget& budget, const Arguments& args, size_t i, std::string_view name) {
  const Text* t = text_argument(budget, args, i, name);
  if (!t) budget.fail(fmt::format("the argument {} is missing", name));
  return *t;
}

Value replaced(Budget& budget, const Text& t, const Text& from, const Text& to, int64_t count) {
  Text out;
  const std::string& s = t.str();
  size_t at = 0;
  if (from.str().empty()) budget.fail("replacing the empty string is not supported");
  for (size_t hit; count != 0 && (hit = s.find(from.str(), at)) != std::string::npos; at = hit + from.str().size(), --count) {
    budget.steps();
    budget.bytes(to.str().size());
    out.append_part(t, at, hit);
    out.append(to);
  }
  out.append_part(t, at, s.size());
  return text(std::move(out));
}

bool has_affix(Budget& budget, const Text& t, const Arguments& args, bool start) {
  const Value* v = args.get(0, "prefix");
  if (!v) budget.fail("the argument is missing");
  const auto one = [&](const Value& affix) {
    if (!as_text(affix)) budget.fail(fmt::format("expected a string, got a {}", type_name(affix)));
    return start ? t.str().starts_with(as_text(affix)->str()) : t.str().ends_with(as_text(affix)->str());
  };
  if (as_text(*v)) return one(*v);
  const ListRef items = iterate(budget, *v);
  for (const Value& affix : items->items)
    if (one(affix)) return true;
  return false;
}

int64_t integer_argument(Budget& budget, const Arguments& args, size_t i, std::string_view name, int64_t standard) {
  const Value* v = args.get(i, name);
  if (!v) return standard;
  if (!as<int64_t>(*v)) budget.fail(fmt::format("expected an integer, got a {}", type_name(*v)));
  return std::get<int64_t>(*v);
}

constexpr std::string_view kTextMethods[] = {"strip", "lstrip", "rstrip", "split",      "startswith", "endswith", "replace",
                                             "upper", "lower",  "title",  "capitalize", "find",       "join",     "count"};
constexpr std::string_view kDictMethods[] = {"items", "keys", "values", "get"};

}  // namespace

Value arithmetic(Budget& budget, std::string_view symbol, const Value& a, const Value& b) {
  if (symbol == "~") return text(joined(budget, to_text(budget, a), to_text(budget, b)));
  if (is_number(a) && is_number(b))
    return as<double>(a) || as<double>(b) ? reals(budget, symbol, real(a), real(b)) : integers(budget, symbol, whole(a), whole(b));
  if (symbol == "+" && as_text(a) && as_text(b)) return text(joined(budget, *as_text(a), *as_text(b)));
  if (symbol == "+" && as<ListRef>(a) && as<ListRef>(b)) {
    std::vector<Value> items = std::get<ListRef>(a)->items;
    const auto& more = std::get<ListRef>(b)->items;
    items.insert(items.end(), more.begin(), more.end());
    return list(budget, std::move(items), std::get<ListRef>(a)->tuple);
  }
  const bool repeatable = as_text(a) || as<ListRef>(a);
  if (symbol == "*" && repeatable && as<int64_t>(b)) return repeated(budget, a, std::get<int64_t>(b));
  if (symbol == "*" && as<int64_t>(a) && (as_text(b) || as<ListRef>(b))) return repeated(budget, b, std::get<int64_t>(a));
  for (const Value* v : {&a, &b})
    if (const auto* u = as<Undefined>(*v)) budget.fail(fmt::format("\"{}\" is undefined", printable(u->name, 40)));
  budget.fail(fmt::format("\"{}\" between a {} and a {} is not supported", symbol, type_name(a), type_name(b)));
}

Value attribute(Budget& budget, const Value& object, std::string_view name) {
  if (const auto* u = as<Undefined>(object))
    budget.fail(fmt::format("\"{}\" is undefined: it has no {}", printable(u->name, 40), printable(name, 40)));
  if (has_method(object, name)) return Callable{std::string(name)};
  if (const auto* d = as<DictRef>(object)) {
    const Value* v = (*d)->find(name);
    return v ? *v : Value(Undefined{std::string(name)});
  }
  if (const auto* ns = as<std::shared_ptr<Namespace>>(object)) {
    for (const auto& [n, v] : (*ns)->entries)
      if (n == name) return v;
  }
  if (const auto* loop = as<std::shared_ptr<const Loop>>(object)) {
    const auto& items = (*loop)->items->items;
    const size_t i = (*loop)->index;
    const auto n = static_cast<int64_t>(items.size()), index = static_cast<int64_t>(i);
    if (name == "index") return index + 1;
    if (name == "index0") return index;
    if (name == "revindex") return n - index;
    if (name == "revindex0") return n - index - 1;
    if (name == "first") return i == 0;
    if (name == "last") return index + 1 == n;
    if (name == "length") return n;
    if (name == "previtem") return i > 0 ? items[i - 1] : Value(Undefined{"loop.previtem"});
    if (name == "nextitem") return index + 1 < n ? items[i + 1] : Value(Undefined{"loop.nextitem"});
    budget.fail(fmt::format("loop.{} is not supported", printable(name, 40)));
  }
  return Undefined{std::string(name)};
}

Value item(Budget& budget, const Value& object, const Value& key) {
  if (const Text* name = as_text(key)) {
    if (const auto* d = as<DictRef>(object)) {
      if (const Value* v = (*d)->find(name->str())) return *v;
    }
    return attribute(budget, object, name->str());
  }
  if (const auto* u = as<Undefined>(object)) budget.fail(fmt::format("\"{}\" is undefined: it has no items", printable(u->name, 40)));
  const auto* i = as<int64_t>(key);
  const bool sequence = as<ListRef>(object) || as_text(object);
  if (!i || !sequence) return Undefined{"item"};
  if (const Text* t = as_text(object)) budget.bytes(8 * t->str().size());  // an offset per character
  const int64_t n = *length(object), at = *i < 0 ? *i + n : *i;
  if (at < 0 || at >= n) return Undefined{fmt::format("item {}", *i)};
  if (const auto* l = as<ListRef>(object)) return (*l)->items[static_cast<size_t>(at)];
  const Text& t = *as_text(object);
  const auto offsets = code_points(t.str());
  return text(t.part(offsets[static_cast<size_t>(at)], offsets[static_cast<size_t>(at) + 1]));
}

Value slice(Budget& budget, const Value& object, const Value& start, const Value& stop, const Value& by) {
  if (!as<ListRef>(object) && !as_text(object)) {
    if (as<Undefined>(object)) return list(budget, {});
    return Undefined{"slice"};
  }
  const auto bound = [&](const Value& v, int64_t standard) {
    if (as<None>(v)) return standard;
    if (!as<int64_t>(v)) budget.fail(fmt::format("a slice needs integers, got a {}", type_name(v)));
    return std::get<int64_t>(v);
  };
  const int64_t n = *length(object), step = bound(by, 1);
  if (step == 0) budget.fail("a slice with a step of 0");
  const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;  // Python's clamping (slice.indices)
  const auto clamp = [&](int64_t i) { return std::clamp(i < 0 ? i + n : i, low, high); };
  const int64_t first = as<None>(start) ? (step > 0 ? low : high) : clamp(bound(start, 0));
  const int64_t last = as<None>(stop) ? (step > 0 ? high : low) : clamp(bound(stop, 0));
  std::vector<size_t> picked;
  for (__int128 i = first; step > 0 ? i < last : i > last; i += step) picked.push_back(static_cast<size_t>(i));
  budget.steps(static_cast<int64_t>(picked.size() / 8));
  if (const auto* l = as<ListRef>(object)) {
    std::vector<Value> items;
    for (const size_t i : picked) items.push_back((*l)->items[i]);
    return list(budget, std::move(items), (*l)->tuple);
  }
  const Text& t = *as_text(object);
  budget.bytes(8 * t.str().size());
  const auto offsets = code_points(t.str());
  Text out;
  for (const size_t i : picked) out.append(t.part(offsets[i], offsets[i + 1]));
  return text(std::move(out));
}

bool has_method(const Value& object, std::string_view name) {
  if (as_text(object)) {
    for (const auto m : kTextMethods)
      if (m == name) return true;
  }
  if (as<DictRef>(object)) {
    for (const auto m : kDictMethods)
      if (m == name) return true;
  }
  return false;
}

Value call_method(Budget& budget, const Value& object, const std::string& name, const Arguments& args) {
  budget.steps();
  if (const auto* d = as<DictRef>(object)) {
    const Dict& dictionary = **d;
    if (name == "get") {
      const Value* standard = args.get(1, "default");
      const Text* key = args.list.empty() ? nullptr : as_text(args.list[0]);
      const Value* v = key ? dictionary.find(key->str()) : nullptr;
      return v ? *v : standard ? *standard : Value(None{});
    }
    std::vector<Value> items;
    for (const auto& [key, v] : dictionary.entries)
      items.push_back(name == "keys" ? text(key) : name == "values" ? v : list(budget, {text(key), v}, true));
    return list(budget, std::move(items));
  }
  const Text& t = *as_text(object);
  budget.bytes(t.str().size());
  if (name == "strip") return text(stripped(t, text_argument(budget, args, 0, "chars"), true, true));
  if (name == "lstrip") return text(stripped(t, text_argument(budget, args, 0, "chars"), true, false));
  if (name == "rstrip") return text(stripped(t, text_argument(budget, args, 0, "chars"), false, true));
  if (name == "split") return split(budget, t, text_argument(budget, args, 0, "sep"), integer_argument(budget, args, 1, "maxsplit", -1));
  if (name == "startswith") return has_affix(budget, t, args, true);
  if (name == "endswith") return has_affix(budget, t, args, false);
  if (name == "replace")
    return replaced(budget, t, need_text(budget, args, 0, "old"), need_text(budget, args, 1, "new"), integer_argument(budget, args, 2, "count", -1));
  if (name == "upper") return text(t.with_bytes(ascii_case(t.str(), true)));
  if (name == "lower") return text(t.with_bytes(ascii_case(t.str(), false)));
  if (name == "title") return text(t.with_bytes(title_case(t.str())));
  if (name == "capitalize") {
    std::string s = ascii_case(t.str(), false);
    if (!s.empty()) s[0] = ascii_case(s.substr(0, 1), true)[0];
    return text(t.with_bytes(std::move(s)));
  }
  if (name == "join") return apply_filter(budget, "join", args.list.empty() ? Value(Undefined{"argument"}) : args.list[0], Arguments{{object}, {}});
  const Text& part = need_text(budget, args, 0, "sub");
  if (name == "find") {
    const size_t hit = t.str().find(part.str());
    return hit == std::string::npos ? int64_t{-1} : static_cast<int64_t>(code_points(std::string_view(t.str()).substr(0, hit)).size()) - 1;
  }
  if (part.str().empty()) budget.fail("counting the empty string is not supported");
  int64_t count = 0;
  for (size_t at = 0; (at = t.str().find(part.str(), at)) != std::string::npos; at += part.str().size()) ++count;
  return count;
}

}  // namespace kerf::jinja
