#pragma once
/// What models learn to imitate: right demonstrations (SFT), and the noisy mixture on which the tiny base model is pretrained.
///
/// A real base model has seen careful reasoning, careless reasoning, bare answers and every language, so it can solve a question now and
/// then but does not do so reliably, and does not keep to a form. The mixture gives a tiny model the same latent skill and the same bad
/// habits; reinforcement learning then has something to select.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/config/field.h"
#include "core/data/question_set.h"
#include "core/records/records.pb.h"
#include "core/text/template.h"

namespace cohort::data {

/// Prompt and completion of a question's own worked solution and answer (Fault when it has no answer).
/// `with_solution` false leaves the thought out: final answers only.
records::Demonstration demonstrate(const records::Question& question, const text::PromptTemplate& prompt_template,
                                   const text::Tokenizer& tokenizer, bool with_solution = true);

struct PretrainMixture {
  std::vector<std::string> templates = {"r1_zero_brief", "chat_think"};
  double careful = 0.15;
  double sloppy = 0.35;
  double direct = 0.25;
  double no_format = 0.25;
  double mistake_rate = 0.4;
  double direct_right = 0.2;
  double mixed_language = 0.4;
  double general = 0.2;
  double general_right = 0.4;
  std::vector<std::string> general_tasks = {"instruction:1", "instruction:2", "safety:1"};

  template <class Visitor>
  void visit(Visitor& v) {
    v.texts("templates", templates, "prompt templates of the demonstrations, drawn equally often");
    v.number("careful", careful, config::at_least(0.0), "weight of right solutions in the template's form");
    v.number("sloppy", sloppy, config::at_least(0.0), "weight of solutions in which each step may be wrong");
    v.number("direct", direct, config::at_least(0.0), "weight of answers without a solution");
    v.number("no_format", no_format, config::at_least(0.0), "weight of solutions and answers without any tags, which may be wrong too");
    v.number("mistake_rate", mistake_rate, config::between(0.0, 1.0), "probability that a step of a sloppy solution is wrong");
    v.number("direct_right", direct_right, config::between(0.0, 1.0), "probability that a direct answer is right");
    v.number("mixed_language", mixed_language, config::between(0.0, 1.0),
             "probability that a solution is in the other language or changes language on the way");
    v.number("general", general, config::between(0.0, 1.0), "share of general questions (instructions, safety)");
    v.number(
        "general_right", general_right, config::between(0.0, 1.0),
        "probability that a general question is answered rightly; otherwise by a wrong answer, or a refusal where there should be none");
    v.texts("general_tasks", general_tasks, "the general questions");
    v.rule(careful + sloppy + direct + no_format > 0.0, "careful", "one of careful, sloppy, direct, no_format above 0", "all 0");
    for (const TaskProblem& problem : find_task_problems(general_tasks)) v.rule(false, "general_tasks", problem.expected, problem.found);
    for (const std::string& name : templates) v.rule(text::is_template(name), "templates", join(text::template_names()), name);
    v.rule(!templates.empty(), "templates", "at least one template", "none");
  }
};

/// An endless stream of demonstrations; at(i) depends on (configs, seed, i) alone. Immutable and safe to share between threads.
class PretrainCorpus {
 public:
  /// `data` names generated reasoning tasks (InputError for a path). The tokenizer must outlive the corpus.
  PretrainCorpus(const DataConfig& data, const PretrainMixture& mixture, const text::Tokenizer& tokenizer, uint64_t seed);

  records::Demonstration at(uint64_t i) const;

 private:
  /// How a demonstration is written.
  enum class Form { kCareful, kSloppy, kDirect, kNoTags };
  struct Completion {
    std::string think;
    std::string answer;
  };
  Form draw_form(double uniform) const;
  double draw_mistake_rate(bool is_general, Form form, RandomStream& stream) const;
  Completion complete(const QuestionSet& questions, uint64_t i, bool is_general, Form form, RandomStream& stream) const;

  PretrainMixture mixture_;
  const text::Tokenizer& tokenizer_;
  std::vector<const text::PromptTemplate*> templates_;
  QuestionSet reasoning_questions_;
  QuestionSet general_questions_;
  uint64_t seed_;
};

}  // namespace cohort::data
