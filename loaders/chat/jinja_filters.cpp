// Filters and tests of Jinja's standard library that chat templates use.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "core/text.h"
#include "loaders/chat/jinja_interpreter.h"

namespace kerf::jinja {
namespace {

const Arguments kNone{};

Value path(Budget& budget, Value v, std::string_view dotted) {
  while (!dotted.empty()) {
    const size_t dot = dotted.find('.');
    v = item(budget, v, text(std::string(dotted.substr(0, dot))));
    dotted = dot == std::string_view::npos ? std::string_view() : dotted.substr(dot + 1);
  }
  return v;
}

std::string name_argument(Budget& budget, const Arguments& args, size_t i) {
  if (i >= args.list.size() || !as_text(args.list[i])) budget.fail("expected a name as a string");
  return as_text(args.list[i])->str();
}

Arguments rest(const Arguments& args, size_t from) {
  return {{args.list.begin() + static_cast<std::ptrdiff_t>(std::min(from, args.list.size())), args.list.end()}, args.named};
}

Value map(Budget& budget, const Value& v, const Arguments& args) {
  std::vector<Value> out;
  const Value* by = args.list.empty() ? args.get(0, "attribute") : nullptr;
  const Value* standard = args.list.empty() ? args.get(1, "default") : nullptr;
  const ListRef items = iterate(budget, v);
  for (const Value& each : items->items) {
    budget.steps();
    if (by) {
      if (!as_text(*by)) budget.fail("map(attribute=..) needs a string");
      Value found = path(budget, each, as_text(*by)->str());
      out.push_back(as<Undefined>(found) && standard ? *standard : std::move(found));
    } else {
      out.push_back(apply_filter(budget, name_argument(budget, args, 0), each, rest(args, 1)));
    }
  }
  return list(budget, std::move(out));
}

/// select, reject and, with an attribute first, selectattr and rejectattr.
Value select(Budget& budget, const Value& v, const Arguments& args, bool with_attribute, bool keep) {
  std::vector<Value> out;
  const size_t first = with_attribute ? 1 : 0;
  const ListRef items = iterate(budget, v);
  for (const Value& each : items->items) {
    budget.steps();
    const Value subject = with_attribute ? path(budget, each, name_argument(budget, args, 0)) : each;
    const bool holds =
        args.list.size() > first ? apply_test(budget, name_argument(budget, args, first), subject, rest(args, first + 1)) : truthy(subject);
    if (holds == keep) out.push_back(each);
  }
  return list(budget, std::move(out));
}

Value join(Budget& budget, const Value& v, const Arguments& args) {
  const Value* separator = args.get(0, "d");
  const Value* by = args.get(1, "attribute");
  const Text between = separator ? to_text(budget, *separator) : Text();
  Text out;
  bool first = true;
  const ListRef items = iterate(budget, v);
  for (const Value& each : items->items) {
    if (!first) out.append(between);
    first = false;
    const Text t = to_text(budget, by && as_text(*by) ? path(budget, each, as_text(*by)->str()) : each);
    budget.bytes(t.str().size() + between.str().size());
    out.append(t);
  }
  return text(std::move(out));
}

Value to_integer(Budget& budget, const Value& v, const Arguments& args) {
  const Value* standard = args.get(0, "default");
  const Value otherwise = standard ? *standard : Value(int64_t{0});
  if (const auto* d = as<double>(v)) {
    if (!(std::abs(*d) < 0x1p63)) return otherwise;
    return static_cast<int64_t>(*d);
  }
  if (const auto* b = as<bool>(v)) return int64_t{*b};
  if (as<int64_t>(v)) return v;
  if (!as_text(v)) return otherwise;
  const std::string s = as_text(call_method(budget, v, "strip", kNone))->str();
  int64_t i = 0;
  double d = 0;
  const char *begin = s.data() + (s.starts_with('+') ? 1 : 0), *end = s.data() + s.size();
  if (auto r = std::from_chars(begin, end, i); r.ec == std::errc{} && r.ptr == end) return i;
  if (auto r = std::from_chars(begin, end, d); r.ec == std::errc{} && r.ptr == end && std::abs(d) < 0x1p63) return static_cast<int64_t>(d);
  return otherwise;
}

Value to_real(Budget& budget, const Value& v, const Arguments& args) {
  const Value* standard = args.get(0, "default");
  if (const auto* i = as<int64_t>(v)) return static_cast<double>(*i);
  if (const auto* b = as<bool>(v)) return *b ? 1.0 : 0.0;
  if (as<double>(v)) return v;
  if (as_text(v)) {
    const std::string s = as_text(call_method(budget, v, "strip", kNone))->str();
    double d = 0;
    if (auto r = std::from_chars(s.data(), s.data() + s.size(), d); r.ec == std::errc{} && r.ptr == s.data() + s.size()) return d;
  }
  return standard ? *standard : Value(0.0);
}

/// Every line but the first (all with first=true) moved right; empty lines stay empty unless blank=true.
Value indent(Budget& budget, const Value& v, const Arguments& args) {
  const Text t = to_text(budget, v);
  const Value *width = args.get(0, "width"), *first = args.get(1, "first"), *blank = args.get(2, "blank");
  Text by(std::string(4, ' '));
  if (width && as_text(*width)) by = *as_text(*width);
  if (width && as<int64_t>(*width)) by = Text(std::string(static_cast<size_t>(std::clamp<int64_t>(std::get<int64_t>(*width), 0, 1000)), ' '));
  Text out;
  const std::string& s = t.str();
  for (size_t at = 0; at <= s.size();) {
    const size_t end = std::min(s.find('\n', at), s.size());
    const bool moved = at == 0 ? first && truthy(*first) : end > at || (blank && truthy(*blank));
    budget.bytes(end - at + by.str().size());
    if (moved) out.append(by);
    out.append_part(t, at, std::min(end + 1, s.size()));
    at = end + 1;
  }
  return text(std::move(out));
}

Value sorted(Budget& budget, const Value& v, const Arguments& args) {
  const Value *reverse = args.get(0, "reverse"), *exact_case = args.get(1, "case_sensitive"), *by = args.get(2, "attribute");
  std::vector<std::pair<Value, Value>> keyed;
  const ListRef items = iterate(budget, v);
  for (const Value& each : items->items) {
    Value key = by && as_text(*by) ? path(budget, each, as_text(*by)->str()) : each;
    if (as_text(key) && !(exact_case && truthy(*exact_case))) key = call_method(budget, key, "lower", kNone);
    keyed.emplace_back(std::move(key), each);
  }
  const bool down = reverse && truthy(*reverse);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return down ? compare(budget, b.first, a.first) < 0 : compare(budget, a.first, b.first) < 0;
  });
  std::vector<Value> out;
  for (auto& [key, each] : keyed) out.push_back(std::move(each));
  return list(budget, std::move(out));
}

