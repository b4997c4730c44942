#pragma once
/// AdamW over the flat parameters of a model, with gradient clipping and a learning-rate schedule.

#include <ATen/core/Tensor.h>

#include "core/model/parameters.h"
#include "core/train/optim_config.h"

namespace cohort::train {

/// Learning rate of optimizer step `step` (from 0) of `total`.
double learning_rate(const OptimConfig& config, int64_t step, int64_t total);

class Optimizer {
 public:
  /// `parameters` must outlive it.
  Optimizer(model::ParameterSet& parameters, const OptimConfig& config, int64_t total_steps);

  struct Step {
    double grad_norm = 0.0;  ///< before clipping
    double lr = 0.0;
    bool skipped = false;  ///< the gradient was not finite; nothing changed
  };
  /// Updates the parameters from parameters.grads().
  Step step();
  /// Takes no step, for a loss that was not finite; the norm is that of the gradient as it is.
  Step skip() const;

  int64_t steps() const { return steps_; }  ///< taken; a skipped one does not count
  void set_steps(int64_t steps) { steps_ = steps; }
  at::Tensor first_moment() const { return m_; }
  at::Tensor second_moment() const { return v_; }

 private:
  model::ParameterSet& parameters_;
  OptimConfig config_;
  int64_t total_steps_;
  int64_t steps_ = 0;
  at::Tensor m_, v_;
};

}  // namespace cohort::train
