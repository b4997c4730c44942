// Reinforcement learning with verifiable rewards: GRPO and its relatives (core/rl), as in the algorithm box of DeepSeekMath:
//
//   for step:
//     sample G answers to each of a batch of questions with the current policy         roll_out, core/generate
//     score them                                                                       core/reward
//     advantages inside each group                                                     rl::compute_advantage
//     for each minibatch: minimise the clipped surrogate, one optimizer step each      rl::grpo_loss, Learner
//     every ref_update_interval steps: reference <- policy
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/pipeline/learner.h"
#include "core/pipeline/preference.h"
#include "core/pipeline/rl_batch.h"
#include "core/pipeline/rollout.h"
#include "core/pipeline/skipped_batch.h"
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/training_session.h"
#include "core/rl/advantage.h"
#include "core/rl/dynamic_sampling.h"
#include "core/rl/grpo_loss.h"
#include "core/rl/kl.h"
#include "core/rl/rollout_correction.h"
#include "core/train/gradient_tree.h"

namespace cohort::pipeline {
namespace {

/// What a rollout step produced, the same on all members except `mine`.
struct Rollout {
  std::vector<records::Group> summaries;           ///< everybody's trained groups, by id
  std::vector<std::vector<uint64_t>> minibatches;  ///< group ids of each optimizer step
  std::map<uint64_t, TrainGroup> mine;             ///< the groups this member trains
  std::vector<records::Group> asked;               ///< everybody's groups, with those that were filtered out
  int64_t sample_lines = 0;                        ///< asked, with those that were filtered out
  uint64_t sampled_tokens = 0;
  int64_t rounds = 0;
};

class RlRun {
 public:
  RlRun(const StageContext& c, const RlStage& stage)
      : c_(c),
        stage_(stage),
        algorithm_(stage.algorithm),
        prompt_template_(text::find_template(stage.prompt_template)),
        questions_(stage.data, c.seed()),
        policy_(c.start_model(stage.from, stage.model)),
        preference_(stage.preference_model.empty() ? reward::Preference() : load_preference(c, stage.preference_model)),
        reference_(algorithm_.needs_reference() ? copy_of_policy() : nullptr),
        session_(c, *policy_, reference_.get(), stage.optim, stage.steps, stage.steps * minibatch_count() * algorithm_.ppo_epochs),
        learner_(*policy_, session_.optimizer(), c.team, c.recipe.trainer.reduction_slots, stage.router_bias_update_rate, 0.0) {}

  StageOutput run() {
    if (!session_.has_eval_start) session_.eval_start = evaluate_now(), session_.has_eval_start = true;
    session_.begin();
    for (int64_t step = session_.first_step(); step < stage_.steps; ++step) run_step(step);
    StageOutput out;
    *out.result.mutable_eval() = evaluate_now();
    session_.describe(out.result);
    out.model = std::move(policy_);
    out.prompt_template = stage_.prompt_template;
    return out;
  }

 private:
  int64_t minibatch_count() const { return stage_.train_batch_size / stage_.ppo_mini_batch_size; }

  std::unique_ptr<model::CausalLM> copy_of_policy() const {
    auto copy = std::make_unique<model::CausalLM>(policy_->architecture(), c_.seed(), c_.compute_type());
    copy->copy_from(*policy_);
    return copy;
  }

  records::EvalResult evaluate_now() { return evaluate(c_, *policy_, stage_.prompt_template, stage_.data, preference_); }

  void run_step(int64_t step) {
    Metrics m;
    Stopwatch whole, part;
    m["training/global_step"] = static_cast<double>(step + 1);
    Rollout rollout = roll_out_batch(step);
    m["timing_s/gen"] = part.lap();
    add_reward_metrics(rollout.asked, m);
    prepare(rollout, m);
    m["timing_s/old_log_prob"] = part.lap();
    const uint64_t trained = update(step, rollout, m);
    m["timing_s/update_actor"] = part.lap();
    refresh_reference(step);
    session_.tokens += rollout.sampled_tokens + trained;
    const double seconds = whole.seconds();
    m["perf/total_num_tokens"] = static_cast<double>(rollout.sampled_tokens + trained), m["timing_s/step"] = seconds;
    m["perf/throughput"] = static_cast<double>(rollout.sampled_tokens + trained) / seconds / c_.team.size();
    m["train/num_gen_batches"] = static_cast<double>(rollout.rounds);
    if (c_.recipe.eval.test_freq > 0 && (step + 1) % c_.recipe.eval.test_freq == 0)
      add_validation_metrics(evaluate_now(), c_.recipe.eval.rollout.n, m);
    session_.finish_step(step, m, fmt::format("reward {:.3f} length {:.0f}", *m.find("reward/mean"), *m.find("response_length/mean")));
  }

