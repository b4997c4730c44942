#include "core/text/chat/jinja_template.h"

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/jinja/template.h"

namespace cohort::text {
namespace {

std::vector<ChatPart> parts_of(const MarkedText& rendered) {
  std::vector<ChatPart> parts;
  for (size_t begin = 0, end = 0; begin < rendered.size(); begin = end) {
    const bool foreign = rendered.foreign_at(begin);
    while (end < rendered.size() && rendered.foreign_at(end) == foreign) ++end;
    parts.push_back({rendered.text().substr(begin, end - begin), foreign});
  }
  return parts;
}

class JinjaTemplate final : public ChatTemplate {
 public:
  JinjaTemplate(std::string_view source, const std::string& where) : where_(where), template_(source, where) {}

  std::vector<ChatPart> render(const nlohmann::ordered_json& messages, const ChatOptions& options) const override {
    if (!messages.is_array()) throw InputError(where_ + ": expected a list of messages, found " + messages.type_name());
    require_variables(options);
    nlohmann::ordered_json variables = options.variables;
    variables["messages"] = messages;
    variables["add_generation_prompt"] = options.add_generation_prompt;
    for (const char* absent : {"tools", "documents"})
      if (!variables.contains(absent)) variables[absent] = nullptr;
    std::vector<std::pair<std::string, std::string>> names;  // transformers leaves undefined what the tokenizer does not have
    if (!options.bos_token.empty()) names.emplace_back("bos_token", options.bos_token);
    if (!options.eos_token.empty()) names.emplace_back("eos_token", options.eos_token);
    return parts_of(template_.render(names, variables, options.today));
  }

  std::string_view name() const override { return "jinja"; }

 private:
  std::string where_;
  jinja::Template template_;
};

}  // namespace

std::unique_ptr<ChatTemplate> make_jinja_template(std::string_view source, const std::string& where) {
  return std::make_unique<JinjaTemplate>(source, where);
}

}  // namespace cohort::text
