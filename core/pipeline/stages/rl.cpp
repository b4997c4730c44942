// Reinforcement learning with verifiable rewards: GRPO and its relatives (core/rl), as in the algorithm box of DeepSeekMath:
//
//   for step:                                                                       (below, batches may be sampled a few steps ahead)
//     sample G answers to each of a batch of questions with the current policy         roll_out, core/generate
//     score them                                                                       core/reward
//     advantages inside each group                                                     rl::compute_advantage
//     for each minibatch: minimise the clipped surrogate, one optimizer step each      rl::grpo_loss, Learner
//     every ref_update_interval steps: reference <- policy
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/random.h"
#include "core/eval/evaluation.h"
#include "core/pipeline/learner.h"
#include "core/pipeline/partial_batch.h"
#include "core/pipeline/preference.h"
#include "core/pipeline/rl_batch.h"
#include "core/pipeline/rollout.h"
#include "core/pipeline/rollout_schedule.h"
#include "core/pipeline/skipped_batch.h"
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/training_session.h"
#include "core/pipeline/wire.h"
#include "core/rl/advantage.h"
#include "core/rl/dynamic_sampling.h"
#include "core/rl/grpo_loss.h"
#include "core/rl/kl.h"
#include "core/rl/rollout_correction.h"
#include "core/train/checkpoint.h"
#include "core/train/gradient_tree.h"

namespace cohort::pipeline {
namespace {

/// A batch of rollouts that is to be trained on: the same on all members but `groups` and `mine`.
struct Rollout {
  records::RolloutBatch batch;                     ///< everybody's groups as summaries, with those that are not trained on
  std::vector<records::Group> summaries;           ///< of the groups that are trained on, by id
  std::vector<std::vector<uint64_t>> minibatches;  ///< group ids of each optimizer step
  std::map<uint64_t, int> owner;                   ///< group id → the member that trains it
  std::vector<records::Group> groups;              ///< with token ids: those this member trains
  std::map<uint64_t, TrainGroup> mine;             ///< the same, once their turn has come
  uint64_t sampled_tokens = 0;
  int64_t stale = 0;     ///< groups that were left out as too old, or for which there was no room before they would be …
  int64_t rejected = 0;  ///< … and as sampled by other weights than the published ones; not kept in checkpoints
};

/// What a member that rolls out has in its hands before the batch is handed over.
struct Sampled {
  records::RolloutBatch batch;
  std::vector<records::Group> mine;
};

class RlRun {
 public:
  RlRun(const StageContext& c, const RlStage& stage)
      : c_(c),
        stage_(stage),
        algorithm_(stage.algorithm),
        prompt_template_(text::make_prompt_template(stage.prompt, c.tokenizer)),
        questions_(c.questions(stage.data, prompt_template_)),
        policy_(c.start_model(stage.from, stage.model)),
        preference_(stage.preference_model.empty() ? reward::Preference() : load_preference(c, stage.preference_model)),
        reference_(algorithm_.needs_reference() && c.team.trainers() ? copy_of_policy() : nullptr),
        session_(c, *policy_, reference_.get(), stage.optim, stage.steps, stage.steps * minibatch_count() * algorithm_.ppo_epochs),
        learner_(*policy_, session_.optimizer(), c.team, c.recipe.trainer.reduction_slots, stage.router_bias_update_rate, 0.0) {}

  StageOutput run() {
    if (max_staleness() > 0 && !algorithm_.rollout_correction.bypass_mode && c_.team.leads())
      log_warn(
          "{}: cluster.max_staleness is above 0 without algorithm.rollout_correction.bypass_mode: nothing keeps updates near the policy "
          "that "
          "sampled, and learning may suffer",
          c_.stage.name);
    if (!session_.has_eval_start) session_.eval_start = evaluate_now(), session_.has_eval_start = true;
    session_.on_save = [this] { return pending_bytes(); };
    session_.begin();
    restore_pending();
    for (int64_t step = session_.first_step(); step < stage_.steps; ++step) run_step(step);
    if (!carried_.empty() && c_.team.leads())
      log_info("{}: {} questions were under way at the end and are not trained on", c_.stage.name, carried_.size());
    StageOutput out;
    *out.result.mutable_eval() = evaluate_now();
    session_.describe(out.result);
    out.model = std::move(policy_);
    out.prompt = stage_.prompt;
    return out;
  }

