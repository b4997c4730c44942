#pragma once
/// Rotary frequencies of a model: plain, YaRN (Peng et al. 2023, as in DeepSeek-V3's inference/model.py) or Llama 3's scaling.

#include <ATen/core/Tensor.h>

#include <vector>

#include "core/model/architecture.h"

namespace cohort::model {

/// dim/2 inverse frequencies of a rotary width `dim`, scaling applied.
std::vector<double> rope_frequencies(const Architecture& a, int64_t dim);

/// Multiplier on cos and sin: 1 without YaRN; attention_factor where it is given; mscale(factor, mscale) / mscale(factor, mscale_all_dim),
/// or 0.1·ln(factor) + 1 where neither is given.
double rope_amplitude(const RopeScaling& scaling);

/// Softmax scale of attention: 1/sqrt(query width), times m² with m = 0.1·mscale_all_dim·ln(factor) + 1 under YaRN (MLA only).
double attention_scale(const Architecture& a);

struct RopeTable {
  at::Tensor cosine, sine;  ///< [max_position_embeddings, dim/2] fp32
};
RopeTable make_rope_table(const Architecture& a, int64_t dim);

}  // namespace cohort::model
