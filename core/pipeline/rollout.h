#pragma once
/// One round of questions answered by the team.

#include <map>
#include <string>
#include <vector>

#include "core/pipeline/partial_batch.h"
#include "core/pipeline/rl_batch.h"
#include "core/pipeline/stage_context.h"

namespace cohort::pipeline {

/// How long the answers to a question's kind have been, as far as this process knows: decides only in what order questions are dealt out.
class ExpectedLengths {
 public:
  void add(const records::Group& group);         ///< answered; a summary will do
  double of(const records::Group& group) const;  ///< mean tokens of an answer to its data source; 0: not known

 private:
  struct Mean {
    double sum = 0.0, count = 0.0;
  };
  std::map<std::string, Mean> means_;
};

/// How a stage samples and scores.
struct RolloutSettings {
  const data::QuestionSet* questions;
  const text::PromptTemplate* prompt_template;
  const generate::RolloutConfig* rollout;
  const reward::Scorer* scorer;
  const ExpectedLengths* lengths = nullptr;  ///< the same on all members that roll out; null: nothing is known
};

/// My groups of `ids` (positions of the question set), as they are dealt (Team::deal, longest expected first): rendered, sampled, scored;
/// by id. Collective among the members that roll out. The caller has all parameters of a sharded model in use (CausalLM::use_all).
std::vector<records::Group> roll_out(const StageContext& context, model::CausalLM& model, const RolloutSettings& settings, uint64_t step,
                                     const std::vector<uint64_t>& ids, const PolicyAge& policy);

/// The same for a round of partial rollouts: my groups of `ids`, which are those of `batch`, begun or gone on with for at most
/// `most_new_tokens` per answer; those that are done are scored. Collective among the members that roll out.
std::vector<records::Group> roll_out_parts(const StageContext& context, model::CausalLM& model, const RolloutSettings& settings,
                                           uint64_t step, const std::vector<uint64_t>& ids, const PartialBatch& batch,
                                           const PolicyAge& policy, int64_t most_new_tokens);

/// Everybody's groups as they are, ordered by id. Collective.
std::vector<records::Group> gather_groups(Team& team, const std::vector<records::Group>& mine);

/// Everybody's groups of a round of partial rollouts, ordered by id: summaries of those that are done, the others whole. Collective.
std::vector<records::Group> gather_parts(Team& team, const std::vector<records::Group>& mine);

/// Summaries (eval::summary_of) of everybody's groups, ordered by id. Collective.
std::vector<records::Group> gather_summaries(Team& team, const std::vector<records::Group>& mine);

/// The lines of samples/STAGE.jsonl for everybody's groups, ordered by (question, sample), at most `limit`. Mine must be ordered by id.
/// Collective.
std::vector<std::string> gather_sample_lines(Team& team, const StageContext& context, const std::vector<records::Group>& mine,
                                             int64_t limit);

/// A batch from the members that rolled it out to all members; `mine` counts only on the former. `published`: the weights that it was to be
/// sampled with (with partial rollouts and those before them); afterwards what the leader, which trains, says of it. Collective.
records::RolloutBatch share_batch(Team& team, records::RolloutBatch mine, std::vector<PolicyAge>& published);

}  // namespace cohort::pipeline
