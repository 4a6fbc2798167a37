// One exception type for everything a user can cause. It carries what is needed to print one line for a person
// ("error: what: where: how to fix") or an object for a program (--json), and the exit code the CLI contract promises.
#pragma once
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace kerf {

/// The value is the process exit code (README, "Exit codes").
enum class ErrorKind : int { runtime = 1, usage = 2, bad_file = 3, memory = 4, check = 5, interrupted = 130 };

struct Error : std::runtime_error {
  /// `what_happened: where: how_to_fix`; empty parts are left out.
  Error(ErrorKind kind, std::string what_happened, std::string where = {}, std::string how_to_fix = {});
  ErrorKind kind;
  std::string message, where, hint;
};

/// A file that is not what it must be. The line reads
/// `PATH: offset N: FIELD: expected E, got G (hint)`; offset is absent for relations between fields.
struct FileError : Error {
  struct At {
    std::string path;
    std::optional<uint64_t> offset{};
    std::string field{};
    std::string expected{};
    std::string found{};
    std::string hint{};
  };
  explicit FileError(At at);
  At at;
};

/// A promise between our own parts was broken: a bug in kerf, never the user's fault.
[[noreturn]] void broken(const char* file, int line, const std::string& what);

}  // namespace kerf

/// Checked in every build type: an invariant of ours, not a test of user data.
#define KERF_CHECK(condition, text)                               \
  do {                                                            \
    if (!(condition)) ::kerf::broken(__FILE__, __LINE__, (text)); \
  } while (false)
