// A parsed template. Chains (a + b + c, a.b.c, x|f|g, or/and) are one node with many children, so the depth of the tree
// is the depth of brackets and blocks in the source, which the parser limits to kMaxDepth.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "loaders/chat/jinja_value.h"

namespace kerf::jinja {

struct Expr;

/// One step behind a primary expression.
struct Postfix {
  enum class Kind : uint8_t { attribute, item, slice, call, filter, test };
  Kind kind{};
  Position at{};
  std::string name{};                                // attribute, filter, test
  bool negated = false;                              // test: "is not"
  std::vector<Expr> args;                            // item: 1; slice: start, stop, step (kind absent if left out)
  std::vector<std::pair<std::string, Expr>> kwargs;  // (no initializers: Expr is not complete yet)
};

struct Expr {
  enum class Kind : uint8_t { absent, literal, name, list, tuple, dict, any_of, all_of, negation, minus, plus, compare, arithmetic, choice, postfix };
  Kind kind = Kind::absent;
  Position at{};
  Value literal{};
  std::string name{};
  std::vector<Expr> children{};        // dict: key, value, ..; choice: condition, then, else; postfix: the base
  std::vector<std::string> symbols{};  // compare, arithmetic: between children i and i+1
  std::vector<Postfix> steps{};
};

struct Statement {
  enum class Kind : uint8_t { text, output, loop, branch, set, set_block, macro, leave, next, block };
  Kind kind{};
  Position at{};
  std::string name{};                  // text: the text; macro: its name; set: attribute of the namespace targets[0], or ""
  std::vector<std::string> targets{};  // loop and set: names; macro: parameters
  Expr value{};                        // output, set; loop: what to iterate; block as an arm of a branch: its condition (absent: else)
  Expr filter{};                       // loop: "if"; set_block: filters on the captured text
  std::vector<Expr> defaults{};        // macro: one per parameter, absent if it has none
  std::vector<Statement> body{};       // branch: its arms, each a block
  std::vector<Statement> otherwise{};  // loop: its else
};

/// @throws Error(bad_file) naming what is wrong or not supported, with line and column.
std::vector<Statement> parse(std::string_view source);

}  // namespace kerf::jinja