 private:
  int64_t minibatch_count() const { return stage_.train_batch_size / stage_.ppo_mini_batch_size; }

  std::unique_ptr<model::CausalLM> copy_of_policy() const {
    auto copy = std::make_unique<model::CausalLM>(policy_->architecture(), std::nullopt, c_.compute_type());
    if (policy_->sharded()) copy->shard_parameters(c_.parameter_sharding());
    copy->copy_from(*policy_);
    return copy;
  }

  records::EvalResult evaluate_now() { return evaluate(c_, *policy_, stage_.prompt, stage_.data, preference_); }

  /// rollout_schedule.h says what is sampled when. What is sampled alongside this step is sampled before it changes the weights; where
  /// other members do it, while these train.
  void run_step(int64_t step) {
    Metrics m;
    Stopwatch whole;
    m["training/global_step"] = static_cast<double>(step + 1);
    while (schedule_.needed_before(step)) hand_over(sample_batch(step), step);
    Rollout rollout = std::move(pending_.front());
    pending_.pop_front();
    const bool more = schedule_.alongside(step);
    Sampled later;
    if (more) later = sample_batch(step);
    m["timing_s/gen"] = rollout.batch.seconds();
    add_reward_metrics({rollout.batch.asked().begin(), rollout.batch.asked().end()}, m);
    if (max_staleness() > 0) add_staleness_metrics(rollout.summaries, static_cast<uint64_t>(step), rollout.stale, m);
    if (partial()) add_partial_metrics(rollout.batch, rollout.summaries, m);
    if (max_staleness() > 0 || rollout.rejected > 0) m["staleness/rejected_groups"] = static_cast<double>(rollout.rejected);
    const uint64_t trained = learner_.trains() ? train(step, rollout, m) : 0;
    Stopwatch part;
    if (more) hand_over(std::move(later), step);
    version_ = c_.team.publish(*policy_, static_cast<uint64_t>(session_.optimizer().steps()));
    m["timing_s/update_weights"] = part.lap();
    session_.tokens += rollout.sampled_tokens + trained;
    const double seconds = whole.seconds();
    m["perf/total_num_tokens"] = static_cast<double>(rollout.sampled_tokens + trained), m["timing_s/step"] = seconds;
    m["perf/throughput"] = static_cast<double>(rollout.sampled_tokens + trained) / seconds / c_.team.size();
    m["train/num_gen_batches"] = static_cast<double>(rollout.batch.rounds());
    const int64_t test_freq = c_.test_freq(stage_.test_freq);
    if (test_freq > 0 && (step + 1) % test_freq == 0) add_validation_metrics(evaluate_now(), c_.recipe.eval.rollout.n, m);
    std::string note = fmt::format("reward {:.3f} length {:.0f}", *m.find("reward/mean"), *m.find("response_length/mean"));
    if (const double* age = m.find("staleness/mean")) note += fmt::format(" staleness {:.1f} dropped {}", *age, rollout.stale);
    if (const double* weight = m.find("rollout_corr/rollout_is_mean"); weight && max_staleness() > 0)
      note += fmt::format(" weight {:.3f}", *weight);
    session_.finish_step(step, m, note);
  }

  /// Everything between a batch and new weights, on the members that train. Returns the tokens trained on.
  uint64_t train(int64_t step, Rollout& rollout, Metrics& m) {
    Stopwatch part;
    for (const records::Group& g : rollout.groups) rollout.mine[g.id()] = to_train_group(g);
    prepare(rollout, m);
    m["timing_s/old_log_prob"] = part.lap();
    const uint64_t trained = update(step, rollout, m);
    m["timing_s/update_actor"] = part.lap();
    refresh_reference(step);
    return trained;
  }