Value unique(Budget& budget, const Value& v) {
  std::vector<Value> out, keys;
  const ListRef items = iterate(budget, v);
  for (const Value& each : items->items) {
    const Value key = as_text(each) ? call_method(budget, each, "lower", kNone) : each;
    const bool seen = std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return equal(budget, k, key); });
    if (seen) continue;
    keys.push_back(key);
    out.push_back(each);
  }
  return list(budget, std::move(out));
}

/// The filter, unlike the method, starts words only after blanks and opening brackets or dashes: "they're" -> "They're".
Value title(Budget& budget, const Text& t) {
  std::string s = as_text(call_method(budget, text(t), "lower", kNone))->str();
  bool start = true;
  for (char& c : s) {
    if (start && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    start = std::string_view(" \t\n\r\f\v-({[<").find(c) != std::string_view::npos;
  }
  return text(t.with_bytes(std::move(s)));
}

Value json(Budget& budget, const Value& v, const Arguments& args) {
  for (const auto& [name, value] : args.named)
    if (name != "indent" && !(name == "ensure_ascii" && !truthy(value)))
      budget.fail(fmt::format("tojson({}=..) is not supported", printable(name, 40)));
  const Value* indent_by = args.get(0, "indent");
  const auto* width = indent_by ? as<int64_t>(*indent_by) : nullptr;
  if (indent_by && !width && !as<None>(*indent_by)) budget.fail(fmt::format("tojson needs an integer indent, got a {}", type_name(*indent_by)));
  return text(to_json(budget, v, width ? static_cast<int>(std::clamp<int64_t>(*width, 0, 64)) : -1));
}

}  // namespace

