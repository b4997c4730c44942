#include "launcher/model_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/model/end_tokens.h"
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

bool has_file(const std::string& folder, const char* name) { return std::filesystem::exists(folder + "/" + name); }

void check_tokenizer(const ModelFolder& m, const std::string& folder) {
  const int64_t vocabulary = m.model->architecture().vocab_size;
  if (vocabulary < m.tokenizer->vocabulary_size())
    throw InputError(
        fmt::format("{}: expected a model for the tokenizer's {} tokens, found {}", folder, m.tokenizer->vocabulary_size(), vocabulary));
  m.model->set_missing_tokens(m.tokenizer->missing_ids());
  if (m.prompt_template) m.prompt_template->render("", *m.tokenizer);  // throws where they do not fit
}

}  // namespace

const text::PromptTemplate& folder_template(const std::string& folder, const std::string& template_name) {
  return text::find_template(template_name.empty() ? template_of(folder) : template_name);
}

ModelFolder load_model_folder(const std::string& folder, const std::string& template_name, model::ComputeType type) {
  ModelFolder result;
  result.prompt_template = &folder_template(folder, template_name);
  result.tokenizer = text::load_tokenizer(folder);
  result.model = model::load_model(folder, type);
  check_tokenizer(result, folder);
  result.end_ids = result.tokenizer->end_ids();
  return result;
}

ModelFolder load_published_folder(const std::string& folder, const std::string& template_name, model::ComputeType type,
                                  bool with_tokenizer) {
  ModelFolder result;
  const bool named = !template_name.empty() || has_file(folder, "cohort_model.json");
  if (with_tokenizer && named) result.prompt_template = &text::find_template(template_name.empty() ? template_of(folder) : template_name);
  if (with_tokenizer && (named || has_file(folder, text::kTokenizerFile) || has_file(folder, "tokenizer.json")))
    result.tokenizer = text::load_tokenizer(folder);
  result.model = model::load_model(folder, type);
  if (result.tokenizer) check_tokenizer(result, folder);
  result.end_ids = result.tokenizer ? result.tokenizer->end_ids() : std::vector<int32_t>();
  if (result.end_ids.empty()) result.end_ids = model::read_end_tokens(folder, result.model->architecture().vocab_size);
  return result;
}

model::ComputeType compute_type_named(const std::string& dtype) {
  return dtype == "bf16" ? model::ComputeType::kBFloat16 : model::ComputeType::kFloat32;
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
