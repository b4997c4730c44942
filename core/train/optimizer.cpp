#include "core/train/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/adamw/adamw.h"

namespace cohort::train {

double learning_rate(const OptimConfig& c, int64_t step, int64_t total) {
  if (step < c.warmup_steps) return c.lr * static_cast<double>(step + 1) / static_cast<double>(c.warmup_steps);
  if (c.lr_scheduler == "constant") return c.lr;
  const double span = static_cast<double>(std::max<int64_t>(1, total - c.warmup_steps));
  const double done = std::min(1.0, static_cast<double>(step - c.warmup_steps) / span);
  const double falling = c.lr_scheduler == "cosine" ? 0.5 * (1.0 + std::cos(std::numbers::pi * done)) : 1.0 - done;
  return c.lr * (c.min_lr_ratio + (1.0 - c.min_lr_ratio) * falling);
}

Optimizer::Optimizer(model::ParameterSet& parameters, const OptimConfig& config, int64_t total_steps, std::pair<int64_t, int64_t> range)
    : parameters_(parameters),
      config_(config),
      total_steps_(total_steps),
      range_(range),
      m_(at::zeros({range.second - range.first}, at::kFloat)),
      v_(at::zeros_like(m_)) {}

Optimizer::Optimizer(model::ParameterSet& parameters, const OptimConfig& config, int64_t total_steps)
    : Optimizer(parameters, config, total_steps, {0, parameters.size()}) {}

Optimizer::Step Optimizer::skip(double grad_norm) const { return {grad_norm, learning_rate(config_, steps_, total_steps_), true}; }

Optimizer::Step Optimizer::step(double grad_norm) {
  Step result = skip(grad_norm);
  result.skipped = !std::isfinite(grad_norm);
  if (result.skipped) return result;
  ++steps_;
  const double scale = config_.clip_grad > 0.0 ? std::min(1.0, config_.clip_grad / (grad_norm + 1e-6)) : 1.0;
  const auto mine = [&](const at::Tensor& flat) { return flat.narrow(0, range_.first, range_.second - range_.first); };
  kernels::adamw(mine(parameters_.values()), mine(parameters_.grads()), m_, v_, steps_, scale,
                 {result.lr, config_.betas[0], config_.betas[1], config_.eps, config_.weight_decay});
  return result;
}

}  // namespace cohort::train