  /// Samples until there are enough informative groups (DAPO), or once where dynamic sampling is off; then sends each to the member that
  /// trains it.
  Rollout roll_out_batch(int64_t step) {
    const auto scorer = scorer_for(step);
    const RolloutSettings settings{&questions_, &prompt_template_, &stage_.rollout, &scorer};
    const bool filter = algorithm_.filter_groups.enable;
    const size_t wanted = static_cast<size_t>(stage_.train_batch_size);
    Rollout r;
    std::vector<records::Group> mine;
    while (r.rounds < (filter ? algorithm_.filter_groups.max_num_gen_batches : 1) && r.summaries.size() < wanted) {
      std::vector<uint64_t> ids;
      for (int64_t i = 0; i < stage_.train_batch_size; ++i) ids.push_back(session_.cursor++);
      auto groups = roll_out(c_, *policy_, settings, static_cast<uint64_t>(step), ids, static_cast<uint64_t>(session_.optimizer().steps()));
      for (const std::string& line : gather_sample_lines(c_, groups, c_.recipe.run.samples_per_step - r.sample_lines)) {
        session_.write_sample(line);
        ++r.sample_lines;
      }
      for (auto& g : gather_summaries(c_.team, groups)) {
        for (const auto& s : g.samples()) r.sampled_tokens += s.response_length();
        r.asked.push_back(g);
        erase_dropped(scorer, g);
        if (r.summaries.size() < wanted && (!filter || rl::is_informative(g, algorithm_.filter_groups.metric)))
          r.summaries.push_back(std::move(g));
      }
      std::move(groups.begin(), groups.end(), std::back_inserter(mine));
      ++r.rounds;
    }
    deal(step, std::move(mine), scorer, r);
    return r;
  }

  reward::Scorer scorer_for(int64_t step) const {
    reward::RewardConfig weights = stage_.rewards;
    const bool on = weights.preference > 0.0 && step >= weights.preference_from_step;
    if (!on) weights.preference = 0.0;
    weights.preference_from_step = 0;
    return reward::Scorer(weights, prompt_template_, c_.tokenizer, stage_.rollout.max_response_length,
                          on ? preference_ : reward::Preference());
  }

  /// Random minibatches of groups; each group goes to the member whose slot it falls into.
  void deal(int64_t step, std::vector<records::Group> mine, const reward::Scorer& scorer, Rollout& r) {
    const auto order = shuffled(static_cast<int64_t>(r.summaries.size()),
                                RandomStream(c_.seed(), "minibatch/" + c_.stage.name, {static_cast<uint64_t>(step)}));
    std::map<uint64_t, int> owner;
    for (size_t from = 0; from < order.size(); from += static_cast<size_t>(stage_.ppo_mini_batch_size)) {
      std::vector<uint64_t> batch;
      const size_t to = std::min(order.size(), from + static_cast<size_t>(stage_.ppo_mini_batch_size));
      for (size_t i = from; i < to; ++i) batch.push_back(r.summaries[static_cast<size_t>(order[i])].id());
      std::sort(batch.begin(), batch.end());
      for (size_t i = 0; i < batch.size(); ++i)
        owner[batch[i]] = learner_.owner(static_cast<int64_t>(i), static_cast<int64_t>(batch.size()));
      r.minibatches.push_back(std::move(batch));
    }
    // Groups that are not trained come back to the coordinator, so that the ledger sees every group exactly once.
    for (records::Group& g : c_.team.exchange(std::move(mine), [&](uint64_t id) {
           const auto o = owner.find(id);
           return o == owner.end() ? 0 : o->second;
         })) {
      if (!owner.count(g.id())) continue;
      erase_dropped(scorer, g);
      r.mine[g.id()] = to_train_group(g);
    }
  }

  /// Without the answers that are to be dropped; a group in which fewer than two are left has no baseline and goes as a whole.
  void erase_dropped(const reward::Scorer& scorer, records::Group& g) const {
    auto* samples = g.mutable_samples();
    samples->erase(std::remove_if(samples->begin(), samples->end(), [&](const records::Sample& s) { return scorer.dropped(s); }),
                   samples->end());
    if (algorithm_.adv_estimator != "reinforce_plus_plus" && samples->size() < 2) samples->Clear();
  }

