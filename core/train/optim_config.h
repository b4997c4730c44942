#pragma once
/// Optimizer settings of a stage.

#include <string>
#include <vector>

#include "core/config/field.h"

namespace cohort::train {

struct OptimConfig {
  double lr = 1e-3;
  std::vector<double> betas = {0.9, 0.95};
  double eps = 1e-8;
  double weight_decay = 0.0;
  double clip_grad = 1.0;
  std::string lr_scheduler = "constant";
  int64_t warmup_steps = 0;
  double min_lr_ratio = 0.1;

  template <class Visitor>
  void visit(Visitor& v) {
    v.number("lr", lr, config::between(0.0, 1e3), "learning rate");
    v.numbers("betas", betas, config::between(0.0, 1.0), "AdamW's decay of the first and second moment");
    v.rule(betas.size() == 2 && betas[0] < 1.0 && betas[1] < 1.0, "betas", "two numbers below 1",
           std::to_string(betas.size()) + " numbers");
    v.number("eps", eps, config::positive(), "AdamW's eps, added after the bias-corrected root");
    v.number("weight_decay", weight_decay, config::between(0.0, 1e3), "decoupled weight decay");
    v.number("clip_grad", clip_grad, config::at_least(0.0), "largest norm of the gradient; 0 is off");
    v.choice("lr_scheduler", lr_scheduler, {"constant", "cosine", "linear"}, "course of the learning rate after the warm-up");
    v.integer("warmup_steps", warmup_steps, config::between(0, config::kMaxSteps),
              "optimizer steps over which the learning rate rises from 0");
    v.number("min_lr_ratio", min_lr_ratio, config::between(0.0, 1.0), "last learning rate over lr, for cosine and linear");
  }
};

}  // namespace cohort::train
