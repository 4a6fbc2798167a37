#include "loaders/chat/jinja_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error.h"
#include "core/text.h"

namespace kerf::jinja {

void fail(Position at, const std::string& what) {
  throw Error(ErrorKind::bad_file, what, fmt::format("chat template, line {}, column {}", at.line, at.column), "use --raw, or another template");
}

void Budget::steps(int64_t n) {
  if (n > steps_left_) fail("the template takes more than 1000000 steps");
  steps_left_ -= n;
}

void Budget::bytes(size_t n) {
  if (n > static_cast<size_t>(bytes_left_)) fail("the template makes more than 256 MiB of text");
  bytes_left_ -= static_cast<int64_t>(n);
}

Text::Text(std::string text, bool from_user) : bytes_(std::move(text)) {
  if (from_user && !bytes_.empty()) user_.push_back({0, bytes_.size()});
}

void Text::append(std::string_view text, bool from_user) {
  if (text.empty()) return;
  const size_t begin = bytes_.size();
  bytes_ += text;
  if (!from_user) return;
  if (!user_.empty() && user_.back().end == begin)
    user_.back().end = bytes_.size();
  else
    user_.push_back({begin, bytes_.size()});
}

void Text::append_part(const Text& other, size_t begin, size_t end) {
  const std::string_view from = other.bytes_;
  for (const Range& r : other.user_) {
    if (r.end <= begin) continue;
    if (r.begin >= end) break;
    const size_t first = std::max(begin, r.begin), last = std::min(end, r.end);
    append(from.substr(begin, first - begin));
    append(from.substr(first, last - first), true);
    begin = last;
  }
  append(from.substr(begin, end - begin));
}

Text Text::part(size_t begin, size_t end) const {
  Text t;
  t.append_part(*this, begin, end);
  return t;
}

Text Text::with_bytes(std::string bytes) const {
  Text t = *this;
  t.bytes_ = std::move(bytes);
  return t;
}

const Value* Dict::find(std::string_view key) const {
  for (const auto& [name, value] : entries)
    if (name.str() == key) return &value;
  return nullptr;
}

namespace {

int depth_of(Budget& budget, const Value& v) {
  if (const auto* l = as<ListRef>(v)) return (*l)->depth;
  if (const auto* d = as<DictRef>(v)) return (*d)->depth;
  if (v.index() >= 8) budget.fail(fmt::format("a {} inside a list, a dict or a namespace is not supported", type_name(v)));
  return 0;
}

int checked_depth(Budget& budget, int deepest) {
  if (deepest >= kMaxDepth) budget.fail(fmt::format("values are nested deeper than {}", kMaxDepth));
  return deepest + 1;
}

/// Python's repr of a float: the shortest digits that read back, an exponent below 1e-4 and from 1e16.
std::string float_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x < 0 ? "-inf" : "inf";
  char digits[32];
  const double size = std::abs(x);
  const bool exponent = size != 0 && (size < 1e-4 || size >= 1e16);
  const auto end = std::to_chars(digits, digits + sizeof digits, x, exponent ? std::chars_format::scientific : std::chars_format::fixed).ptr;
  std::string s(digits, end);
  if (!exponent && s.find('.') == std::string::npos) s += ".0";
  return s;
}

void append_repr(Budget& budget, const Value& v, Text& out);

Text repr_of_string(const Text& t) {
  const bool has_single = t.str().find('\'') != std::string::npos, has_double = t.str().find('"') != std::string::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string s(1, quote);
  for (const char c : t.str()) {
    if (c == '\\' || c == quote) s += '\\';
    if (c == '\n')
      s += "\\n";
    else if (c == '\r')
      s += "\\r";
    else if (c == '\t')
      s += "\\t";
    else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      s += fmt::format("\\x{:02x}", c);
    else
      s += c;
  }
  return Text(s + quote, t.any_user());
}

void append_repr(Budget& budget, const Value& v, Text& out) {
  budget.steps();
  if (const Text* t = as_text(v)) {
    budget.bytes(t->str().size());
    out.append(repr_of_string(*t));
  } else if (const auto* l = as<ListRef>(v)) {
    const List& items = **l;
    out.append(items.tuple ? "(" : "[");
    for (size_t i = 0; i < items.items.size(); ++i) {
      if (i) out.append(", ");
      append_repr(budget, items.items[i], out);
    }
    out.append(items.tuple ? items.items.size() == 1 ? ",)" : ")" : "]");
  } else if (const auto* d = as<DictRef>(v)) {
    out.append("{");
    for (size_t i = 0; i < (*d)->entries.size(); ++i) {
      const auto& [key, value] = (*d)->entries[i];
      if (i) out.append(", ");
      out.append(repr_of_string(key));
      out.append(": ");
      append_repr(budget, value, out);
    }
    out.append("}");
  } else {
    out.append(to_text(budget, v));
  }
}

Text json_string(const Text& t) {
  std::string s = "\"";
  for (const char c : t.str()) {
    switch (c) {
      case '"':
        s += "\\\"";
        break;
      case '\\':
        s += "\\\\";
        break;
      case '\n':
        s += "\\n";
        break;
      case '\r':
        s += "\\r";
        break;
      case '\t':
        s += "\\t";
        break;
      case '\b':
        s += "\\b";
        break;
      case '\f':
        s += "\\f";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          s += fmt::format("\\u{:04x}", c);
        else
          s += c;
    }
  }
  return Text(s + '"', t.any_user());
}

bool is_word(std::string_view s) {
  for (const char c : s)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-')) return false;
  return true;
}

std::optional<double> number(const Value& v) {
  if (const auto* b = as<bool>(v)) return *b ? 1 : 0;
  if (const auto* i = as<int64_t>(v)) return static_cast<double>(*i);
  if (const auto* d = as<double>(v)) return *d;
  return std::nullopt;
}

std::optional<int64_t> integer(const Value& v) {
  if (const auto* b = as<bool>(v)) return *b ? 1 : 0;
  if (const auto* i = as<int64_t>(v)) return *i;
  return std::nullopt;
}

}  // namespace

