#include "core/generate/generator.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/random.h"
#include "kernels/sample_token/sample_token.h"

namespace cohort::generate {
namespace {

/// A sequence that is being decoded.
struct Running {
  records::Group* group;
  records::Sample* sample;
  int64_t slot;
  int64_t position;  ///< of the last token, which the next decode step reads
  int64_t stop_at;   ///< tokens of the answer at which it is interrupted
  RandomStream stream;
};

bool is_done(const records::Sample& s) { return s.finish_reason() != records::FINISH_REASON_UNSPECIFIED; }

/// One call of advance(): a pool of cache slots, groups waiting, sequences running.
class Session {
 public:
  Session(model::CausalLM& model, const text::Tokenizer* tokenizer, const std::vector<int32_t>& end_ids, const RolloutConfig& config,
          const SampleKey& key, const PolicyAge& policy, int64_t most_new_tokens, const Generator::OnToken& on_token,
          std::vector<records::Group>& groups, const GroupSource* source = nullptr)
      : model_(model),
        config_(config),
        key_(key),
        policy_(policy),
        most_new_tokens_(most_new_tokens),
        on_token_(on_token),
        groups_(groups),
        source_(source),
        vocab_limit_(model.architecture().vocab_size),
        end_ids_(end_ids),
        sampling_{config.temperature, config.top_p, config.top_k},
        slots_(slots()),
        cache_(model.architecture(), slots_, longest()) {
    if (tokenizer) vocab_limit_ = std::min<int64_t>(vocab_limit_, tokenizer->vocabulary_size());
    for (int64_t s = slots_ - 1; s >= 0; --s) free_.push_back(s);
  }

  void run() {
    refill();
    while (next_ < groups_.size() || !running_.empty()) {
      admit();
      decode_step();
      refill();
    }
  }

 private:
  int64_t slots() const {
    const int64_t asked = (source_ ? source_->most_groups : static_cast<int64_t>(groups_.size())) * config_.n;
    return config_.sequences_together(asked, model::KvCache::bytes_per_slot(model_.architecture(), longest()));
  }

  int64_t longest() const {
    int64_t prompt = source_ ? source_->longest_prompt : 0;
    int64_t reached = prompt + std::min(config_.max_response_length, most_new_tokens_);  // by the end of this call
    for (const records::Group& g : groups_) {
      int64_t kept = 0;
      for (const records::Sample& s : g.samples()) kept = std::max<int64_t>(kept, s.response_ids_size());
      prompt = std::max<int64_t>(prompt, g.prompt_ids_size());
      reached = std::max(reached, g.prompt_ids_size() + std::min(config_.max_response_length, kept + most_new_tokens_));
    }
    const int64_t total = prompt + config_.max_response_length, limit = model_.architecture().max_position_embeddings;
    if (total > limit)
      throw InputError(fmt::format("rollout.max_response_length: expected prompt and answer within {} positions, found {} + {}", limit,
                                   prompt, config_.max_response_length));
    return reached;
  }

  /// Takes groups for the slots that are free.
  void refill() {
    const int64_t room = static_cast<int64_t>(free_.size()) / config_.n;
    if (source_ == nullptr || exhausted_ || room == 0) return;
    const size_t before = groups_.size(), capacity = groups_.capacity();
    source_->more(room, groups_);
    if (groups_.capacity() != capacity) throw Fault("generate: groups that are being decoded were moved");
    exhausted_ = groups_.size() == before;
  }

  /// What one prefill reads: a prompt, shared by the samples of a group that begins, or a prompt with what is kept of one answer.
  struct Prefixes {
    std::vector<std::vector<int32_t>> ids;
    std::vector<int64_t> slots;  ///< that is filled, of each
    std::vector<int64_t> of;     ///< which one each sequence that starts begins with, in the order of running_
  };

  /// Starts as many waiting groups as there are free slots for.
  void admit() {
    const size_t begin = running_.size();
    Prefixes prefixes;
    while (next_ < groups_.size() && static_cast<int64_t>(free_.size()) >= config_.n) start(groups_[next_++], prefixes);
    if (prefixes.ids.empty()) return;
    const model::TokenBatch batch = model::pack(prefixes.ids);
    std::vector<int64_t> last_rows;
    for (size_t b = 0; b < prefixes.ids.size(); ++b) last_rows.push_back(batch.offsets[b + 1] - 1);
    const at::Tensor hidden = model_.prefill(batch, prefixes.slots, cache_).index_select(0, at::tensor(last_rows));
    const at::Tensor logits = model_.logits(hidden);
    for (size_t i = begin; i < running_.size(); ++i) {
      const int64_t row = prefixes.of[i - begin];
      const int64_t filled = prefixes.slots[static_cast<size_t>(row)];
      if (running_[i].slot != filled)
        cache_.copy(filled, running_[i].slot, static_cast<int64_t>(prefixes.ids[static_cast<size_t>(row)].size()));
      sample(running_[i], logits, row);
    }
    retire();
  }

