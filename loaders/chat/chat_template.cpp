#include "loaders/chat/chat_template.h"

#include "core/error.h"
#include "loaders/chat/jinja_ast.h"
#include "loaders/chat/jinja_interpreter.h"

namespace kerf {

ChatTemplate::ChatTemplate(std::string_view source) : program_(std::make_shared<const std::vector<jinja::Statement>>(jinja::parse(source))) {}

ChatTemplate ChatTemplate::chatml() {
  return ChatTemplate(
      "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
      "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}");
}

std::string ChatTemplate::Rendered::text() const {
  std::string all;
  for (const Segment& s : segments) all += s.text;
  return all;
}

ChatTemplate::Rendered ChatTemplate::render(const nlohmann::ordered_json& messages, const Options& options) const {
  if (!messages.is_array()) throw Error(ErrorKind::usage, "a conversation is an array of messages");
  if (!options.extra.is_object()) throw Error(ErrorKind::usage, "the template's variables are an object");
  jinja::Budget budget;
  jinja::Variables variables{{"messages", jinja::from_json(budget, messages, true)},
                             {"add_generation_prompt", options.add_generation_prompt},
                             {"bos_token", jinja::text(options.bos_token)},
                             {"eos_token", jinja::text(options.eos_token)}};
  for (const auto& [name, value] : options.extra.items()) {
    std::erase_if(variables, [&name = name](const auto& v) { return v.first == name; });
    variables.emplace_back(name, jinja::from_json(budget, value, true));
  }
  const jinja::Text out = jinja::render(*program_, std::move(variables), options.date, budget);
  Rendered rendered;
  size_t at = 0;
  const auto add = [&](size_t end, bool from_user) {
    if (end > at) rendered.segments.push_back({out.str().substr(at, end - at), from_user});
    at = end;
  };
  for (const auto& range : out.user_ranges()) {
    add(range.begin, false);
    add(range.end, true);
  }
  add(out.str().size(), false);
  return rendered;
}

ChatTemplate::Rendered ChatTemplate::render(const std::vector<Message>& messages, const Options& options) const {
  auto list = nlohmann::ordered_json::array();
  for (const Message& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
  return render(list, options);
}

}  // namespace kerf
