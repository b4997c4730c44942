#pragma once
/// A model in a folder, as Hugging Face lays it out: config.json and safetensors (sharded_safetensors.h) with the published tensor names
/// ("model.layers.3.mlp.experts.5.up_proj.weight"; a tied head is not stored).

#include <ATen/core/ScalarType.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/model/causal_lm.h"
#include "core/model/sharded_safetensors.h"

namespace cohort::model {

/// Published name → tensor, views into the model: what is written and read.
std::vector<std::pair<std::string, at::Tensor>> named_tensors(const CausalLM& model);

inline constexpr uint64_t kDefaultShardBytes = 5'000'000'000;  ///< as transformers: 5 GB

/// The type in which a floating-point tensor of that name is stored in a model of type `dtype`: `dtype`, but fp32 for the selection biases
/// of routers, which published checkpoints never round.
at::ScalarType stored_dtype(const std::string& name, at::ScalarType dtype);

/// Writes config.json and the weights into an existing folder, durable but not atomic: use a folder that is renamed into place. `dtype`:
/// fp32, bf16 or fp16, rounded to nearest even. Memory beyond the model: one tensor.
void save_model(const CausalLM& model, const std::string& folder, at::ScalarType dtype = at::kFloat,
                uint64_t max_shard_bytes = kDefaultShardBytes);

/// Only the config. InputError when it is missing or not supported.
Architecture load_architecture(const std::string& folder);

/// InputError when config.json describes a large model and the weights hold less than half of it, in numbers or in tensors, or when its
/// rotary tables would take more memory than the weights and 128 MiB: looked at before memory is taken for any of these. Reads headers
/// only.
void check_model_folder(const std::string& folder);

/// InputError naming every tensor that is missing, unexpected or of another shape or kind. Of a tied model that has a head of its own
/// nonetheless, the head is checked when weights are loaded. Returns how many tensors of the files are none of the model's and passed over:
/// layers for multi-token prediction, rotary tables.
size_t check_tensors(const CausalLM& model, const ShardedSafetensors& files);

/// Reads the weights, converted to fp32. Each is read once, in pieces, on all threads that LibTorch may use, straight to where the model
/// keeps it: no second copy of anything. A sharded model gets this member's slice of the parameters and the router biases, and no other
/// byte of a tensor is read. What is passed over is logged. InputError also when a value is not finite, or when the head of a tied model
/// that the files hold differs from the embedding.
void load_weights(CausalLM& model, const ShardedSafetensors& files);

/// A model of a folder. With `sharding` it is sharded from the start.
std::unique_ptr<CausalLM> load_model(const std::string& folder, ComputeType type = ComputeType::kFloat32, Head head = Head::kLanguageModel,
                                     ParameterSharding* sharding = nullptr);

}  // namespace cohort::model
