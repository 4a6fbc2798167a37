#include "core/error.h"

#include <fmt/format.h>

#include "core/text.h"

namespace kerf {
namespace {

std::string join(const std::string& what, const std::string& where, const std::string& hint) {
  std::string line = what;
  if (!where.empty()) line += ": " + where;
  if (!hint.empty()) line += ": " + hint;
  return line;
}

std::string describe(const FileError::At& at) {
  std::string line = printable(at.path);
  if (at.offset) line += fmt::format(": offset {}", *at.offset);
  if (!at.field.empty()) line += ": " + at.field;
  if (!at.expected.empty()) line += ": expected " + at.expected;
  if (!at.found.empty()) line += (at.expected.empty() ? ": " : ", got ") + at.found;
  if (!at.hint.empty()) line += " (" + at.hint + ")";
  return line;
}

}  // namespace

Error::Error(ErrorKind k, std::string what_happened, std::string at, std::string how_to_fix)
    : std::runtime_error(join(what_happened, at, how_to_fix)),
      kind(k),
      message(std::move(what_happened)),
      where(std::move(at)),
      hint(std::move(how_to_fix)) {}

FileError::FileError(At a) : Error(ErrorKind::bad_file, describe(a)), at(std::move(a)) {}

void broken(const char* file, int line, const std::string& what) {
  throw std::logic_error(fmt::format("{}:{}: internal error: {} (please report this)", file, line, what));
}

}  // namespace kerf