Value apply_filter(Budget& budget, const std::string& name, const Value& v, const Arguments& args) {
  const auto of_text = [&](const std::string& method) { return call_method(budget, text(to_text(budget, v)), method, args); };
  if (name == "trim") return of_text("strip");
  if (name == "upper" || name == "lower" || name == "capitalize" || name == "replace") return of_text(name);
  if (name == "title") return title(budget, to_text(budget, v));
  if (name == "tojson") return json(budget, v, args);
  if (name == "length" || name == "count") {
    const auto n = length(v);
    if (!n) budget.fail(fmt::format("a {} has no length", type_name(v)));
    budget.bytes(as_text(v) ? as_text(v)->str().size() / 4 : 0);
    return *n;
  }
  if (name == "default" || name == "d") {
    const Value *standard = args.get(0, "default_value"), *also_false = args.get(1, "boolean");
    const bool replace = as<Undefined>(v) || (also_false && truthy(*also_false) && !truthy(v));
    return !replace ? v : standard ? *standard : text(std::string());
  }
  if (name == "join") return join(budget, v, args);
  if (name == "first" || name == "last") {
    const ListRef items = iterate(budget, v);
    if (items->items.empty()) return Undefined{name};
    return name == "first" ? items->items.front() : items->items.back();
  }
  if (name == "list") return list(budget, std::vector<Value>(iterate(budget, v)->items));
  if (name == "string") return text(to_text(budget, v));
  if (name == "safe") return v;
  if (name == "int") return to_integer(budget, v, args);
  if (name == "float") return to_real(budget, v, args);
  if (name == "abs") return compare(budget, v, int64_t{0}) < 0 ? arithmetic(budget, "-", int64_t{0}, v) : v;
  if (name == "items") {
    if (as<Undefined>(v)) return list(budget, {});
    if (!as<DictRef>(v)) budget.fail(fmt::format("items of a {}", type_name(v)));
    return call_method(budget, v, "items", kNone);
  }
  if (name == "dictsort") return sorted(budget, apply_filter(budget, "items", v, kNone), kNone);
  if (name == "map") return map(budget, v, args);
  if (name == "select" || name == "reject") return select(budget, v, args, false, name == "select");
  if (name == "selectattr" || name == "rejectattr") return select(budget, v, args, true, name == "selectattr");
  if (name == "indent") return indent(budget, v, args);
  if (name == "sort") return sorted(budget, v, args);
  if (name == "unique") return unique(budget, v);
  if (name == "reverse") {
    if (as_text(v)) return slice(budget, v, None{}, None{}, int64_t{-1});
    const ListRef all = iterate(budget, v);
    std::vector<Value> items = all->items;
    std::reverse(items.begin(), items.end());
    return list(budget, std::move(items));
  }
  budget.fail(fmt::format("the filter \"{}\" is not supported", printable(name, 40)));
}