  /// Log-probabilities under the old policy and the reference, then advantages.
  void prepare(Rollout& r, Metrics& m) {
    const bool several_updates = r.minibatches.size() > 1 || algorithm_.ppo_epochs > 1;
    recompute_old_ = !algorithm_.rollout_correction.bypass_mode &&
                     (several_updates || algorithm_.rollout_correction.rollout_rs != "none" || algorithm_.use_kl_in_reward);
    if (recompute_old_) {
      fill(r, *policy_, &TrainSample::old_logprob);
      log_mismatch(r, m);
    }
    if (reference_) fill(r, *reference_, &TrainSample::ref_logprob);
    assign_advantages(r, m);
  }

  void fill(Rollout& r, model::CausalLM& model, std::vector<float> TrainSample::*member) {
    const at::NoGradGuard no_grad;
    for (auto& [id, group] : r.mine)
      for_micro_batches(pointers(group), [&](const std::vector<TrainSample*>& samples) {
        std::vector<model::Completion> batch;
        for (const auto* s : samples) batch.push_back(s->tokens);
        const at::Tensor logprob = model::completion_logprobs(model, batch, stage_.rollout.temperature, c_.vocab_limit(model)).logprob_N;
        const float* next = logprob.data_ptr<float>();
        for (auto* s : samples) s->*member = {next, next + s->tokens.completion.size()}, next += s->tokens.completion.size();
      });
  }

  static std::vector<TrainSample*> pointers(TrainGroup& group) {
    std::vector<TrainSample*> out;
    for (TrainSample& s : group) out.push_back(&s);
    return out;
  }

  void for_micro_batches(const std::vector<TrainSample*>& samples,
                         const std::function<void(const std::vector<TrainSample*>&)>& work) const {
    const size_t micro = static_cast<size_t>(c_.recipe.trainer.micro_batch_size);
    for (size_t from = 0; from < samples.size(); from += micro)
      work({samples.begin() + static_cast<std::ptrdiff_t>(from),
            samples.begin() + static_cast<std::ptrdiff_t>(std::min(samples.size(), from + micro))});
  }

  /// How far sampling and training log-probabilities are apart: 0 on the CPU by construction, and looked at every step.
  void log_mismatch(const Rollout& r, Metrics& m) {
    rl::RolloutMismatch mine;
    for (const auto& [id, group] : r.mine)
      for (const TrainSample& s : group) {
        const auto packed = pack_samples({&s});
        mine.add(rl::rollout_mismatch(packed.old_logprob_N, packed.rollout_logprob_N, packed.packing));
      }
    report_mismatch(mine, m);
  }

  void report_mismatch(const rl::RolloutMismatch& mine, Metrics& m) {
    rl::RolloutMismatch total;
    for (const std::string& bytes : c_.team.gather(std::string(reinterpret_cast<const char*>(&mine), sizeof mine))) {
      rl::RolloutMismatch part;
      if (bytes.size() != sizeof part) throw Fault("mismatch metrics: a member sent something else");
      std::memcpy(&part, bytes.data(), sizeof part);
      total.add(part);
    }
    for (const auto& [name, value] : total.metrics()) m[name] = value;
  }

  /// Baselines look at all groups of the batch, on every member alike; each keeps the advantages of its own samples.
  void assign_advantages(Rollout& r, Metrics& m) {
    std::vector<double> rewards;
    std::vector<int64_t> groups, lengths;
    std::vector<std::pair<uint64_t, size_t>> places;
    for (size_t g = 0; g < r.summaries.size(); ++g)
      for (int i = 0; i < r.summaries[g].samples_size(); ++i) {
        const records::Sample& s = r.summaries[g].samples(i);
        rewards.push_back(s.total_reward()), groups.push_back(static_cast<int64_t>(g)), lengths.push_back(s.response_length());
        places.emplace_back(r.summaries[g].id(), static_cast<size_t>(i));
      }
    if (rewards.empty()) return;
    const rl::Packing packing = rl::Packing::from_lengths(lengths);
    const at::Tensor advantage = rl::compute_advantage(algorithm_, at::tensor(rewards, at::kDouble), at::tensor(groups, at::kLong),
                                                       algorithm_.use_kl_in_reward ? gather_kl(r, places, lengths) : at::Tensor(), packing)
                                     .contiguous();
    const double* next = advantage.data_ptr<double>();
    for (size_t i = 0; i < places.size(); next += lengths[i], ++i)
      if (const auto found = r.mine.find(places[i].first); found != r.mine.end())
        found->second[places[i].second].advantage = {next, next + lengths[i]};
    m["critic/advantages/mean"] = advantage.mean().item<double>();
    m["critic/advantages/max"] = advantage.max().item<double>(), m["critic/advantages/min"] = advantage.min().item<double>();
  }

