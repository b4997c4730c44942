#include "core/pipeline/learner.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>

#include "core/base/error.h"
#include "core/train/gradient_norm.h"
#include "core/train/gradient_tree.h"

namespace cohort::pipeline {
namespace {

std::string to_bytes(const std::vector<std::vector<double>>& rows) {
  std::string bytes;
  for (const auto& row : rows) bytes.append(reinterpret_cast<const char*>(row.data()), row.size() * sizeof(double));
  return bytes;
}

/// Loads of the mixture layers of several forward passes, added.
void add_loads(std::vector<at::Tensor>& total, const std::vector<at::Tensor>& load, size_t layers) {
  for (size_t i = 0; i < load.size(); ++i) {
    if (total.size() < layers) total.push_back(at::zeros_like(load[i]));
    total[i % layers].add_(load[i]);
  }
}

}  // namespace

std::vector<double> sum_by_slot(Team& team, const std::vector<std::vector<double>>& mine) {
  const size_t width = mine.front().size();
  std::vector<double> total(width, 0.0);
  for (const std::string& bytes : team.gather(to_bytes(mine))) {
    if (bytes.size() % (width * sizeof(double)) != 0) throw Fault("sum_by_slot: members report different sums");
    std::vector<double> rows(bytes.size() / sizeof(double));
    std::memcpy(rows.data(), bytes.data(), bytes.size());
    for (size_t i = 0; i < rows.size(); ++i) total[i % width] += rows[i];
  }
  return total;
}

Learner::Learner(model::CausalLM& model, train::Optimizer& optimizer, Team& team, int64_t slots, double router_bias_update_rate,
                 double aux_loss_coeff)
    : model_(model),
      optimizer_(optimizer),
      trainers_(team.trainers()),
      trainer_count_(team.trainer_count()),
      slots_(slots),
      bias_rate_(router_bias_update_rate),
      aux_coeff_(aux_loss_coeff) {
  if (slots_ % trainer_count_ != 0)
    throw InputError("trainer.reduction_slots: expected a multiple of the " + std::to_string(trainer_count_) + " ranks that train, found " +
                     std::to_string(slots_));
  if (trains()) model_.share_experts(trainers_->expert_exchange());
  if (model_.sharded() && optimizer_.range() != trainers_->slice(model_.parameters().size()))
    throw Fault("the parameters are divided in other slices than the optimizer");
}

std::pair<int64_t, int64_t> Learner::my_slots() const {
  if (!trains()) return {0, 0};
  const int64_t share = slots_ / trainer_count_;
  return {trainers_->index() * share, (trainers_->index() + 1) * share};
}

std::pair<int64_t, int64_t> Learner::my_items(int64_t count) const {
  const auto [first, last] = my_slots();
  if (first == last) return {0, 0};
  return {train::slot_range(count, slots_, first).first, train::slot_range(count, slots_, last - 1).second};
}

int Learner::owner(int64_t i, int64_t count) const {
  return static_cast<int>(train::slot_of(i, count, slots_) / (slots_ / trainer_count_));
}

Learner::Result Learner::step(int64_t count, int64_t sequences, const Work& work) {
  if (!trains()) throw Fault("a member that does not train was asked for an optimizer step");
  const bool mixture = !model_.router_biases().empty();
  const auto in_use = model_.use_layers();
  const auto [first, last] = my_slots();
  const bool several = last - first > 1;  // slots; the gradient of a single one is summed where it is
  if (several && optimizer_.whole() && !sums_.defined()) sums_ = trainers_->tensor_for_sums(model_.parameters().size());
  train::GradientTree tree(sums_);
  std::vector<std::vector<double>> sums;
  std::vector<at::Tensor> loads;
  for (int64_t slot = first; slot < last; ++slot) {
    model_.zero_gradients();
    model::MoeTrace trace{aux_coeff_ / static_cast<double>(sequences), {}, {}};
    const auto [begin, end] = train::slot_range(count, slots_, slot);
    sums.push_back(work(begin, end, mixture ? &trace : nullptr));
    model_.join_passes();
    if (mixture) add_loads(loads, trace.load, model_.router_biases().size());
    model_.fold_gradients();
    if (several) tree.add(model_.parameters().grads());
  }
  const at::Tensor total = several ? tree.sum() : model_.parameters().grads();
  collect_experts(total);
  reduce(total);
  const double norm = gradient_norm();
  Result result{{}, sum_by_slot(*trainers_, sums)};
  result.optimizer = std::isfinite(result.loss()) ? optimizer_.step(norm) : optimizer_.skip(norm);
  if (!optimizer_.whole() && !model_.sharded() && !result.optimizer.skipped) trainers_->all_gather(model_.parameters().values());
  if (mixture && bias_rate_ > 0.0 && !result.optimizer.skipped) update_biases(loads);
  return result;
}

void Learner::collect_experts(const at::Tensor& total) const {
  for (const auto& [begin, end] : model_.shared_ranges()) {
    const model::ExpertExchange& exchange = *trainers_->expert_exchange();
    const at::Tensor parts = total.narrow(0, begin, end - begin).view({exchange.size(), -1});
    train::GradientTree members;
    for (int64_t i = 0; i < exchange.size(); ++i) members.add(parts[i]);
    const at::Tensor sum = members.sum();
    parts.zero_();
    parts[exchange.index()].copy_(sum);
  }
}

void Learner::reduce(const at::Tensor& total) {
  const auto [begin, end] = optimizer_.range();
  if (optimizer_.whole()) {
    trainers_->sum(total);
  } else {
    trainers_->reduce_scatter(total);
  }
  const at::Tensor gradient = model_.parameters().grads();
  if (!total.is_same(gradient)) gradient.narrow(0, begin, end - begin).copy_(total.narrow(0, begin, end - begin));
}

double Learner::gradient_norm() {
  const at::Tensor gradient = model_.parameters().grads();
  if (optimizer_.whole()) return train::norm_of(train::squares_by_slot(gradient, slots_, {0, slots_}));
  // A member's slice is the parts of its slots, because the number of members divides that of slots.
  std::vector<std::vector<double>> mine;
  for (double squares : train::squares_by_slot(gradient, slots_, my_slots())) mine.push_back({squares});
  return train::norm_of(sum_by_slot(*trainers_, mine));
}

void Learner::update_biases(const std::vector<at::Tensor>& loads) {
  const auto biases = model_.router_biases();
  at::Tensor all = at::zeros({static_cast<int64_t>(biases.size()), biases.front().numel()}, at::kFloat);
  for (size_t i = 0; i < loads.size(); ++i) all[static_cast<int64_t>(i)].copy_(loads[i]);
  trainers_->sum(all);  // counts: exact in any order
  for (size_t i = 0; i < biases.size(); ++i) model::update_router_bias(biases[i], all[static_cast<int64_t>(i)], bias_rate_);
}

}  // namespace cohort::pipeline
