#pragma once
/// A trained model as a run leaves it: RUN/stages/NAME/model with config.json, model.safetensors, cohort_tokenizer.json, cohort_model.json.

#include <memory>
#include <string>

#include "core/model/causal_lm.h"
#include "core/text/template.h"
#include "core/text/tokenizer.h"

namespace cohort::launcher {

struct ModelFolder {
  std::unique_ptr<model::CausalLM> model;
  std::unique_ptr<text::Tokenizer> tokenizer;
  const text::PromptTemplate* prompt_template = nullptr;

  int64_t positions() const { return model->architecture().max_position_embeddings; }
};

/// The template that FOLDER/cohort_model.json names, or `template_name` where that is not empty. InputError for none.
const text::PromptTemplate& folder_template(const std::string& folder, const std::string& template_name);

/// `template_name` takes the place of the one that cohort_model.json names; with it that file need not exist. InputError for a folder that
/// is not complete or holds no language model.
ModelFolder load_model_folder(const std::string& folder, const std::string& template_name);

/// Tokens that an answer may have after a prompt of `prompt` tokens: `wanted`, or where that is 0, `fallback` or what the model's positions
/// leave. InputError when they do not leave that.
int64_t answer_length(int64_t positions, int64_t prompt, int64_t wanted, int64_t fallback);

}  // namespace cohort::launcher