  /// KL of old policy and reference per token, of everybody's samples in the order of `places`: [N].
  at::Tensor gather_kl(const Rollout& r, const std::vector<std::pair<uint64_t, size_t>>& places, const std::vector<int64_t>& lengths) {
    std::string bytes;  // (group id, floats of its samples) one after the other
    for (const auto& [id, group] : r.mine)
      for (const TrainSample& s : group) {
        const auto packed = pack_samples({&s});
        const at::Tensor& old = packed.old_logprob_N.defined() ? packed.old_logprob_N : packed.rollout_logprob_N;  // bypass_mode
        const at::Tensor kl = rl::kl_estimate(old, packed.ref_logprob_N, algorithm_.kl_penalty).to(at::kDouble).contiguous();
        bytes.append(reinterpret_cast<const char*>(&id), sizeof id);
        bytes.append(reinterpret_cast<const char*>(kl.data_ptr<double>()), sizeof(double) * static_cast<size_t>(kl.numel()));
      }
    std::map<uint64_t, size_t> first;  // group id → its first place
    for (size_t i = places.size(); i-- > 0;) first[places[i].first] = i;
    std::vector<std::vector<double>> kl(places.size());
    std::map<uint64_t, size_t> seen;
    for (const std::string& part : c_.team.gather(bytes))
      for (size_t at = 0; at + sizeof(uint64_t) <= part.size();) {
        uint64_t id;
        std::memcpy(&id, part.data() + at, sizeof id);
        at += sizeof id;
        const auto start = first.find(id);
        if (start == first.end()) throw Fault("KL in the reward: a member sent an unknown group");
        const size_t place = start->second + seen[id]++, size = static_cast<size_t>(lengths.at(place)) * sizeof(double);
        if (part.size() - at < size) throw Fault("KL in the reward: a member sent too few numbers");
        kl[place].resize(static_cast<size_t>(lengths[place]));
        std::memcpy(kl[place].data(), part.data() + at, size);
        at += size;
      }
    std::vector<double> all;
    for (const auto& k : kl) all.insert(all.end(), k.begin(), k.end());
    return at::tensor(all, at::kDouble);
  }

  /// One optimizer step per minibatch and epoch. Returns the tokens trained on.
  uint64_t update(int64_t step, Rollout& r, Metrics& m) {
    rl::LossMetrics losses;
    rl::RolloutMismatch mismatch;
    double steps = 0.0, grad_norm = 0.0, skipped = 0.0;
    uint64_t tokens = 0;
    for (int64_t epoch = 0; epoch < algorithm_.ppo_epochs; ++epoch)
      for (const auto& batch : r.minibatches) {
        // Only before the first update is the trained policy the one that sampled.
        const auto result = update_minibatch(step, batch, r, recompute_old_ || steps > 0.0 ? nullptr : &mismatch);
        if (!result) continue;
        losses.add(from_sums(result->sums));
        grad_norm += result->optimizer.grad_norm, skipped += result->optimizer.skipped ? 1.0 : 0.0, steps += 1.0;
        m["actor/lr"] = result->optimizer.lr;
      }
    for (const auto& g : r.summaries)
      for (const auto& s : g.samples()) tokens += s.response_length() * static_cast<uint64_t>(algorithm_.ppo_epochs);
    if (steps == 0.0) {
      if (c_.team.leads())
        log_warn("{} step {}: no answers to learn from: all dropped or masked, or of equal reward", c_.stage.name, step + 1);
      m["train/skipped"] = 1.0;
      return tokens;
    }
    for (const auto& [name, value] : losses.metrics())
      m[name] = name == "actor/loss" || name == "actor/pg_loss" || name == "actor/kl_loss" ? value / steps : value;
    m["actor/grad_norm"] = grad_norm / steps, m["train/skipped"] = skipped / steps;
    if (!recompute_old_) report_mismatch(mismatch, m);
    return tokens;
  }