  // ---- Sampling ----------------------------------------------------------------------------------------------------------------------

  int64_t max_staleness() const { return c_.recipe.cluster.max_staleness; }
  bool partial() const { return stage_.rollout.partial_rollout_tokens > 0; }
  /// How many steps ahead batches are sampled. Partial rollouts take what is left of max_staleness; one step ahead hides all that can be.
  int64_t steps_ahead() const { return partial() ? std::min<int64_t>(1, max_staleness() - 1) : max_staleness(); }

  PartialBatch::Limits limits() const {
    const int64_t batch = stage_.train_batch_size;
    const auto under_way = std::llround(stage_.rollout.oversample * static_cast<double>(batch));
    return {.batch = batch,
            .under_way = std::max<int64_t>(batch + 1, under_way),
            .most_done = batch * algorithm_.filter_groups.max_num_gen_batches,
            .max_staleness = static_cast<uint64_t>(max_staleness())};
  }

  /// The next batch, sampled with the weights that `now` begins with: until there are enough informative groups (DAPO), or once where
  /// dynamic sampling is off. Collective among the members that roll out; on the others it is empty.
  Sampled sample_batch(int64_t now) {
    const int64_t step = schedule_.take_next();
    Sampled out;
    Team* team = c_.team.rollouts();
    if (team == nullptr) return out;
    const auto in_use = policy_->use_all();  // once for all rounds
    if (partial()) return sample_parts(step, now, *team);
    Stopwatch clock;
    const auto scorer = scorer_for(step);
    const RolloutSettings settings{&questions_, &prompt_template_, &stage_.rollout, &scorer, &lengths_};
    const bool filter = algorithm_.filter_groups.enable;
    const int wanted = static_cast<int>(stage_.train_batch_size);
    const uint64_t most_rounds = filter ? static_cast<uint64_t>(algorithm_.filter_groups.max_num_gen_batches) : 1;
    records::RolloutBatch& batch = out.batch;
    batch.set_step(static_cast<uint64_t>(step));
    while (batch.rounds() < most_rounds && batch.chosen_size() < wanted) {
      std::vector<uint64_t> ids;
      for (int64_t i = 0; i < stage_.train_batch_size; ++i) ids.push_back(session_.cursor++);
      auto groups = roll_out(c_, *policy_, settings, static_cast<uint64_t>(step), ids, {version_, static_cast<uint64_t>(now)});
      for (std::string& line : gather_sample_lines(*team, c_, groups, c_.recipe.run.samples_per_step - batch.sample_lines_size()))
        batch.add_sample_lines(std::move(line));
      for (auto& g : gather_summaries(*team, groups)) {
        *batch.add_asked() = g;
        lengths_.add(g);
        if (batch.chosen_size() < wanted && may_be_chosen(scorer, g)) batch.add_chosen(g.id());
      }
      std::move(groups.begin(), groups.end(), std::back_inserter(out.mine));
      batch.set_rounds(batch.rounds() + 1);
    }
    batch.set_cursor(session_.cursor);
    batch.set_seconds(clock.seconds());
    return out;
  }

