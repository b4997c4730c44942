#pragma once
/// Samples answers: prefill of each prompt once per group, then batched decoding with a key/value cache.
///
/// Every random number is keyed by (seed, stage, step, group, sample, position), and a row's logits do not depend on the rows beside it, so
/// what is sampled does not depend on the order of the groups, on how many run together, or on which rank runs them. Nor, while the weights
/// are the same, on whether an answer is interrupted: its cache is filled again from prompt and kept tokens, with the same bits.

#include <functional>
#include <string>
#include <vector>

#include "core/generate/rollout_config.h"
#include "core/generate/version_runs.h"
#include "core/model/causal_lm.h"
#include "core/records/records.pb.h"
#include "core/text/tokenizer.h"

namespace cohort::generate {

/// What the random numbers of a call are keyed by, beside group, sample and position.
struct SampleKey {
  uint64_t seed = 0;
  std::string stage;
  uint64_t step = 0;
};

/// Groups that come while others are decoded.
struct GroupSource {
  int64_t most_groups = 0;     ///< at a time; bounds the cache, as max_num_seqs and kv_cache_gb do
  int64_t longest_prompt = 0;  ///< of all that may come
  /// Appends at most `count` groups to `into`, whose capacity is enough for all that may come; none: there are no more.
  std::function<void(int64_t count, std::vector<records::Group>& into)> more;
};

class Generator {
 public:
  using OnToken = std::function<void(const records::Group&, const records::Sample&, int32_t id)>;

  /// The model and the tokenizer must outlive it. Tokens beyond the tokenizer's
  /// vocabulary are never sampled; those that it lacks inside are the model's to know (set_missing_tokens).
  Generator(model::CausalLM& model, const text::Tokenizer& tokenizer, const RolloutConfig& config);
  /// Answers end at any of `end_ids`, at none where there are none. `tokenizer` may be null: then all ids of the model may be sampled.
  Generator(model::CausalLM& model, const text::Tokenizer* tokenizer, std::vector<int32_t> end_ids, const RolloutConfig& config);

  /// Fills the samples (config.n each) of groups whose id and prompt_ids are set. Blocks until all are done; `on_token` is called for each
  /// token as it comes. InputError when a prompt and the longest answer exceed the model's positions.
  void generate(std::vector<records::Group>& groups, const SampleKey& key, const PolicyAge& policy, const OnToken& on_token = {});

  /// Partial rollouts: begins groups without samples and goes on with the answers of the others that are not done, for at most
  /// `most_new_tokens` tokens each. An answer that is then not done has no finish_reason, and tokens and log-probabilities that the next
  /// call keeps. The random numbers of a group with asked_step are keyed by that in the place of key.step.
  void advance(std::vector<records::Group>& groups, const SampleKey& key, const PolicyAge& policy, int64_t most_new_tokens,
               const OnToken& on_token = {});

  /// The same for groups that `source` gives whenever there are free slots; they are left in `groups`, which is empty before, in the order
  /// in which they came.
  void generate_from(const GroupSource& source, std::vector<records::Group>& groups, const SampleKey& key, const PolicyAge& policy);

 private:
  model::CausalLM& model_;
  const text::Tokenizer* tokenizer_;
  std::vector<int32_t> end_ids_;
  RolloutConfig config_;
};

}  // namespace cohort::generate