  /// Nothing when no token of the minibatch is trained: moments and weight decay must not move the weights then.
  std::optional<Learner::Result> update_minibatch(int64_t step, const std::vector<uint64_t>& batch, Rollout& r,
                                                  rl::RolloutMismatch* mismatch) {
    const int64_t count = static_cast<int64_t>(batch.size());
    const std::optional<rl::AggregationScale> scale = global_scale(batch, r);
    if (!scale) return std::nullopt;
    const auto work = [&](int64_t begin, int64_t end, model::MoeTrace* trace) {
      rl::LossMetrics sums;
      for_micro_batches(samples_of(batch, begin, end, r), [&](const std::vector<TrainSample*>& samples) {
        const PackedSamples p = pack_samples({samples.begin(), samples.end()});
        const RlLoss part = rl_loss(stage_, *policy_, p, c_.vocab_limit(*policy_), *scale, trace);
        if (mismatch) mismatch->add(rl::rollout_mismatch(part.logprob_N, p.rollout_logprob_N, p.packing));
        part.loss.backward();
        sums.add(part.metrics);
      });
      return to_sums(sums);
    };
    const auto result = learner_.step(count, count * stage_.rollout.n, work);
    session_.after_update(step, result.optimizer, result.loss(), [&](records::SkippedBatch& dump) { describe(batch, r, *scale, dump); });
    return result;
  }

  /// My part of a batch that was skipped.
  void describe(const std::vector<uint64_t>& batch, const Rollout& r, const rl::AggregationScale& scale,
                records::SkippedBatch& dump) const {
    dump.set_global_tokens(scale.global_tokens), dump.set_global_sequences(scale.global_sequences);
    dump.set_micro_batches(scale.micro_batches);
    const auto [begin, end] = learner_.my_items(static_cast<int64_t>(batch.size()));
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t id = batch[static_cast<size_t>(i)];
      const TrainGroup& group = r.mine.at(id);
      for (size_t k = 0; k < group.size(); ++k) *dump.add_samples() = to_skipped(group[k], id, static_cast<uint32_t>(k));
    }
  }

  std::vector<TrainSample*> samples_of(const std::vector<uint64_t>& batch, int64_t begin, int64_t end, Rollout& r) const {
    std::vector<TrainSample*> out;
    for (int64_t i = begin; i < end; ++i)
      for (TrainSample& s : r.mine.at(batch[static_cast<size_t>(i)])) out.push_back(&s);
    return out;
  }

  /// Normalisers of the whole minibatch, over all members: counts, exact in any order. Nothing when it has no token.
  std::optional<rl::AggregationScale> global_scale(const std::vector<uint64_t>& batch, Rollout& r) {
    std::vector<std::vector<double>> slots;
    const auto [first, last] = learner_.my_slots();
    for (int64_t slot = first; slot < last; ++slot) {
      rl::AggregationScale scale;
      double micro_batches = 0.0;
      const auto [begin, end] = train::slot_range(static_cast<int64_t>(batch.size()), c_.recipe.trainer.reduction_slots, slot);
      for_micro_batches(samples_of(batch, begin, end, r), [&](const std::vector<TrainSample*>& samples) {
        const PackedSamples p = pack_samples({samples.begin(), samples.end()});
        const at::Tensor old = p.old_logprob_N.defined() ? p.old_logprob_N : p.rollout_logprob_N;
        scale.add(rl::trained_tokens(algorithm_, old, p.rollout_logprob_N, p.truncated_B, p.packing), p.packing);
        micro_batches += 1.0;
      });
      slots.push_back({scale.global_tokens, scale.global_sequences, micro_batches});
    }
    const auto total = sum_by_slot(c_.team, slots);
    if (total[0] == 0.0) return std::nullopt;
    return rl::AggregationScale{total[0], std::max(1.0, total[1]), static_cast<double>(stage_.rollout.max_response_length),
                                std::max(1.0, total[2])};
  }

  static std::vector<double> to_sums(const rl::LossMetrics& x) {
    return {x.loss, x.tokens, x.pg_loss, x.kl_loss, x.entropy, x.pg_clipfrac, x.pg_clipfrac_lower, x.ppo_kl, x.rollout_is};
  }
  static rl::LossMetrics from_sums(const std::vector<double>& s) { return {s[1], s[0], s[2], s[3], s[4], s[5], s[6], s[7], s[8]}; }

  void refresh_reference(int64_t step) {
    const int64_t every = algorithm_.ref_update_interval;
    if (reference_ && every > 0 && (step + 1) % every == 0) reference_->copy_from(*policy_);
  }

  const StageContext& c_;
  const RlStage& stage_;
  const rl::AlgorithmConfig& algorithm_;
  const text::PromptTemplate& prompt_template_;
  data::QuestionSet questions_;
  std::unique_ptr<model::CausalLM> policy_;
  reward::Preference preference_;
  std::unique_ptr<model::CausalLM> reference_;
  TrainingSession session_;
  Learner learner_;
  bool recompute_old_ = false;
};

}  // namespace

StageOutput run_rl(const StageContext& c, const RlStage& stage) { return RlRun(c, stage).run(); }

}  // namespace cohort::pipeline
