#pragma once
/// An evaluation as a YAML file (configs/suites): which questions, how often and how they are asked.

#include <algorithm>
#include <string>

#include "core/base/text_util.h"
#include "core/config/field.h"
#include "core/data/question_set.h"
#include "core/generate/rollout_config.h"
#include "core/reward/verifier.h"
#include "core/text/template.h"

namespace cohort::eval {

struct Suite {
  std::string name;
  data::DataConfig data;
  std::string verifier;
  std::string prompt_template;
  int64_t questions = 0;
  generate::RolloutConfig rollout = {.n = 1, .temperature = 0.6, .top_p = 0.95, .max_response_length = 32768, .max_num_seqs = 64};

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("name", name, "of the suite, printed with its results");
    v.section("data", data, "the questions");
    v.text("verifier", verifier, "check of the answers (core/reward/verifier.h) instead of that of each row");
    v.rule(known_verifier(), "verifier",
           "one of " + join(reward::verifier_names()) +
               ": hidden tests (unit_tests) need a sandbox to run code in, which this build does not have",
           "\"" + printable(verifier) + "\"");
    v.text("template", prompt_template, "prompt template; empty: the one the model was trained with");
    v.rule(prompt_template.empty() || text::PromptConfig{prompt_template, "", {}}.is_known(), "template", text::PromptConfig::known_names(),
           prompt_template);
    v.integer("questions", questions, config::between(0, config::kMaxBatch), "ask only the first so many; 0: all");
    v.section("rollout", rollout, "sampling (R1: temperature 0.6, top_p 0.95); max_response_length or what the model's positions leave");
    v.rule(data.given(), "data", "tasks or a path", "neither");
  }

  bool known_verifier() const {
    const auto& names = reward::verifier_names();
    return verifier.empty() || std::find(names.begin(), names.end(), verifier) != names.end();
  }
};

}  // namespace cohort::eval