  /// The same with partial rollouts: rounds of a few tokens each, until the batch is full (partial_batch.h).
  Sampled sample_parts(int64_t step, int64_t now, Team& team) {
    Stopwatch clock;
    const auto scorer = scorer_for(step);
    const RolloutSettings settings{&questions_, &prompt_template_, &stage_.rollout, &scorer};
    PartialBatch parts(limits(), static_cast<uint64_t>(step), carried_);
    Sampled out;
    std::map<uint64_t, records::Group> mine;  // those that are done
    do {
      const std::vector<uint64_t> ids = parts.next_round(session_.cursor);
      auto groups = roll_out_parts(c_, *policy_, settings, static_cast<uint64_t>(step), ids, parts, {version_, static_cast<uint64_t>(now)},
                                   stage_.rollout.partial_rollout_tokens);
      for (records::Group& g : gather_parts(team, groups)) {
        const bool informative = is_done(g) && may_be_chosen(scorer, g);
        parts.take(std::move(g), informative);
      }
      for (records::Group& g : groups)
        if (is_done(g)) mine[g.id()] = std::move(g);
      c_.team.put_back(parts.open());
      out.batch.set_rounds(out.batch.rounds() + 1);
    } while (!parts.enough());
    const std::vector<uint64_t> waiting = parts.close(out.batch);
    c_.team.put_back(waiting);
    std::vector<records::Group> my_waiting;
    for (uint64_t id : waiting)
      if (auto group = mine.extract(id)) my_waiting.push_back(std::move(group.mapped()));
    for (records::Group& g : gather_groups(team, my_waiting)) *out.batch.add_carried() = std::move(g);
    std::sort(out.batch.mutable_carried()->begin(), out.batch.mutable_carried()->end(),
              [](const auto& a, const auto& b) { return a.id() < b.id(); });
    for (auto& [id, group] : mine) out.mine.push_back(std::move(group));
    for (std::string& line : gather_sample_lines(team, c_, out.mine, c_.recipe.run.samples_per_step))
      out.batch.add_sample_lines(std::move(line));
    out.batch.set_step(static_cast<uint64_t>(step)), out.batch.set_cursor(session_.cursor);
    out.batch.set_seconds(clock.seconds());
    return out;
  }

  /// Whether dynamic sampling finds the group informative.
  bool may_be_chosen(const reward::Scorer& scorer, records::Group g) const {
    erase_dropped(scorer, g);
    return !algorithm_.filter_groups.enable || rl::is_informative(g, algorithm_.filter_groups.metric);
  }

  /// The weights that `now` begins with, and with partial rollouts those before them that may have sampled.
  void remember_published(int64_t now) {
    const PolicyAge current{version_, static_cast<uint64_t>(now)};
    if (!partial()) published_.clear();
    if (published_.empty() || published_.back() != current) published_.push_back(current);
    if (published_.size() > static_cast<size_t>(max_staleness()) + 1) published_.erase(published_.begin());
  }

  /// Brings a batch to all members, and each group to the one that trains it. What was sampled by other weights than those that `now` began
  /// with is not trained on. Collective.
  void hand_over(Sampled sampled, int64_t now) {
    remember_published(now);
    records::RolloutBatch batch = share_batch(c_.team, std::move(sampled.batch), published_);
    if (batch.step() + 1 != static_cast<uint64_t>(schedule_.next()))
      throw Fault(fmt::format("the batch of step {} came before that of step {}", batch.step(), schedule_.next() - 1));
    session_.cursor = batch.cursor();
    const int64_t rejected = reject_other_weights(batch, published_);
    if (rejected > 0 && c_.team.leads())
      log_warn("{} step {}: {} groups were sampled by other weights than the published ones and are not trained on", c_.stage.name,
               batch.step() + 1, rejected);
    for (const std::string& line : batch.sample_lines()) session_.write_sample(line);
    batch.clear_sample_lines();
    if (batch.dropped() > 0 && c_.team.leads())
      log_warn("{} step {}: {} groups found no place before they would be too old, and are not trained on", c_.stage.name, batch.step() + 1,
               batch.dropped());
    carried_.assign(batch.carried().begin(), batch.carried().end());
    batch.clear_carried();
    Rollout r = to_rollout(std::move(batch));
    r.rejected = rejected;
    // Groups that are not trained come back to the coordinator, so that the ledger sees every group exactly once.
    const auto owner = [&](uint64_t id) {
      const auto o = r.owner.find(id);
      return o == r.owner.end() ? 0 : o->second;
    };
    take_mine(r, c_.team.exchange(std::move(sampled.mine), owner));
    pending_.push_back(std::move(r));
  }

