// Chat templates: the text a model was trained to see around the turns of a conversation. Model files carry it as a
// Jinja template; this is an interpreter of the part of that language which such templates use (jinja_*.h), rendered as
// transformers does: trim_blocks, lstrip_blocks, loop controls, tojson without ASCII escapes.
#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace kerf {

namespace jinja {
struct Statement;
}

class ChatTemplate {
 public:
  /// @throws Error(bad_file) for a template that is malformed or uses what is not supported, with line and column.
  explicit ChatTemplate(std::string_view source);

  /// The format of ChatML (a turn is <|im_start|>ROLE, newline, text, <|im_end|>, newline), for files without a template.
  static ChatTemplate chatml();

  struct Message {
    std::string role, content;
  };
  struct Options {
    bool add_generation_prompt = true;
    std::string bos_token{}, eos_token{};
    nlohmann::ordered_json extra = nlohmann::ordered_json::object();  // further variables: enable_thinking, tools, ..
    std::string date{};  // "YYYY-MM-DD[Thh:mm:ss]" for strftime_now; empty: the template finds it undefined
  };
  /// A stretch of the prompt. Text of the conversation must be tokenized without recognising special tokens, or a user
  /// could close his own turn and open the assistant's.
  struct Segment {
    std::string text;
    bool from_user = false;
  };
  struct Rendered {
    std::vector<Segment> segments{};  // neighbours differ in from_user
    std::string text() const;
  };

  /// @param messages  array of {"role", "content", ..}; all strings in it and in `extra` count as the conversation's,
  ///                  except a role that is a plain word (letters, digits, "_", "-").
  /// @throws Error(bad_file) if the template refuses the conversation or exceeds its limits (10^6 steps, 16 MiB of
  ///         output, 256 MiB of text on the way, nesting of 64); Error(usage) if `messages` is no array or `extra` no object.
  Rendered render(const nlohmann::ordered_json& messages, const Options& options) const;
  Rendered render(const std::vector<Message>& messages, const Options& options) const;

 private:
  std::shared_ptr<const std::vector<jinja::Statement>> program_;
};

}  // namespace kerf
