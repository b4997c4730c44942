#include "launcher/model_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/model/weights_io.h"

namespace cohort::launcher {
namespace {

std::string template_of(const std::string& folder) {
  const std::string path = folder + "/cohort_model.json";
  const nlohmann::json object = parse_json(read_file(path, 1 << 16), path);
  if (!object.is_object() || !object.contains("template") || !object["template"].is_string())
    throw InputError(path + ": template: expected the name of a prompt template, found none");
  const std::string name = object["template"].get<std::string>();
  if (!text::is_template(name))
    throw InputError(path + ": template: expected one of " + join(text::template_names()) + ", found \"" + printable(name) + "\"");
  return name;
}

}  // namespace

const text::PromptTemplate& folder_template(const std::string& folder, const std::string& template_name) {
  return text::find_template(template_name.empty() ? template_of(folder) : template_name);
}

ModelFolder load_model_folder(const std::string& folder, const std::string& template_name) {
  ModelFolder result;
  result.prompt_template = &folder_template(folder, template_name);
  result.tokenizer = text::load_tokenizer(folder);
  result.model = model::load_model(folder);
  const int64_t vocabulary = result.model->architecture().vocab_size;
  if (vocabulary < result.tokenizer->vocabulary_size())
    throw InputError(fmt::format("{}: expected a model for the tokenizer's {} tokens, found {}", folder,
                                 result.tokenizer->vocabulary_size(), vocabulary));
  result.prompt_template->render("", *result.tokenizer);  // throws where they do not fit
  return result;
}

int64_t answer_length(int64_t positions, int64_t prompt, int64_t wanted, int64_t fallback) {
  const int64_t room = positions - prompt;
  const int64_t needed = std::max<int64_t>(1, wanted);
  if (room < needed)
    throw InputError(
        fmt::format("prompt and answer: expected at most the model's {} positions, found {} + {} tokens", positions, prompt, needed));
  return wanted > 0 ? wanted : std::min(room, fallback);
}

}  // namespace cohort::launcher
