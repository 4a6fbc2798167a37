// Runs a parsed template. No I/O and no clock: a template sees the variables it is given and the functions below, and
// pays for all it does from a Budget.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "loaders/chat/jinja_ast.h"

namespace kerf::jinja {

struct Arguments {
  std::vector<Value> list{};
  std::vector<std::pair<std::string, Value>> named{};
  /// Argument i, or the one of that name; null if it was not given.
  const Value* get(size_t i, std::string_view name) const;
};

using Variables = std::vector<std::pair<std::string, Value>>;

constexpr size_t kMaxOutput = size_t{16} << 20;

/// Functions: range, namespace, dict, raise_exception, and strftime_now where `date` ("YYYY-MM-DD" or
/// "YYYY-MM-DDThh:mm:ss") is not empty. @throws Error(bad_file) with line and column.
Text render(const std::vector<Statement>& program, Variables variables, const std::string& date, Budget& budget);

// The library of the language (jinja_builtins.cpp). Each throws for a name that it does not know.
Value apply_filter(Budget& budget, const std::string& name, const Value& v, const Arguments& args);
bool apply_test(Budget& budget, const std::string& name, const Value& v, const Arguments& args);
Value call_method(Budget& budget, const Value& object, const std::string& name, const Arguments& args);
bool has_method(const Value& object, std::string_view name);
Value attribute(Budget& budget, const Value& object, std::string_view name);
Value item(Budget& budget, const Value& object, const Value& key);
Value slice(Budget& budget, const Value& object, const Value& start, const Value& stop, const Value& step);
Value arithmetic(Budget& budget, std::string_view symbol, const Value& a, const Value& b);
std::string format_date(Budget& budget, const std::string& date, const std::string& format);

}  // namespace kerf::jinja