Value text(std::string s, bool from_user) { return std::make_shared<const Text>(std::move(s), from_user); }
Value text(Text t) { return std::make_shared<const Text>(std::move(t)); }

Value list(Budget& budget, std::vector<Value> items, bool tuple) {
  budget.steps(static_cast<int64_t>(items.size()));
  int deepest = 0;
  for (const Value& v : items) deepest = std::max(deepest, depth_of(budget, v));
  return std::make_shared<const List>(List{std::move(items), tuple, checked_depth(budget, deepest)});
}

Value dict(Budget& budget, std::vector<std::pair<Text, Value>> entries) {
  budget.steps(static_cast<int64_t>(entries.size()));
  int deepest = 0;
  for (const auto& [key, v] : entries) deepest = std::max(deepest, depth_of(budget, v));
  return std::make_shared<const Dict>(Dict{std::move(entries), checked_depth(budget, deepest)});
}

Value from_json(Budget& budget, const nlohmann::ordered_json& j, bool from_user, int depth) {
  if (depth > kMaxDepth) budget.fail(fmt::format("the conversation is nested deeper than {}", kMaxDepth));
  switch (j.type()) {
    case nlohmann::json::value_t::boolean:
      return j.get<bool>();
    case nlohmann::json::value_t::number_integer:
      return j.get<int64_t>();
    case nlohmann::json::value_t::number_unsigned: {
      const auto n = j.get<uint64_t>();
      if (n > INT64_MAX) budget.fail(fmt::format("the number {} does not fit in 64 bits", n));
      return static_cast<int64_t>(n);
    }
    case nlohmann::json::value_t::number_float:
      return j.get<double>();
    case nlohmann::json::value_t::string:
      return text(j.get<std::string>(), from_user);
    case nlohmann::json::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : j) items.push_back(from_json(budget, item, from_user, depth + 1));
      return list(budget, std::move(items));
    }
    case nlohmann::json::value_t::object: {
      std::vector<std::pair<Text, Value>> entries;
      for (const auto& [key, value] : j.items()) {
        const bool plain_role = key == "role" && value.is_string() && is_word(value.get_ref<const std::string&>());
        entries.emplace_back(Text(key, from_user), from_json(budget, value, from_user && !plain_role, depth + 1));
      }
      return dict(budget, std::move(entries));
    }
    default:
      return None{};
  }
}

const Text* as_text(const Value& v) {
  const auto* t = as<TextRef>(v);
  return t ? t->get() : nullptr;
}

