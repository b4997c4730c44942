#pragma once
/// AdamW over the flat parameters of a model, with gradient clipping and a learning-rate schedule.
///
/// It may be given a range of the parameters only. Then it holds the moments of that range and updates nothing else, and processes with
/// ranges that make up the whole share the work and the memory: ZeRO stage 1 (Rajbhandari et al. 2020, 1910.02054). AdamW treats every
/// number by itself, so the bits are those of one optimizer for all.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "core/model/parameters.h"
#include "core/train/optim_config.h"

namespace cohort::train {

/// Learning rate of optimizer step `step` (from 0) of `total`.
double learning_rate(const OptimConfig& config, int64_t step, int64_t total);

class Optimizer {
 public:
  /// Of the parameters [range.first, range.second) of `parameters`, which must outlive it.
  Optimizer(model::ParameterSet& parameters, const OptimConfig& config, int64_t total_steps, std::pair<int64_t, int64_t> range);
  /// Of all parameters.
  Optimizer(model::ParameterSet& parameters, const OptimConfig& config, int64_t total_steps);

  struct Step {
    double grad_norm = 0.0;  ///< before clipping, of the whole gradient
    double lr = 0.0;
    bool skipped = false;  ///< the gradient was not finite; nothing changed
  };
  /// Updates the range from parameters.grads(), of which only the range is read. `grad_norm`: of the whole gradient (gradient_norm.h), the
  /// same everywhere.
  Step step(double grad_norm);
  /// Takes no step, for a loss that was not finite.
  Step skip(double grad_norm) const;

  int64_t steps() const { return steps_; }  ///< taken; a skipped one does not count
  void set_steps(int64_t steps) { steps_ = steps; }
  std::pair<int64_t, int64_t> range() const { return range_; }
  bool whole() const { return range_.second - range_.first == parameters_.size(); }
  at::Tensor first_moment() const { return m_; }  ///< of the range
  at::Tensor second_moment() const { return v_; }

 private:
  model::ParameterSet& parameters_;
  OptimConfig config_;
  int64_t total_steps_;
  std::pair<int64_t, int64_t> range_;
  int64_t steps_ = 0;
  at::Tensor m_, v_;
};

}  // namespace cohort::train
