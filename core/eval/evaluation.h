#pragma once
/// Asks held-out questions and counts.

#include <vector>

#include "core/data/question_set.h"
#include "core/generate/generator.h"
#include "core/records/records.pb.h"
#include "core/reward/reward.h"
#include "core/text/template.h"

namespace cohort::eval {

/// Groups for positions [begin, end) of a set, with prompts rendered and ids `first_id` + position.
std::vector<records::Group> ask(const data::QuestionSet& questions, int64_t begin, int64_t end, uint64_t first_id,
                                const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer);

/// Samples and scores the groups in place.
void answer(std::vector<records::Group>& groups, model::CausalLM& model, const text::Tokenizer& tokenizer,
            const generate::RolloutConfig& rollout, const reward::Scorer& scorer, const generate::SampleKey& key,
            const generate::PolicyAge& policy);

/// Scores the answers of a group, which must be done, in place.
void score(records::Group& group, const reward::Scorer& scorer);

/// Notes what each answer counts as in a majority vote (reward::vote_of). Before summary_of(), which drops the answers.
void add_votes(std::vector<records::Group>& groups, const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer);

/// A copy without token ids and log-probabilities: what is counted and logged.
records::Group summary_of(const records::Group& group);

/// Means over samples: accuracy, format, language and response length of the reasoning questions (of all questions where there are none of
/// them); helpfulness, safety and preference of the general ones they apply to; accuracy by source, for which groups need votes.
records::EvalResult summarise(const std::vector<records::Group>& groups);

}  // namespace cohort::eval