  /// Random minibatches of groups; each group goes to the member whose slot it falls into. Groups that will be too old stay out.
  Rollout to_rollout(records::RolloutBatch batch) const {
    Rollout r;
    const auto scorer = scorer_for(static_cast<int64_t>(batch.step()));
    const std::set<uint64_t> chosen(batch.chosen().begin(), batch.chosen().end());
    for (const records::Group& asked : batch.asked()) {
      for (const auto& s : asked.samples()) r.sampled_tokens += s.response_length();
      if (!chosen.count(asked.id())) continue;
      r.summaries.push_back(asked);
      erase_dropped(scorer, r.summaries.back());
    }
    r.stale = drop_stale(r.summaries, batch.step(), static_cast<uint64_t>(max_staleness())) + static_cast<int64_t>(batch.dropped());
    const auto order =
        shuffled(static_cast<int64_t>(r.summaries.size()), RandomStream(c_.seed(), "minibatch/" + c_.stage.name, {batch.step()}));
    for (size_t from = 0; from < order.size(); from += static_cast<size_t>(stage_.ppo_mini_batch_size)) {
      std::vector<uint64_t> ids;
      const size_t to = std::min(order.size(), from + static_cast<size_t>(stage_.ppo_mini_batch_size));
      for (size_t i = from; i < to; ++i) ids.push_back(r.summaries[static_cast<size_t>(order[i])].id());
      std::sort(ids.begin(), ids.end());
      for (size_t i = 0; i < ids.size(); ++i) r.owner[ids[i]] = learner_.owner(static_cast<int64_t>(i), static_cast<int64_t>(ids.size()));
      r.minibatches.push_back(std::move(ids));
    }
    r.batch = std::move(batch);
    return r;
  }

  void take_mine(Rollout& r, std::vector<records::Group> groups) const {
    const auto scorer = scorer_for(static_cast<int64_t>(r.batch.step()));
    for (records::Group& g : groups) {
      const auto owner = r.owner.find(g.id());
      if (!learner_.trains() || owner == r.owner.end() || owner->second != c_.team.index()) continue;
      generate::require_version_runs(g);
      erase_dropped(scorer, g);
      r.groups.push_back(std::move(g));
    }
  }

  /// Batches that were sampled and not trained on, and the groups that are carried, for the checkpoint. Collective; whole on the leader,
  /// which trains.
  std::string pending_bytes() {
    Team* trainers = c_.team.trainers();
    if (trainers == nullptr || (pending_.empty() && carried_.empty())) return "";
    records::RolloutBatchList list;
    list.mutable_carried()->Assign(carried_.begin(), carried_.end());
    if (partial())
      for (const PolicyAge& age : published_) *list.add_published() = generate::run_of(age);
    for (const Rollout& r : pending_) {
      records::GroupList mine;
      for (const records::Group& g : r.groups) *mine.add_groups() = g;
      records::RolloutBatch& batch = *list.add_batches() = r.batch;
      for (const std::string& bytes : trainers->gather(to_bytes(mine)))
        batch.mutable_groups()->MergeFrom(from_bytes<records::GroupList>(bytes, "checkpoint").groups());
    }
    return to_bytes(list);
  }

  /// Every member looks at all that the checkpoint kept, so that all end alike where it is not what was saved.
  void restore_pending() {
    version_ = static_cast<uint64_t>(session_.optimizer().steps());
    const std::string where = train::step_folder(c_.checkpoint_folder(), session_.first_step());
    auto list = from_bytes<records::RolloutBatchList>(session_.pending, "batches under way", where);
    session_.pending.clear(), session_.pending.shrink_to_fit();
    try {
      std::set<uint64_t> seen;
      for (records::RolloutBatch& batch : *list.mutable_batches()) restore_batch(std::move(batch), seen);
      for (const records::Group& g : list.carried()) require_restored(g, restored_limits()), require_new(g, seen);
    } catch (const Fault& fault) {
      throw Fault(where + ": " + fault.what());
    }
    carried_.assign(list.carried().begin(), list.carried().end());
    for (const records::VersionRun& run : list.published()) published_.push_back(generate::age_of(run));
    schedule_ = {stage_.steps, steps_ahead(), session_.first_step(), static_cast<int64_t>(pending_.size())};
  }

