// Values of the chat-template language: Python's as far as templates can see them. Two things are added: a string knows
// which of its bytes came from a conversation (Text), and everything that copies or visits is paid from a Budget, since
// templates come out of model files: a value such as x = [x, x] sixty times over is small but takes forever to print.
#pragma once
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kerf::jinja {

struct Position {
  int line = 1, column = 1;
};
/// @throws Error(bad_file) "what: chat template, line L, column C".
[[noreturn]] void fail(Position at, const std::string& what);

constexpr int kMaxDepth = 64;  // of nested expressions, blocks and values

/// What one rendering may use up.
class Budget {
 public:
  Position at{};  // of the construct being evaluated, for messages
  [[noreturn]] void fail(const std::string& what) const { jinja::fail(at, what); }
  void steps(int64_t n = 1);
  void bytes(size_t n);

 private:
  int64_t steps_left_ = 1'000'000;
  int64_t bytes_left_ = int64_t{256} << 20;  // of text ever created: a conversation of 1 MB needs about ten times its size
};

/// A UTF-8 string with the byte ranges that came from the conversation.
class Text {
 public:
  Text() = default;
  explicit Text(std::string text, bool from_user = false);
  void append(std::string_view text, bool from_user = false);
  void append(const Text& other) { append_part(other, 0, other.bytes_.size()); }
  void append_part(const Text& other, size_t begin, size_t end);
  Text part(size_t begin, size_t end) const;
  /// The same marks over bytes changed one for one (case folding of ASCII).
  Text with_bytes(std::string bytes) const;

  struct Range {
    size_t begin = 0, end = 0;
  };
  const std::string& str() const { return bytes_; }
  const std::vector<Range>& user_ranges() const { return user_; }
  bool any_user() const { return !user_.empty(); }

 private:
  std::string bytes_;
  std::vector<Range> user_;  // ascending, never touching
};

struct Undefined {
  std::string name;
};
struct None {};
struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Statement;
struct Callable {
  std::string name;  // a global function, or a method that was not called
};

using TextRef = std::shared_ptr<const Text>;
using ListRef = std::shared_ptr<const List>;
using DictRef = std::shared_ptr<const Dict>;
using Value = std::variant<Undefined, None, bool, int64_t, double, TextRef, ListRef, DictRef, std::shared_ptr<Namespace>, std::shared_ptr<const Loop>,
                           const Statement*, Callable>;

struct List {
  std::vector<Value> items{};
  bool tuple = false;
  int depth = 1;
};
struct Dict {
  std::vector<std::pair<Text, Value>> entries{};  // in order of insertion
  int depth = 1;
  const Value* find(std::string_view key) const;
};
struct Namespace {  // the only mutable value; never inside another, so that no cycle can come about
  std::vector<std::pair<std::string, Value>> entries{};
};
struct Loop {
  ListRef items{};
  size_t index = 0;
};

Value text(std::string s, bool from_user = false);
Value text(Text t);
/// Containers check what they hold: depth at most kMaxDepth, no namespaces or loops. Each item costs a step.
Value list(Budget& budget, std::vector<Value> items, bool tuple = false);
Value dict(Budget& budget, std::vector<std::pair<Text, Value>> entries);
/// A string of the document is marked as the conversation's, except a role that is a plain word.
Value from_json(Budget& budget, const nlohmann::ordered_json& j, bool from_user, int depth = 1);

template <class T>
const T* as(const Value& v) {
  return std::get_if<T>(&v);
}
const Text* as_text(const Value& v);

std::string_view type_name(const Value& v);
bool truthy(const Value& v);
bool equal(Budget& budget, const Value& a, const Value& b);
/// < 0, 0, > 0 for numbers, strings and lists. @throws for values that have no order.
int compare(Budget& budget, const Value& a, const Value& b);
bool contains(Budget& budget, const Value& container, const Value& item);
/// What a loop over the value goes through: items, keys or characters. @throws if it can not be iterated.
ListRef iterate(Budget& budget, const Value& v);
/// Number of items, entries or code points; nullopt if the value has no length.
std::optional<int64_t> length(const Value& v);
/// The text {{ v }} writes: Python's str().
Text to_text(Budget& budget, const Value& v);
/// json.dumps(v, ensure_ascii=False, indent=indent); indent < 0: one line with ", " and ": ".
Text to_json(Budget& budget, const Value& v, int indent, int level = 0);

/// Byte offset of each code point, and the end. Bytes that are not UTF-8 count as characters.
std::vector<size_t> code_points(std::string_view s);
/// Bytes of the whitespace character (Python's str.isspace) at s[i], 0 if it is none.
size_t space_at(std::string_view s, size_t i);

}  // namespace kerf::jinja
