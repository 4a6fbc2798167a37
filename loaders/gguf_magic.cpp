// What people hand to a GGUF reader by mistake, recognised by its first bytes.
#include <algorithm>
#include <array>
#include <cstring>

#include "loaders/gguf_parse.h"

namespace kerf::gguf {
namespace {

struct Signature {
  std::string_view bytes{}, hint{};
};

constexpr std::string_view kOldGgml = "a pre-GGUF file of 2023; convert the original model again";
constexpr std::string_view kHtml = "an HTML page was downloaded instead of the file";
constexpr std::array<Signature, 13> kSignatures{{
    {"GGML", kOldGgml},
    {"lmgg", kOldGgml},
    {"tjgg", kOldGgml},
    {"fmgg", kOldGgml},
    {"FUGG", "byte-swapped: a big-endian file"},
    {"<!DO", kHtml},
    {"<!do", kHtml},
    {"<htm", kHtml},
    {"vers", "git-lfs pointer, run git lfs pull"},
    {"PK", "zip archive / pytorch .pt; convert it to GGUF"},
    {"\x1f\x8b", "gzip archive; unpack it first"},
    {"{", "a JSON file"},
    {"\x93NUMPY", "a numpy array"},
}};

}  // namespace

std::string_view recognise(std::span<const std::byte> head) {
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  for (const auto& s : kSignatures)
    if (text.starts_with(s.bytes)) return s.hint;
  // Pickle, protocols 2 to 5: the PROTO opcode and its argument. (Python library reference, pickletools.)
  if (text.size() >= 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5) return "python pickle; never loaded";
  // safetensors: u64 header length, then the header, a JSON object.
  if (text.size() >= 9 && text[8] == '{') {
    uint64_t length = 0;
    std::memcpy(&length, text.data(), sizeof length);
    if (length <= 100'000'000) return "safetensors file; use the safetensors loader";
  }
  if (std::all_of(text.begin(), text.end(), [](char c) { return c == 0; })) return "only zeros: an unfinished download?";
  return "";
}

}  // namespace kerf::gguf
