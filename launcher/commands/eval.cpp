// cohort eval: how well a trained model answers questions whose answers can be checked.

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "core/base/json.h"
#include "core/eval/evaluation.h"
#include "core/eval/pass_at_k.h"
#include "launcher/commands/command.h"
#include "launcher/model_folder.h"
#include "launcher/process_setup.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kDefaultNewTokens = 256;
constexpr int64_t kDefaultQuestions = 128;
constexpr int64_t kQuestionsAtOnce = 64;  // bounds what is held of answers

struct EvalOptions {
  std::string model;
  data::DataConfig data;
  std::string template_name;
  int64_t questions = 0;
  generate::RolloutConfig sampling = {.n = 1, .temperature = 0.6, .top_p = 0.95, .max_response_length = 0, .max_num_seqs = 64};
  int64_t seed = 17;
  bool as_json = false;
};

/// What is kept of the answers to one question.
struct QuestionScore {
  int64_t samples = 0;
  int64_t correct = 0;
  int64_t undecided = 0;
  bool majority_correct = false;
  double format = 0.0;  // sums over samples
  double language = 0.0;
  double tokens = 0.0;
};

double component(const records::Sample& sample, const char* name) {
  const records::RewardComponent* found = reward::find_component(sample, name);
  return found == nullptr ? 0.0 : found->value();
}

QuestionScore score_of(const records::Group& group, const ModelFolder& folder) {
  QuestionScore score;
  std::vector<std::string> answers;
  for (const records::Sample& sample : group.samples()) {
    ++score.samples;
    score.correct += sample.outcome() == records::CORRECT ? 1 : 0;
    score.undecided += sample.outcome() == records::UNDECIDED ? 1 : 0;
    score.format += component(sample, "format");
    score.language += component(sample, "language");
    score.tokens += sample.response_ids_size();
    const std::span<const int32_t> ids(sample.response_ids().data(), static_cast<size_t>(sample.response_ids_size()));
    answers.push_back(text::parse_completion(*folder.prompt_template, *folder.tokenizer, ids).answer);
  }
  const std::optional<size_t> vote = eval::majority_vote(answers);
  score.majority_correct = vote && group.samples(static_cast<int>(*vote)).outcome() == records::CORRECT;
  return score;
}

/// Room for the answer, the same for every question, so that an answer is cut at the same token on any number of ranks.
int64_t common_answer_length(const EvalOptions& options, const data::QuestionSet& questions, int64_t count, const ModelFolder& folder) {
  size_t longest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const records::Question question = questions.at(static_cast<uint64_t>(i));
    longest = std::max(longest, folder.prompt_template->render(question.text(), *folder.tokenizer).size());
  }
  return answer_length(folder.positions(), static_cast<int64_t>(longest), options.sampling.max_response_length, kDefaultNewTokens);
}

/// Scores of this rank's share of questions 0 … count-1.
std::vector<QuestionScore> ask_my_share(const EvalOptions& options, const data::QuestionSet& questions, int64_t count,
                                        const comm::Communicator& world) {
  const ModelFolder folder = load_model_folder(options.model, options.template_name);
  generate::RolloutConfig sampling = options.sampling;
  sampling.max_response_length = common_answer_length(options, questions, count, folder);
  const reward::Scorer scorer({}, *folder.prompt_template, *folder.tokenizer, sampling.max_response_length);
  const int64_t end = count * (world.rank() + 1) / world.size();
  std::vector<QuestionScore> scores;
  for (int64_t from = count * world.rank() / world.size(); from < end; from += kQuestionsAtOnce) {
    const int64_t to = std::min(end, from + kQuestionsAtOnce);
    std::vector<records::Group> groups = eval::ask(questions, from, to, 0, *folder.prompt_template, *folder.tokenizer);
    eval::answer(groups, *folder.model, *folder.tokenizer, sampling, scorer, {static_cast<uint64_t>(options.seed), "cohort eval", 0}, {});
    for (const records::Group& group : groups) scores.push_back(score_of(group, folder));
  }
  return scores;
}

json to_json(const std::vector<QuestionScore>& scores) {
  json rows = json::array();
  for (const QuestionScore& s : scores)
    rows.push_back({s.samples, s.correct, s.undecided, s.majority_correct, s.format, s.language, s.tokens});
  return rows;
}

std::vector<QuestionScore> from_json(const json& rows) {
  std::vector<QuestionScore> scores;
  for (const json& r : rows)
    scores.push_back({r.at(0).get<int64_t>(), r.at(1).get<int64_t>(), r.at(2).get<int64_t>(), r.at(3).get<bool>(), r.at(4).get<double>(),
                      r.at(5).get<double>(), r.at(6).get<double>()});
  return scores;
}

ordered_json estimate(const std::vector<QuestionScore>& scores, uint64_t seed, const std::function<double(const QuestionScore&)>& value) {
  std::vector<double> values;
  for (const QuestionScore& score : scores) values.push_back(value(score));
  const eval::Estimate e = eval::bootstrap_mean(values, seed);
  return {{"mean", e.mean}, {"low", e.low}, {"high", e.high}};
}