  RestoredLimits restored_limits() const {
    return {.answers = stage_.rollout.n,
            .max_response_length = stage_.rollout.max_response_length,
            .vocabulary = c_.vocab_limit(*policy_),
            .positions = policy_->architecture().max_position_embeddings};
  }

  void require_new(const records::Group& g, std::set<uint64_t>& seen) const {
    if (g.id() >= session_.cursor) throw Fault(fmt::format("group {}: its question was not asked yet", g.id()));
    if (!seen.insert(g.id()).second) throw Fault(fmt::format("group {} is there twice", g.id()));
  }

  void restore_batch(records::RolloutBatch batch, std::set<uint64_t>& seen) {
    if (batch.step() != static_cast<uint64_t>(session_.first_step()) + pending_.size()) throw Fault("its batches do not follow its step");
    std::set<uint64_t> asked;
    for (const records::Group& g : batch.asked()) generate::require_version_runs(g), require_new(g, seen), asked.insert(g.id());
    for (uint64_t id : batch.chosen())
      if (asked.erase(id) == 0) throw Fault(fmt::format("group {} is chosen twice, or was not asked for step {}", id, batch.step()));
    std::vector<records::Group> groups(batch.groups().begin(), batch.groups().end());
    batch.clear_groups();
    Rollout r = to_rollout(std::move(batch));
    require_whole(r, groups);
    take_mine(r, std::move(groups));
    pending_.push_back(std::move(r));
  }

  /// Fault unless each group that is to be trained on is there with its tokens, and is what its summary says.
  void require_whole(const Rollout& r, const std::vector<records::Group>& groups) const {
    const auto scorer = scorer_for(static_cast<int64_t>(r.batch.step()));
    std::map<uint64_t, std::string> summaries;
    for (records::Group g : groups) {
      require_restored(g, restored_limits());
      erase_dropped(scorer, g);
      if (!g.samples().empty() && !is_done(g)) throw Fault(fmt::format("group {} is to be trained on, and not done", g.id()));
      if (!summaries.emplace(g.id(), to_bytes(eval::summary_of(g))).second) throw Fault(fmt::format("group {} is there twice", g.id()));
    }
    for (const records::Group& summary : r.summaries) {
      const auto found = summaries.find(summary.id());
      if (found == summaries.end()) throw Fault(fmt::format("group {} is to be trained on, and not there", summary.id()));
      if (found->second != to_bytes(summary)) throw Fault(fmt::format("group {}: its answers are not those of its summary", summary.id()));
    }
  }

  reward::Scorer scorer_for(int64_t step) const {
    reward::RewardConfig weights = stage_.rewards;
    const bool on = weights.preference > 0.0 && step >= weights.preference_from_step;
    if (!on) weights.preference = 0.0;
    weights.preference_from_step = 0;
    return reward::Scorer(weights, prompt_template_, c_.tokenizer, stage_.rollout.max_response_length,
                          on ? preference_ : reward::Preference());
  }

  /// Without the answers that are to be dropped; a group in which fewer than two are left has no baseline and goes as a whole.
  void erase_dropped(const reward::Scorer& scorer, records::Group& g) const {
    auto* samples = g.mutable_samples();
    samples->erase(std::remove_if(samples->begin(), samples->end(), [&](const records::Sample& s) { return scorer.dropped(s); }),
                   samples->end());
    if (algorithm_.adv_estimator != "reinforce_plus_plus" && samples->size() < 2) samples->Clear();
  }

  // ---- Training: only on members that train -----------------------------------------------------------------------------------------

  Team& trainers() const { return *c_.team.trainers(); }

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
    const auto in_use = model.use_layers();
    for (auto& [id, group] : r.mine)
      for_micro_batches(pointers(group), [&](const std::vector<TrainSample*>& samples) {
        std::vector<model::Completion> batch;
        for (const auto* s : samples) batch.push_back(s->tokens);
        const at::Tensor logprob = model::completion_logprobs(model, batch, stage_.rollout.temperature, c_.vocab_limit(model)).logprob_N;
        const float* next = logprob.data_ptr<float>();
        for (auto* s : samples) s->*member = {next, next + s->tokens.completion.size()}, next += s->tokens.completion.size();
      });
    model.join_passes();
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