std::string_view type_name(const Value& v) {
  static constexpr std::string_view kNames[] = {"undefined value", "none", "boolean", "integer", "float", "string", "list", "dict",
                                                "namespace",       "loop", "macro",   "function"};
  return kNames[v.index()];
}

bool truthy(const Value& v) {
  if (v.index() <= 1) return false;
  if (const auto n = number(v)) return *n != 0;
  if (const Text* t = as_text(v)) return !t->str().empty();
  if (const auto n = length(v)) return *n != 0;
  return true;
}

bool equal(Budget& budget, const Value& a, const Value& b) {
  budget.steps();
  if (integer(a) && integer(b)) return *integer(a) == *integer(b);
  if (number(a) && number(b)) return *number(a) == *number(b);
  if (a.index() != b.index()) return false;
  if (const Text* t = as_text(a)) {
    budget.bytes(t->str().size() / 16);
    return t->str() == as_text(b)->str();
  }
  if (const auto* l = as<ListRef>(a)) {
    const auto &x = **l, &y = **as<ListRef>(b);
    if (&x == &y) return true;
    if (x.tuple != y.tuple || x.items.size() != y.items.size()) return false;
    for (size_t i = 0; i < x.items.size(); ++i)
      if (!equal(budget, x.items[i], y.items[i])) return false;
    return true;
  }
  if (const auto* d = as<DictRef>(a)) {
    const auto &x = **d, &y = **as<DictRef>(b);
    if (&x == &y) return true;
    if (x.entries.size() != y.entries.size()) return false;
    for (const auto& [key, value] : x.entries) {
      budget.steps(static_cast<int64_t>(y.entries.size() / 16));
      const Value* other = y.find(key.str());
      if (!other || !equal(budget, value, *other)) return false;
    }
    return true;
  }
  if (const auto* n = as<std::shared_ptr<Namespace>>(a)) return *n == *as<std::shared_ptr<Namespace>>(b);
  return a.index() <= 1;
}

