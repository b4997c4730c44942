#include "launcher/model_folder.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/folder.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/model/end_tokens.h"
#include "core/model/weights_io.h"

namespace cohort::launcher {
namespace {

constexpr const char* kAbout = "cohort_model.json";

bool has_file(const std::string& folder, const char* name) { return std::filesystem::exists(folder + "/" + name); }

void check_tokenizer(const ModelFolder& m, const std::string& folder) {
  const int64_t vocabulary = m.model->architecture().vocab_size;
  if (vocabulary < m.tokenizer->vocabulary_size())
    throw InputError(
        fmt::format("{}: expected a model for the tokenizer's {} tokens, found {}", folder, m.tokenizer->vocabulary_size(), vocabulary));
}

/// Renders a question too: InputError where template and tokenizer do not fit.
text::PromptTemplate prompt_template_of(const text::PromptConfig& prompt, const text::Tokenizer& tokenizer) {
  text::PromptTemplate made = text::make_prompt_template(prompt, tokenizer);
  made.render(made.is_conversation() ? "?" : "", tokenizer);
  return made;
}

/// By the folder's chat template. Token ids, texts and messages can be had where it cannot write a question.
std::optional<text::PromptTemplate> published_prompt_template(const std::string& folder, const text::Tokenizer& tokenizer) {
  try {
    if (tokenizer.chat_template() != nullptr) return prompt_template_of(folder_prompt(folder, ""), tokenizer);
  } catch (const InputError& error) {
    log_warn("no questions: {}", error.problems().front());
  }
  return std::nullopt;
}

}  // namespace

text::PromptConfig folder_prompt(const std::string& folder, const std::string& template_name) {
  const std::string path = folder + "/" + kAbout;
  const Folder files(folder);
  if (has_file(folder, kAbout)) {
    const text::PromptConfig own = text::prompt_from_json(parse_json(files.read(kAbout, 1 << 20), path), path);
    if (template_name.empty() || template_name == own.name) return own;
  }
  text::PromptConfig prompt;
  prompt.name = template_name;
  if (template_name.empty() && has_file(folder, text::kPublishedTokenizerFile)) prompt.name = "model";
  if (prompt.name.empty()) throw InputError(path + ": expected a file that names a prompt template, or --template, found neither");
  return prompt;
}

void ModelFolder::mask_missing_tokens() {
  if (tokenizer) model->set_missing_tokens(tokenizer->missing_ids());
}

ModelFolder load_model_folder(const std::string& folder, const std::string& template_name, model::ComputeType type) {
  ModelFolder result;
  result.tokenizer = text::load_tokenizer(folder);
  result.prompt_template = prompt_template_of(folder_prompt(folder, template_name), *result.tokenizer);
  result.model = model::load_model(folder, type);
  check_tokenizer(result, folder);
  result.mask_missing_tokens();
  result.end_ids = result.tokenizer->end_ids();
  return result;
}

ModelFolder load_published_folder(const std::string& folder, const std::string& template_name, model::ComputeType type,
                                  bool with_tokenizer) {
  ModelFolder result;
  if (with_tokenizer && (!template_name.empty() || text::has_tokenizer(folder))) result.tokenizer = text::load_tokenizer(folder);
  if (result.tokenizer) {
    const bool named = !template_name.empty() || has_file(folder, kAbout);
    result.prompt_template = named ? prompt_template_of(folder_prompt(folder, template_name), *result.tokenizer)
                                   : published_prompt_template(folder, *result.tokenizer);
  }
  result.model = model::load_model(folder, type);
  if (result.tokenizer) check_tokenizer(result, folder);
  result.end_ids = result.tokenizer ? result.tokenizer->end_ids() : model::read_end_tokens(folder, result.model->architecture().vocab_size);
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
