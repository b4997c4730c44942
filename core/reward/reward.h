#pragma once
/// The reward of a sample: components, each recorded by itself, and their weighted sum (R1, sections 2.2 and 2.3 of the paper:
/// r = accuracy + format + language; for general questions the preference model instead of accuracy).
///
///   component    categories            value
///   accuracy     REASONING             verifier on the answer: 1 CORRECT, else 0 (reward_style signed: -1 WRONG; UNDECIDED is always 0)
///   helpfulness  HELPFUL               the same
///   safety       SAFETY                the same
///   preference   HELPFUL, SAFETY       a reward model's score, from step `preference_from_step` on, where one is given
///   format       all                   1 when the completion is well formed (core/text/template.h) and not cut at the length limit, else 0
///   language     all                   share of words of the thought in the question's language; of the whole completion where the
///   template
///                                      has no thought or the thought is empty. The paper adds it for reasoning and other questions alike.
///   overlong     all, where enabled    DAPO's soft overlong penalty, in [-1, 0]
///
/// A component whose weight is 0 is still computed and recorded, except preference.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "core/config/field.h"
#include "core/records/records.pb.h"
#include "core/text/template.h"
#include "core/text/tokenizer.h"

namespace cohort::reward {

struct OverlongConfig {
  bool enable = false;
  int64_t len = 16;
  double penalty_factor = 1.0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.flag("enable", enable, "add the soft overlong penalty (DAPO)");
    v.integer("len", len, config::at_least(1), "tokens before max_response_length in which the penalty grows from 0 to 1 (L_cache)");
    v.number("penalty_factor", penalty_factor, config::at_least(0.0), "weight of the penalty");
  }
};

struct RewardConfig {
  double accuracy = 1.0;
  double format = 1.0;
  double language = 0.0;
  double helpfulness = 1.0;
  double safety = 1.0;
  double preference = 0.0;
  int64_t preference_from_step = 0;
  std::string reward_style = "binary";
  std::string undecided = "zero";
  OverlongConfig overlong;

  template <class Visitor>
  void visit(Visitor& v) {
    v.number("accuracy", accuracy, config::at_least(0.0), "weight of a right answer to a reasoning question");
    v.number("format", format, config::at_least(0.0), "weight of a completion in the template's form");
    v.number("language", language, config::at_least(0.0), "weight of thinking in the question's language");
    v.number("helpfulness", helpfulness, config::at_least(0.0), "weight of an instruction followed, by rule");
    v.number("safety", safety, config::at_least(0.0), "weight of refusing what is harmful and nothing else, by rule");
    v.number("preference", preference, config::at_least(0.0), "weight of the preference model's score");
    v.integer("preference_from_step", preference_from_step, config::at_least(0), "rollout step from which the preference score counts");
    v.choice("reward_style", reward_style, {"binary", "signed"}, "value of a wrong answer: binary 0, signed -1");
    v.choice("undecided", undecided, {"zero", "drop"}, "a sample whose verifier cannot tell: reward 0 for it, or leave the sample out");
    v.section("overlong", overlong, "soft overlong penalty");
  }
};

/// The score of a preference model for a sample of a group. Called from the thread that scores.
using Preference = std::function<double(const records::Group&, const records::Sample&)>;

/// Scores samples of one stage. The tokenizer and the template must outlive it. Safe to share between threads if `preference` is.
class Scorer {
 public:
  /// `max_response_length` in tokens: L_max of the overlong penalty. InputError when overlong.len exceeds it.
  Scorer(const RewardConfig& config, const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer,
         int64_t max_response_length, Preference preference = {});

  /// Fills rewards, total_reward and outcome from response_ids and finish_reason (which must be set). Deterministic.
  /// InputError for a verifier that does not exist; Fault when a preference weight applies and no preference was given.
  void score(const records::Group& group, records::Sample& sample) const;
  /// Every sample of the group.
  void score(records::Group& group) const;

  /// True when the config says to leave undecided samples out and this one is.
  bool dropped(const records::Sample& sample) const;

 private:
  struct VerifiedComponent {
    const char* name;
    double weight;
  };
  VerifiedComponent verified_component(const records::Question& question) const;
  void add_preference(const records::Group& group, records::Sample& sample) const;
  double language_value(const records::Question& question, const text::Parsed& parsed, const records::Sample& sample) const;

  RewardConfig config_;
  const text::PromptTemplate& prompt_template_;
  const text::Tokenizer& tokenizer_;
  int64_t max_response_length_;
  Preference preference_;
};

/// DAPO (arXiv 2503.14476) eq. 13: 0 up to L_max - L_cache, then falling linearly to -1 at L_max, and -1 beyond.
double soft_overlong(int64_t length, int64_t max_length, int64_t cache);

/// The value of a component of a scored sample; nullptr when it does not have it.
const records::RewardComponent* find_component(const records::Sample& sample, std::string_view name);

}  // namespace cohort::reward