ordered_json summarise(const EvalOptions& options, const std::vector<QuestionScore>& scores) {
  const int64_t n = options.sampling.n;
  const auto seed = static_cast<uint64_t>(options.seed);
  ordered_json result = {{"questions", scores.size()}, {"samples_per_question", n}};
  std::vector<int64_t> ks;
  for (int64_t k = 1; k < n; k *= 2) ks.push_back(k);
  ks.push_back(n);
  for (const int64_t k : ks)
    result[fmt::format("pass@{}", k)] =
        estimate(scores, seed, [k](const QuestionScore& s) { return eval::pass_at_k(s.samples, s.correct, k); });
  if (n > 1)
    result[fmt::format("cons@{}", n)] = estimate(scores, seed, [](const QuestionScore& s) { return s.majority_correct ? 1.0 : 0.0; });
  const auto per_sample = [](double QuestionScore::*sum) {
    return [sum](const QuestionScore& s) { return s.*sum / static_cast<double>(s.samples); };
  };
  result["format"] = estimate(scores, seed, per_sample(&QuestionScore::format));
  result["language"] = estimate(scores, seed, per_sample(&QuestionScore::language));
  result["response_length"] = estimate(scores, seed, per_sample(&QuestionScore::tokens));
  int64_t undecided = 0;
  for (const QuestionScore& score : scores) undecided += score.undecided;
  result["undecided"] = undecided;
  return result;
}

void print_table(const ordered_json& result) {
  fmt::print("{} questions, {} answer(s) each; 95% confidence intervals by bootstrap over questions\n", result["questions"].get<int64_t>(),
             result["samples_per_question"].get<int64_t>());
  for (const auto& [name, value] : result.items()) {
    if (value.is_object())
      fmt::print("{:<16} {:8.3f}  [{:.3f}, {:.3f}]\n", name, value["mean"].get<double>(), value["low"].get<double>(),
                 value["high"].get<double>());
  }
  fmt::print("{:<16} {:8}\n", "undecided", result["undecided"].get<int64_t>());
}

int64_t question_count(const EvalOptions& options, const data::QuestionSet& questions) {
  const auto there_are = static_cast<int64_t>(questions.size());
  const int64_t wanted = options.questions > 0 ? options.questions : there_are > 0 ? there_are : kDefaultQuestions;
  return there_are > 0 ? std::min(wanted, there_are) : wanted;
}

int run_eval(EvalOptions options, comm::Communicator& world) {
  if (options.data.tasks.empty() == options.data.path.empty())
    throw SharedInputError("command line: expected --data or --tasks, found " +
                           std::string(options.data.path.empty() ? "neither" : "both"));
  share_cores(world);
  options.data.split = options.data.path.empty() ? "test" : "all";
  options.data.shuffle = false;
  const data::QuestionSet questions(options.data, static_cast<uint64_t>(options.seed));
  const int64_t count = question_count(options, questions);
  const std::vector<std::string> parts = world.gather("eval", to_json(ask_my_share(options, questions, count, world)).dump());
  if (world.rank() != 0) return kExitDone;

  std::vector<QuestionScore> scores;
  for (const std::string& part : parts)
    for (const QuestionScore& score : from_json(parse_json(part, "eval"))) scores.push_back(score);
  const ordered_json result = summarise(options, scores);
  if (options.as_json) {
    fmt::print("{}\n", result.dump(2));
  } else {
    print_table(result);
  }
  return kExitDone;
}

}  // namespace

void add_eval(CLI::App& program, Action& action) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command = program.add_subcommand("eval", "Measure a trained model: pass@1, pass@k, majority vote, form, language");
  command->add_option("--model", options->model, "model folder, e.g. runs/r1_mini/stages/r1/model")->required();
  command->add_option("--data", options->data.path, "JSONL with questions and answers (GSM8K's form or verl's)");
  command->add_option("--tasks", options->data.tasks, "held-out generated questions instead, e.g. add:2 countdown:1");
  command->add_option("--languages", options->data.languages, "of generated questions: en, zh")->capture_default_str();
  command->add_option("--max-prompt-bytes", options->data.max_prompt_bytes, "leave longer questions of --data out")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--questions", options->questions, "how many; default: 128 generated ones, all of a file")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--template", options->template_name, "prompt template; default: the one the model was trained with")
      ->check(CLI::IsMember(text::template_names()));
  generate::RolloutConfig& sampling = options->sampling;
  command->add_option("--samples", sampling.n, "answers per question, the k of pass@k and cons@k")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_sampling_options(*command, sampling);
  command->add_option("--max-new-tokens", sampling.max_response_length, "longest answer; default: 256, or what the model's positions leave")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--seed", options->seed, "draws questions and answers")->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_flag("--json", options->as_json, "print JSON");
  command->footer(
      "pass@k is the unbiased estimator of arXiv 2107.03374, cons@k the correctness of the most frequent answer.\n"
      "Examples:\n"
      "  cohort eval --model runs/r1_mini/stages/r1/model --tasks add:2 countdown:1 --samples 8\n"
      "  mpirun -n 2 cohort eval --model DIR --data gsm8k/test.jsonl --samples 4 --json");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return run_eval(*options, world); }; });
}

}  // namespace cohort::launcher
