#pragma once
/// Packed answers: how core/rl lays out a batch.
///
/// Suffixes say the shape: B answers ("sequences"), N response tokens of all of them one after the other. There is no padding and no
/// prompt: every one of the N tokens was sampled by the policy. A micro-batch always holds whole answers.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace cohort::rl {

/// Which answer each packed token belongs to.
struct Packing {
  at::Tensor sequence_N;  ///< int64, ascending, in [0, sequences)
  int64_t sequences = 0;  ///< B; an answer may have no token

  /// From the number of response tokens of each answer.
  static Packing from_lengths(const std::vector<int64_t>& lengths);

  int64_t tokens() const;

  /// Sum over the tokens of each answer: [N] → [B], float64. Adds in token order, and an answer's sum never depends on its
  /// neighbours, so it is bitwise the same in any micro-batch (on CPU; CUDA needs torch's deterministic algorithms).
  at::Tensor sum(const at::Tensor& values_N) const;

  /// Mean over the tokens of each answer, 0 where it has none: [N] → [B], float64.
  at::Tensor mean(const at::Tensor& values_N) const;

  /// Gives every token the value of its answer: [B] → [N].
  at::Tensor spread(const at::Tensor& values_B) const;
};

}  // namespace cohort::rl
