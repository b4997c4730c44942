#pragma once
/// Draws a token from a row of logits by inverting the cumulative distribution at a given uniform number.

#include <cstdint>

namespace cohort::kernels {

struct SampleOptions {
  double temperature = 1.0;  ///< 0: the largest logit, ties by index
  double top_p = 1.0;        ///< nucleus (Holtzman et al. 2020): the smallest set of likeliest tokens with at least this mass
  int64_t top_k = 0;         ///< 0: off
};

struct SampledToken {
  int64_t id;
  float logprob;  ///< under softmax(logits / temperature) before top-k and top-p; at temperature 0 under softmax(logits)
};

/// logits: `vocab_limit` floats; uniform in [0, 1).
SampledToken sample_token(const float* logits, int64_t vocab_limit, const SampleOptions& options, double uniform);

}  // namespace cohort::kernels
