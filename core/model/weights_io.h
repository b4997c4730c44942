#pragma once
/// A model in a folder, as Hugging Face lays it out: config.json and model.safetensors with the published tensor names
/// ("model.layers.3.mlp.experts.5.up_proj.weight"; a tied head is not stored).

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/model/causal_lm.h"

namespace cohort::model {

/// Published name → tensor, views into the model: what is written and read.
std::vector<std::pair<std::string, at::Tensor>> named_tensors(const CausalLM& model);

/// Writes config.json and model.safetensors into an existing folder, durable but not atomic: use a folder that is renamed into place.
void save_model(const CausalLM& model, const std::string& folder);

/// Only the config. InputError when it is missing or not supported.
Architecture load_architecture(const std::string& folder);

/// InputError naming every tensor that is missing, unexpected, of another shape, or not finite.
/// InputError when config.json describes a large model and model.safetensors holds less than half of it: looked at before memory for them
/// is taken. Reads the header of the file only.
void check_model_folder(const std::string& folder);

std::unique_ptr<CausalLM> load_model(const std::string& folder, ComputeType type = ComputeType::kFloat32, Head head = Head::kLanguageModel);
void load_weights(CausalLM& model, const std::string& folder);

}  // namespace cohort::model
