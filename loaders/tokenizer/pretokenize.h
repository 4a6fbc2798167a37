// Pre-tokenization of byte-level vocabularies: text is cut into pieces by regular expressions, and merges never cross a
// piece. The patterns are those the models were trained with, as their tokenizer.json publishes them.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

struct PreFamily {
  std::span<const std::string_view> names{};     // values of tokenizer.ggml.pre, the first is the family's own
  std::span<const std::string_view> patterns{};  // applied one after another, each to every piece the one before left
  bool like_llama3 = false;                      // ignore_merges, and add_bos unless the file says otherwise
};

/// Null if no family has the name.
const PreFamily* find_pre(std::string_view name);
/// All names, for messages.
std::string known_pre_names();

/// Cuts text by the patterns of one family. Immutable: one object serves any number of threads.
class Pretokenizer {
 public:
  explicit Pretokenizer(const PreFamily& family);
  ~Pretokenizer();
  Pretokenizer(Pretokenizer&&) noexcept;

  /// Calls `piece` with every piece of `text`, left to right, without gaps: what a pattern does not match is a piece of
  /// its own. A maximal run of bytes that are not UTF-8 is one piece and ends the text before it, so that any bytes can be
  /// encoded and decoded again; where all of `text` is UTF-8 this changes nothing.
  void split(std::string_view text, const std::function<void(std::string_view)>& piece) const;

 private:
  struct Pattern;
  std::vector<std::unique_ptr<Pattern>> patterns_;
};

}  // namespace kerf
