// Small text helpers shared by messages, plans and tables.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace kerf {

/// Bytes from a file made safe for a terminal: control bytes and invalid UTF-8 as \xNN, cut after `limit` bytes with "...".
std::string printable(std::string_view bytes, size_t limit = 128);

/// 1536 -> "1.5 KiB". Exact bytes belong in JSON; this is for people.
std::string human_bytes(int64_t bytes);

/// Parses "12GiB", "512MiB", "1.5GB", "4096" into bytes. @throws Error(usage) naming the text.
int64_t parse_bytes(std::string_view text);

/// Length of the longest prefix of `s` that does not end inside a UTF-8 character (invalid bytes count as characters).
size_t complete_utf8_prefix(std::string_view s);

/// `s` with each byte that is part of no UTF-8 character replaced by U+FFFD: safe to put into JSON.
std::string valid_utf8(std::string_view s);

}  // namespace kerf