int compare(Budget& budget, const Value& a, const Value& b) {
  budget.steps();
  if (number(a) && number(b)) {
    if (integer(a) && integer(b)) return *integer(a) < *integer(b) ? -1 : *integer(a) > *integer(b);
    return *number(a) < *number(b) ? -1 : *number(a) > *number(b);
  }
  if (as_text(a) && as_text(b)) {
    budget.bytes(as_text(a)->str().size() / 16);
    return as_text(a)->str().compare(as_text(b)->str());
  }
  if (as<ListRef>(a) && as<ListRef>(b)) {
    const auto &x = (*as<ListRef>(a))->items, &y = (*as<ListRef>(b))->items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(budget, x[i], y[i])) return compare(budget, x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  budget.fail(fmt::format("a {} and a {} have no order", type_name(a), type_name(b)));
}

bool contains(Budget& budget, const Value& container, const Value& item) {
  if (const Text* t = as_text(container)) {
    const Text* part = as_text(item);
    if (!part) budget.fail(fmt::format("a {} can not be in a string", type_name(item)));
    budget.bytes(t->str().size() / 16);
    return t->str().find(part->str()) != std::string::npos;
  }
  if (const auto* d = as<DictRef>(container)) return as_text(item) && (*d)->find(as_text(item)->str());
  const ListRef items = iterate(budget, container);
  for (const Value& v : items->items)
    if (equal(budget, v, item)) return true;
  return false;
}

ListRef iterate(Budget& budget, const Value& v) {
  if (const auto* l = as<ListRef>(v)) return *l;
  std::vector<Value> items;
  if (const auto* d = as<DictRef>(v)) {
    for (const auto& [key, value] : (*d)->entries) items.push_back(text(key));
  } else if (const Text* t = as_text(v)) {
    budget.bytes(8 * t->str().size());
    const auto offsets = code_points(t->str());
    budget.steps(static_cast<int64_t>(offsets.size()));
    for (size_t i = 0; i + 1 < offsets.size(); ++i) items.push_back(text(t->part(offsets[i], offsets[i + 1])));
  } else if (!as<Undefined>(v)) {
    budget.fail(fmt::format("a {} can not be iterated", type_name(v)));
  }
  return std::get<ListRef>(list(budget, std::move(items)));
}

std::optional<int64_t> length(const Value& v) {
  if (as<Undefined>(v)) return 0;
  if (const auto* l = as<ListRef>(v)) return static_cast<int64_t>((*l)->items.size());
  if (const auto* d = as<DictRef>(v)) return static_cast<int64_t>((*d)->entries.size());
  if (const Text* t = as_text(v)) {
    int64_t n = 0;
    for (const char c : t->str()) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    const bool stray_start = !t->str().empty() && (static_cast<unsigned char>(t->str()[0]) & 0xC0) == 0x80;  // as code_points() counts it
    return n + stray_start;
  }
  return std::nullopt;
}

Text to_text(Budget& budget, const Value& v) {
  if (const Text* t = as_text(v)) return *t;
  if (as<Undefined>(v)) return {};
  if (as<None>(v)) return Text("None");
  if (const auto* b = as<bool>(v)) return Text(*b ? "True" : "False");
  if (const auto* i = as<int64_t>(v)) return Text(std::to_string(*i));
  if (const auto* d = as<double>(v)) return Text(float_text(*d));
  if (!as<ListRef>(v) && !as<DictRef>(v)) budget.fail(fmt::format("a {} has no text", type_name(v)));
  Text out;
  append_repr(budget, v, out);
  return out;
}

Text to_json(Budget& budget, const Value& v, int indent, int level) {
  budget.steps();
  if (const Text* t = as_text(v)) {
    budget.bytes(t->str().size());
    return json_string(*t);
  }
  if (as<None>(v)) return Text("null");
  if (const auto* b = as<bool>(v)) return Text(*b ? "true" : "false");
  if (as<int64_t>(v) || as<double>(v)) return to_text(budget, v);
  const auto* l = as<ListRef>(v);
  const auto* d = as<DictRef>(v);
  if (!l && !d) budget.fail(fmt::format("a {} can not be written as JSON", type_name(v)));
  const size_t n = l ? (*l)->items.size() : (*d)->entries.size();
  if (n == 0) return Text(l ? "[]" : "{}");
  const std::string line = indent < 0 ? "" : fmt::format("\n{:{}}", "", indent * (level + 1));
  const std::string last = indent < 0 ? "" : fmt::format("\n{:{}}", "", indent * level);
  Text out(l ? "[" : "{");
  for (size_t i = 0; i < n; ++i) {
    if (i) out.append(indent < 0 ? ", " : ",");
    out.append(line);
    if (d) {
      out.append(json_string((*d)->entries[i].first));
      out.append(": ");
    }
    out.append(to_json(budget, l ? (*l)->items[i] : (*d)->entries[i].second, indent, level + 1));
    budget.bytes(out.str().size() / 64);
  }
  out.append(last);
  out.append(l ? "]" : "}");
  budget.bytes(out.str().size());
  return out;
}

std::vector<size_t> code_points(std::string_view s) {
  std::vector<size_t> offsets;
  for (size_t i = 0; i < s.size(); ++i)
    if ((static_cast<unsigned char>(s[i]) & 0xC0) != 0x80) offsets.push_back(i);
  if (!s.empty() && (offsets.empty() || offsets[0] != 0)) offsets.insert(offsets.begin(), 0);
  offsets.push_back(s.size());
  return offsets;
}

size_t space_at(std::string_view s, size_t i) {
  const auto byte = [&](size_t k) -> unsigned { return k < s.size() ? static_cast<unsigned char>(s[k]) : 0; };
  const unsigned a = byte(i), b = byte(i + 1), c = byte(i + 2);
  if ((a >= 9 && a <= 13) || (a >= 0x1C && a <= 0x20)) return 1;
  if (a == 0xC2 && (b == 0x85 || b == 0xA0)) return 2;
  if (a == 0xE1 && b == 0x9A && c == 0x80) return 3;                                                          // U+1680
  if (a == 0xE2 && b == 0x80 && ((c >= 0x80 && c <= 0x8A) || c == 0xA8 || c == 0xA9 || c == 0xAF)) return 3;  // U+2000..200A, 2028, 2029, 202F
  if ((a == 0xE2 && b == 0x81 && c == 0x9F) || (a == 0xE3 && b == 0x80 && c == 0x80)) return 3;               // U+205F, U+3000
  return 0;
}

}  // namespace kerf::jinja