bool apply_test(Budget& budget, const std::string& name, const Value& v, const Arguments& args) {
  if (name == "defined") return !as<Undefined>(v);
  if (name == "undefined") return as<Undefined>(v);
  if (name == "none") return as<None>(v);
  if (name == "string") return as_text(v);
  if (name == "mapping") return as<DictRef>(v);
  if (name == "sequence") return as_text(v) || as<ListRef>(v) || as<DictRef>(v) || as<Undefined>(v);
  if (name == "iterable") return as_text(v) || as<ListRef>(v) || as<DictRef>(v) || as<Undefined>(v);
  if (name == "boolean") return as<bool>(v);
  if (name == "true" || name == "false") return as<bool>(v) && *as<bool>(v) == (name == "true");
  if (name == "integer") return as<int64_t>(v);
  if (name == "float") return as<double>(v);
  if (name == "number") return as<int64_t>(v) || as<double>(v) || as<bool>(v);
  if (name == "callable") return as<Callable>(v) || as<const Statement*>(v);
  if (name == "odd" || name == "even") {
    const Value r = arithmetic(budget, "%", v, int64_t{2});
    return equal(budget, r, int64_t{name == "odd"});
  }
  const Value* other = args.get(0, "other");
  const auto need = [&]() -> const Value& {
    if (!other) budget.fail(fmt::format("the test \"{}\" needs a value to compare with", printable(name, 40)));
    return *other;
  };
  if (name == "divisibleby") return equal(budget, arithmetic(budget, "%", v, need()), int64_t{0});
  if (name == "eq" || name == "equalto" || name == "==") return equal(budget, v, need());
  if (name == "ne" || name == "!=") return !equal(budget, v, need());
  if (name == "in") return contains(budget, need(), v);
  if (name == "lt" || name == "<") return compare(budget, v, need()) < 0;
  if (name == "le" || name == "<=") return compare(budget, v, need()) <= 0;
  if (name == "gt" || name == ">") return compare(budget, v, need()) > 0;
  if (name == "ge" || name == ">=") return compare(budget, v, need()) >= 0;
  budget.fail(fmt::format("the test \"{}\" is not supported", printable(name, 40)));
}

std::string format_date(Budget& budget, const std::string& date, const std::string& format) {
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0;
  const auto digits = [&](size_t at, size_t n, int& value) {
    if (at + n > date.size()) return false;
    const auto r = std::from_chars(date.data() + at, date.data() + at + n, value);
    return r.ec == std::errc{} && r.ptr == date.data() + at + n;
  };
  const bool day = digits(0, 4, y) && digits(5, 2, mo) && digits(8, 2, d) && date[4] == '-' && date[7] == '-' && mo >= 1 && mo <= 12 && d >= 1 &&
                   d <= 31 && y >= 1;
  const bool time = date.size() == 10 || (date.size() == 19 && digits(11, 2, h) && digits(14, 2, mi) && digits(17, 2, s));
  if (!day || !time) budget.fail(fmt::format("the date \"{}\" is not YYYY-MM-DD or YYYY-MM-DDThh:mm:ss", printable(date, 40)));
  static constexpr std::array<const char*, 12> kMonths{"January", "February", "March",     "April",   "May",      "June",
                                                       "July",    "August",   "September", "October", "November", "December"};
  static constexpr std::array<const char*, 7> kDays{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
  static constexpr std::array<int, 12> kShift{0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};  // Sakamoto's day of the week
  const int yy = y - (mo < 3), weekday = (yy + yy / 4 - yy / 100 + yy / 400 + kShift[static_cast<size_t>(mo - 1)] + d) % 7;
  const std::string month = kMonths[static_cast<size_t>(mo - 1)], week = kDays[static_cast<size_t>(weekday)];
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    switch (++i < format.size() ? format[i] : '\0') {
      case 'd':
        out += fmt::format("{:02}", d);
        break;
      case 'm':
        out += fmt::format("{:02}", mo);
        break;
      case 'Y':
        out += fmt::format("{:04}", y);
        break;
      case 'y':
        out += fmt::format("{:02}", y % 100);
        break;
      case 'H':
        out += fmt::format("{:02}", h);
        break;
      case 'I':
        out += fmt::format("{:02}", h % 12 == 0 ? 12 : h % 12);
        break;
      case 'p':
        out += h < 12 ? "AM" : "PM";
        break;
      case 'M':
        out += fmt::format("{:02}", mi);
        break;
      case 'S':
        out += fmt::format("{:02}", s);
        break;
      case 'B':
        out += month;
        break;
      case 'b':
        out += month.substr(0, 3);
        break;
      case 'A':
        out += week;
        break;
      case 'a':
        out += week.substr(0, 3);
        break;
      case '%':
        out += '%';
        break;
      default:
        budget.fail(fmt::format("strftime_now: the format \"{}\" is not supported", printable(format, 40)));
    }
  }
  return out;
}

}  // namespace kerf::jinja