  /// Parts of the batch, by group or by the first item of a slot: added in this order, the sums have the same bits for any number of
  /// members.
  using Mismatches = std::map<uint64_t, rl::RolloutMismatch>;

  /// How far sampling and training log-probabilities are apart: 0 on the CPU by construction while the policy is the one that sampled, and
  /// looked at every step.
  void log_mismatch(const Rollout& r, Metrics& m) {
    Mismatches mine;
    for (const auto& [id, group] : r.mine)
      for (const TrainSample& s : group) {
        const auto packed = pack_samples({&s});
        mine[id].add(rl::rollout_mismatch(packed.old_logprob_N, packed.rollout_logprob_N, packed.packing));
      }
    report_mismatch(mine, m);
  }

  void report_mismatch(const Mismatches& mine, Metrics& m) {
    using Part = std::pair<uint64_t, rl::RolloutMismatch>;
    const std::vector<Part> parts(mine.begin(), mine.end());
    Mismatches all;
    for (const std::string& bytes : trainers().gather({reinterpret_cast<const char*>(parts.data()), parts.size() * sizeof(Part)})) {
      if (bytes.size() % sizeof(Part) != 0) throw Fault("mismatch metrics: a member sent something else");
      std::vector<Part> theirs(bytes.size() / sizeof(Part));
      std::memcpy(static_cast<void*>(theirs.data()), bytes.data(), bytes.size());
      for (const auto& [key, part] : theirs) all[key].add(part);
    }
    rl::RolloutMismatch total;
    for (const auto& [key, part] : all) total.add(part);
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
    for (const std::string& part : trainers().gather(bytes))
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
    Mismatches mismatch;
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
  std::optional<Learner::Result> update_minibatch(int64_t step, const std::vector<uint64_t>& batch, Rollout& r, Mismatches* mismatch) {
    const int64_t count = static_cast<int64_t>(batch.size());
    const std::optional<rl::AggregationScale> scale = global_scale(batch, r);
    if (!scale) return std::nullopt;
    const auto work = [&](int64_t begin, int64_t end, model::MoeTrace* trace) {
      rl::LossMetrics sums;
      for_micro_batches(samples_of(batch, begin, end, r), [&](const std::vector<TrainSample*>& samples) {
        const PackedSamples p = pack_samples({samples.begin(), samples.end()});
        const RlLoss part = rl_loss(stage_, *policy_, p, c_.vocab_limit(*policy_), *scale, trace);
        if (mismatch) (*mismatch)[static_cast<uint64_t>(begin)].add(rl::rollout_mismatch(part.logprob_N, p.rollout_logprob_N, p.packing));
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
    const auto total = sum_by_slot(trainers(), slots);
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
  const text::PromptTemplate prompt_template_;
  data::QuestionSet questions_;
  std::unique_ptr<model::CausalLM> policy_;
  reward::Preference preference_;
  std::unique_ptr<model::CausalLM> reference_;
  TrainingSession session_;
  Learner learner_;
  bool recompute_old_ = false;
  uint64_t version_ = 0;  ///< of the weights that sample: optimizer steps taken
  ExpectedLengths lengths_;
  RolloutSchedule schedule_{0, 0, 0, 0};
  std::deque<Rollout> pending_;  ///< sampled, not yet trained on
  // Partial rollouts: the same on all members.
  std::vector<records::Group> carried_;  ///< whole, as the last batch left them
  std::vector<PolicyAge> published_;     ///< the weights that may have sampled them, oldest first
};

}  // namespace

StageOutput run_rl(const StageContext& c, const RlStage& stage) { return RlRun(c, stage).run(); }

}  // namespace cohort::pipeline
