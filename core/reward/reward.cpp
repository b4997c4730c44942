#include "core/reward/reward.h"

#include <span>

#include "core/base/error.h"
#include "core/reward/verifier.h"
#include "core/text/language.h"

namespace cohort::reward {
namespace {

void add_component(records::Sample& sample, const char* name, double value, double weight) {
  records::RewardComponent& component = *sample.add_rewards();
  component.set_name(name);
  component.set_value(value);
  component.set_weight(weight);
  sample.set_total_reward(sample.total_reward() + weight * value);
}

std::span<const int32_t> response(const records::Sample& sample) {
  return {sample.response_ids().data(), static_cast<size_t>(sample.response_ids_size())};
}

double outcome_value(records::Outcome outcome, bool with_sign) {
  if (outcome == records::CORRECT) return 1.0;
  return outcome == records::WRONG && with_sign ? -1.0 : 0.0;
}

}  // namespace

Scorer::Scorer(const RewardConfig& config, const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer,
               int64_t max_response_length, Preference preference)
    : config_(config),
      prompt_template_(prompt_template),
      tokenizer_(tokenizer),
      max_response_length_(max_response_length),
      preference_(std::move(preference)) {
  if (config.overlong.enable && config.overlong.len > max_response_length)
    throw InputError("rewards.overlong.len: expected at most max_response_length = " + std::to_string(max_response_length) + ", found " +
                     std::to_string(config.overlong.len));
}

void Scorer::score(const records::Group& group, records::Sample& sample) const {
  const records::Question& question = group.question();
  const text::Parsed parsed = text::parse_completion(prompt_template_, tokenizer_, response(sample));
  sample.clear_rewards();
  sample.set_total_reward(0.0);
  sample.set_outcome(records::OUTCOME_UNSPECIFIED);

  if (!question.verifier().empty()) {
    sample.set_outcome(verify(question, parsed.answer));
    const double value = outcome_value(sample.outcome(), config_.reward_style == "signed");
    const VerifiedComponent component = verified_component(question);
    add_component(sample, component.name, value, component.weight);
  }
  add_preference(group, sample);
  const bool complete = sample.finish_reason() == records::STOP;
  add_component(sample, "format", complete && parsed.well_formed ? 1.0 : 0.0, config_.format);
  add_component(sample, "language", language_value(question, parsed, sample), config_.language);
  if (config_.overlong.enable)
    add_component(sample, "overlong", soft_overlong(sample.response_ids_size(), max_response_length_, config_.overlong.len),
                  config_.overlong.penalty_factor);
}

void Scorer::score(records::Group& group) const {
  for (records::Sample& sample : *group.mutable_samples()) score(group, sample);
}

bool Scorer::dropped(const records::Sample& sample) const { return config_.undecided == "drop" && sample.outcome() == records::UNDECIDED; }

Scorer::VerifiedComponent Scorer::verified_component(const records::Question& question) const {
  switch (question.category()) {
    case records::REASONING:
      return {"accuracy", config_.accuracy};
    case records::HELPFUL:
      return {"helpfulness", config_.helpfulness};
    case records::SAFETY:
      return {"safety", config_.safety};
    default:
      throw Fault("question " + std::to_string(question.id()) + " of " + question.source() + " has no category");
  }
}

void Scorer::add_preference(const records::Group& group, records::Sample& sample) const {
  const bool counts = group.question().category() != records::REASONING && config_.preference > 0.0 &&
                      group.step() >= static_cast<uint64_t>(config_.preference_from_step);
  if (!counts) return;
  if (!preference_) throw Fault("a preference weight is set and no preference model was given");
  add_component(sample, "preference", preference_(group, sample), config_.preference);
}

double Scorer::language_value(const records::Question& question, const text::Parsed& parsed, const records::Sample& sample) const {
  if (!parsed.think.empty()) return text::language_consistency(parsed.think, question.language());
  // The names of special tokens are not words of the answer.
  std::string words;
  for (const int32_t id : sample.response_ids()) words += tokenizer_.is_special(id) ? " " : tokenizer_.piece(id);
  return text::language_consistency(words, question.language());
}

double soft_overlong(int64_t length, int64_t max_length, int64_t cache) {
  const int64_t free = max_length - cache;
  if (length <= free) return 0.0;
  if (length > max_length) return -1.0;
  return static_cast<double>(free - length) / static_cast<double>(cache);
}

const records::RewardComponent* find_component(const records::Sample& sample, std::string_view name) {
  for (const records::RewardComponent& component : sample.rewards())
    if (component.name() == name) return &component;
  return nullptr;
}

}  // namespace cohort::reward
