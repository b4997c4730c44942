#include "core/text/jinja/template.h"

#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/jinja/evaluator.h"
#include "core/text/jinja/lexer.h"
#include "core/text/jinja/parser.h"

namespace cohort::text::jinja {

Template::Template(std::string_view source, std::string where) : where_(std::move(where)) {
  if (source.size() > kMaxTemplateBytes)
    throw InputError(where_ + ": expected a template of at most " + std::to_string(kMaxTemplateBytes) + " bytes, found " +
                     std::to_string(source.size()));
  if (first_invalid_utf8(source) != source.size()) throw InputError(where_ + ": expected UTF-8, found something else");
  try {
    body_ = parse(normalise_newlines(source));
  } catch (const Problem& problem) {
    throw InputError(where_ + ": " + problem.what());
  }
}

MarkedText Template::render(const std::vector<std::pair<std::string, std::string>>& own, const nlohmann::ordered_json& foreign,
                            const std::tm& today) const {
  Heap heap;
  Evaluator evaluator(heap, today);
  try {
    for (const auto& [name, text] : own) evaluator.define(name, Value::own_text(text));
    for (const auto& [name, value] : foreign.items()) evaluator.define(name, heap.from_json(value));
    return evaluator.run(body_);
  } catch (const Problem& problem) {
    throw InputError(where_ + ": line " + std::to_string(evaluator.line()) + ": " + problem.what());
  }
}

}  // namespace cohort::text::jinja
