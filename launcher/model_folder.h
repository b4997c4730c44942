#pragma once
/// A model in a folder: as a run leaves it (RUN/stages/NAME/model with config.json, model.safetensors, cohort_tokenizer.json,
/// cohort_model.json), or as published.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/model/causal_lm.h"
#include "core/text/template.h"
#include "core/text/tokenizer.h"

namespace cohort::launcher {

struct ModelFolder {
  std::unique_ptr<model::CausalLM> model;
  std::unique_ptr<text::Tokenizer> tokenizer;           ///< null where the folder has none, of load_published_folder
  std::optional<text::PromptTemplate> prompt_template;  ///< none where none is named, of load_published_folder
  std::vector<int32_t> end_ids;                         ///< an answer ends at any of them

  /// Ids without a token are never sampled from now on. Not where a model is scored: its probabilities then are others.
  void mask_missing_tokens();
  int64_t positions() const { return model->architecture().max_position_embeddings; }
};

/// What FOLDER/cohort_model.json says of prompts; another template where `template_name` is not empty; "model" for a folder that is no
/// run's and has a tokenizer.json. InputError for none.
text::PromptConfig folder_prompt(const std::string& folder, const std::string& template_name);

/// `template_name` takes the place of the one that cohort_model.json names; with it that file need not exist. InputError for a folder that
/// is not complete or holds no language model.
ModelFolder load_model_folder(const std::string& folder, const std::string& template_name,
                              model::ComputeType type = model::ComputeType::kFloat32);

/// A folder that may be no run's: config.json and weights, and what there is of a tokenizer and a template. `with_tokenizer` false: for
/// token ids alone, the tokenizer is not looked at.
ModelFolder load_published_folder(const std::string& folder, const std::string& template_name, model::ComputeType type,
                                  bool with_tokenizer);

/// What --dtype says: "fp32" or "bf16".
model::ComputeType compute_type_named(const std::string& dtype);

/// Tokens that an answer may have after a prompt of `prompt` tokens: `wanted`, or where that is 0, `fallback` or what the model's positions
/// leave. InputError when they do not leave that.
int64_t answer_length(int64_t positions, int64_t prompt, int64_t wanted, int64_t fallback);

}  // namespace cohort::launcher
