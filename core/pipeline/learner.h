#pragma once
/// One optimizer step on a batch that the team shares.
///
/// The batch is cut into trainer.reduction_slots parts by position; each member works on its share of them, and gradients and sums are
/// added in slot order (core/train/gradient_tree.h), so that the result has the same bits for any team size that divides the number of
/// slots.
///
/// Where members share the routed experts (Team::expert_exchange), they run their slots in step, the first of each, then the second, and
/// one that has fewer micro-batches in its slot joins the others' with no tokens. Each keeps the gradients of its experts apart by member,
/// so that they are added in slot order too. To the sum over the team it brings those of its experts and zeros for the others.
///
/// Where the optimizer has a slice of the parameters only (trainer.optimizer_sharding), gradients are reduced to slices, each member
/// updates its own and the slices are handed round: ZeRO-1, with the bits of the other way.
///
/// Where the parameters are divided too (trainer.parameter_sharding), the members run their slots in step as well, layers are gathered
/// while they run (CausalLM::use_layers) and nothing is handed round after the update. Gradients are whole until they are reduced.
///
/// Only members that train take steps. The others may make a Learner and ask it who owns what.

#include <functional>
#include <vector>

#include "core/model/causal_lm.h"
#include "core/pipeline/recipe.h"
#include "core/pipeline/team.h"
#include "core/train/optimizer.h"

namespace cohort::pipeline {

class Learner {
 public:
  /// Everything is borrowed. Where the model is sharded, the optimizer has this member's slice. `router_bias_update_rate` and
  /// `aux_loss_coeff` balance the experts (0 in RL unless asked for).
  Learner(model::CausalLM& model, train::Optimizer& optimizer, Team& team, int64_t slots, double router_bias_update_rate,
          double aux_loss_coeff);

  struct Result {
    train::Optimizer::Step optimizer;
    std::vector<double> sums;  ///< what `work` returned, added up over the batch
    double loss() const { return sums.front(); }
  };

  /// Runs forward and backward of items [begin, end) of the batch, adding gradients; returns sums to be added over the batch, always the
  /// same number of them, the loss first: where it or the gradient is not finite, the optimizer takes no step. The trace, null without a
  /// mixture of experts, must be passed to the forward pass and trace->balance_loss added to the loss.
  using Work = std::function<std::vector<double>(int64_t begin, int64_t end, model::MoeTrace* trace)>;

  /// Whether this member trains.
  bool trains() const { return trainers_ != nullptr; }

  /// Collective among the members that train; the others must not call it. `count` items in `sequences` sequences (for the balance loss).
  /// Every member must call it with the same batch.
  Result step(int64_t count, int64_t sequences, const Work& work);

  /// [begin, end) of the slots that this member works on; a member that does not train has none.
  std::pair<int64_t, int64_t> my_slots() const;
  /// [begin, end) of the items, of `count`, that this member works on.
  std::pair<int64_t, int64_t> my_items(int64_t count) const;
  /// The member that works on item `i` of `count`.
  int owner(int64_t i, int64_t count) const;

 private:
  /// Of the experts that this member shares: adds what the members' tokens gave, in member order, and puts it in its place.
  void collect_experts(const at::Tensor& total) const;
  /// Sums the members' gradients into the model's; of the optimizer's range at least.
  void reduce(const at::Tensor& total);
  double gradient_norm();
  void update_biases(const std::vector<at::Tensor>& loads);

  model::CausalLM& model_;
  train::Optimizer& optimizer_;
  Team* trainers_;  ///< null where this member does not train
  int64_t trainer_count_;
  int64_t slots_;
  double bias_rate_, aux_coeff_;
  at::Tensor sums_;  ///< where gradients are summed, from the first step on
};

/// Sums of all members, in slot order: `mine` holds one vector per slot of mine.
std::vector<double> sum_by_slot(Team& team, const std::vector<std::vector<double>>& mine);

}  // namespace cohort::pipeline