  void start(records::Group& g, Prefixes& prefixes) {
    if (g.prompt_ids().empty()) throw Fault("generate: a group without a prompt");
    const std::vector<int32_t> prompt(g.prompt_ids().begin(), g.prompt_ids().end());
    if (g.samples().empty()) {
      prefixes.ids.push_back(prompt), prefixes.slots.push_back(free_.back());
      for (int64_t i = 0; i < config_.n; ++i) {
        g.add_samples()->set_index(static_cast<uint32_t>(i));
        start(g, *g.mutable_samples(static_cast<int>(i)), prefixes);
      }
      return;
    }
    if (g.samples_size() > config_.n) throw Fault(fmt::format("generate: group {} has {} answers", g.id(), g.samples_size()));
    for (records::Sample& s : *g.mutable_samples()) {
      if (is_done(s)) continue;
      prefixes.ids.push_back(prompt), prefixes.slots.push_back(free_.back());
      prefixes.ids.back().insert(prefixes.ids.back().end(), s.response_ids().begin(), s.response_ids().end());
      start(g, s, prefixes);
    }
  }

  /// Of the last prefix.
  void start(records::Group& g, records::Sample& s, Prefixes& prefixes) {
    begin_run(g, s, policy_);
    const uint64_t step = g.has_asked_step() ? g.asked_step() : key_.step;
    prefixes.of.push_back(static_cast<int64_t>(prefixes.ids.size()) - 1);
    running_.push_back({&g, &s, free_.back(), static_cast<int64_t>(prefixes.ids.back().size()) - 1,
                        s.response_ids_size() + most_new_tokens_,
                        RandomStream(key_.seed, "sample/" + key_.stage, {step, g.id(), s.index()})});
    free_.pop_back();
  }

  void decode_step() {
    if (running_.empty()) return;
    const at::NoGradGuard no_grad;
    std::vector<int32_t> ids;
    std::vector<int64_t> slots, positions;
    for (const Running& r : running_) {
      ids.push_back(r.sample->response_ids(r.sample->response_ids_size() - 1));
      slots.push_back(r.slot);
      positions.push_back(r.position);
    }
    const at::Tensor logits = model_.logits(model_.decode(ids, slots, positions, cache_));
    for (size_t i = 0; i < running_.size(); ++i) sample(running_[i], logits, static_cast<int64_t>(i));
    retire();
  }

  /// Draws the next token of a sequence from a row of logits.
  void sample(Running& r, const at::Tensor& logits, int64_t row) {
    const auto token = kernels::sample_token(logits.data_ptr<float>() + row * logits.size(1), vocab_limit_, sampling_,
                                             r.stream.uniform_at(static_cast<uint64_t>(r.sample->response_ids_size())));
    r.sample->add_response_ids(static_cast<int32_t>(token.id));
    r.sample->add_logprobs(token.logprob);
    records::VersionRun& run = *r.sample->mutable_runs(r.sample->runs_size() - 1);
    run.set_tokens(run.tokens() + 1);
    ++r.position;
    if (std::find(end_ids_.begin(), end_ids_.end(), token.id) != end_ids_.end())
      r.sample->set_finish_reason(records::STOP);
    else if (r.sample->response_ids_size() >= config_.max_response_length)
      r.sample->set_finish_reason(records::LENGTH);
    if (on_token_) on_token_(*r.group, *r.sample, static_cast<int32_t>(token.id));
  }

  /// Frees the slots of sequences that are finished or interrupted; the others keep their order.
  void retire() {
    std::erase_if(running_, [&](const Running& r) {
      const bool done = is_done(*r.sample) || r.sample->response_ids_size() >= r.stop_at;
      if (done) free_.push_back(r.slot);
      return done;
    });
  }

  model::CausalLM& model_;
  const RolloutConfig& config_;
  const SampleKey& key_;
  PolicyAge policy_;
  int64_t most_new_tokens_;
  const Generator::OnToken& on_token_;
  std::vector<records::Group>& groups_;
  const GroupSource* source_;
  bool exhausted_ = false;  ///< the source
  int64_t vocab_limit_;
  const std::vector<int32_t>& end_ids_;
  kernels::SampleOptions sampling_;
  int64_t slots_;
  model::KvCache cache_;
  std::vector<int64_t> free_;
  std::vector<Running> running_;
  size_t next_ = 0;
};

}  // namespace

Generator::Generator(model::CausalLM& model, const text::Tokenizer& tokenizer, const RolloutConfig& config)
    : Generator(model, &tokenizer, tokenizer.end_ids(), config) {}

Generator::Generator(model::CausalLM& model, const text::Tokenizer* tokenizer, std::vector<int32_t> end_ids, const RolloutConfig& config)
    : model_(model), tokenizer_(tokenizer), end_ids_(std::move(end_ids)), config_(config) {}

void Generator::generate(std::vector<records::Group>& groups, const SampleKey& key, const PolicyAge& policy, const OnToken& on_token) {
  for (records::Group& g : groups) g.clear_samples();
  advance(groups, key, policy, config_.max_response_length, on_token);
}

void Generator::advance(std::vector<records::Group>& groups, const SampleKey& key, const PolicyAge& policy, int64_t most_new_tokens,
                        const OnToken& on_token) {
  if (groups.empty()) return;
  if (most_new_tokens < 1) throw Fault(fmt::format("generate: answers cannot go on for {} tokens", most_new_tokens));
  const at::NoGradGuard no_grad;
  Session(model_, tokenizer_, end_ids_, config_, key, policy, most_new_tokens, on_token, groups).run();
}

void Generator::generate_from(const GroupSource& source, std::vector<records::Group>& groups, const SampleKey& key,
                              const PolicyAge& policy) {
  const at::NoGradGuard no_grad;
  const OnToken nobody;
  Session(model_, tokenizer_, end_ids_, config_, key, policy, config_.max_response_length, nobody, groups, &source).run();
}

}  // namespace cohort::generate
