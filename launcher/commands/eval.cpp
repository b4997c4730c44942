// cohort eval: how well a trained model answers questions whose answers can be checked.

#include <fmt/core.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/config/yaml_reader.h"
#include "core/data/prompt.h"
#include "core/eval/completions.h"
#include "core/eval/evaluation.h"
#include "core/eval/report.h"
#include "core/eval/suite.h"
#include "launcher/commands/command.h"
#include "launcher/model_folder.h"
#include "launcher/process_setup.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

using eval::QuestionScore;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kDefaultNewTokens = 256;
constexpr int64_t kDefaultQuestions = 128;
constexpr int64_t kQuestionsAtOnce = 64;  // bounds what is held of answers

struct EvalOptions {
  std::string model;
  std::string completions;
  std::string suite;
  data::DataConfig data;
  std::string verifier;  // instead of the questions' own
  std::string template_name;
  int64_t questions = 0;
  generate::RolloutConfig sampling = {.n = 1, .temperature = 0.6, .top_p = 0.95, .max_response_length = 0, .max_num_seqs = 64};
  int64_t most_new_tokens = kDefaultNewTokens;  // where sampling.max_response_length is 0
  int64_t seed = 17;
  std::string dtype = "fp32";
  bool as_json = false;
  std::string suite_name;
  std::set<std::string> given;  // options that are on the command line
};

/// The suite's settings, except where the command line has its own.
void apply_suite(EvalOptions& options) {
  const auto suite = config::read_config<eval::Suite>(options.suite);
  const auto left_open = [&](const char* option) { return options.given.count(option) == 0; };
  options.suite_name = suite.name;
  const data::DataConfig own = std::exchange(options.data, suite.data);
  if (!left_open("--format")) options.data.format = own.format;
  if (!left_open("--languages")) options.data.languages = own.languages;
  if (!left_open("--max-prompt-bytes")) options.data.max_prompt_bytes = own.max_prompt_bytes;
  if (options.data.split == "auto" && !options.data.tasks.empty()) options.data.split = "test";
  options.verifier = suite.verifier;
  if (left_open("--template")) options.template_name = suite.prompt_template;
  if (left_open("--questions")) options.questions = suite.questions;
  if (left_open("--samples")) options.sampling.n = suite.rollout.n;
  if (left_open("--temperature")) options.sampling.temperature = suite.rollout.temperature;
  if (left_open("--top-p")) options.sampling.top_p = suite.rollout.top_p;
  if (left_open("--max-num-seqs")) options.sampling.max_num_seqs = suite.rollout.max_num_seqs;
  options.sampling.top_k = suite.rollout.top_k;
  options.most_new_tokens = suite.rollout.max_response_length;
}

/// Room for the answer, the same for every question, so that an answer is cut at the same token on any number of ranks.
int64_t common_answer_length(const EvalOptions& options, const data::QuestionSet& questions, int64_t count, const ModelFolder& folder) {
  size_t longest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const records::Question question = questions.at(static_cast<uint64_t>(i));
    longest = std::max(longest, data::render_prompt(question, *folder.prompt_template, *folder.tokenizer).size());
  }
  return answer_length(folder.positions(), static_cast<int64_t>(longest), options.sampling.max_response_length, options.most_new_tokens);
}

/// Scores of this rank's share of questions 0 … count-1.
std::vector<QuestionScore> ask_my_share(const EvalOptions& options, const data::QuestionSet& questions, int64_t count,
                                        const ModelFolder& folder, const comm::Communicator& world) {
  generate::RolloutConfig sampling = options.sampling;
  sampling.max_response_length = common_answer_length(options, questions, count, folder);
  const reward::Scorer scorer({}, *folder.prompt_template, *folder.tokenizer, sampling.max_response_length);
  const int64_t end = count * (world.rank() + 1) / world.size();
  std::vector<QuestionScore> scores;
  for (int64_t from = count * world.rank() / world.size(); from < end; from += kQuestionsAtOnce) {
    const int64_t to = std::min(end, from + kQuestionsAtOnce);
    std::vector<records::Group> groups = eval::ask(questions, from, to, 0, *folder.prompt_template, *folder.tokenizer);
    for (records::Group& group : groups)
      if (!options.verifier.empty()) group.mutable_question()->set_verifier(options.verifier);
    eval::answer(groups, *folder.model, *folder.tokenizer, sampling, scorer, {static_cast<uint64_t>(options.seed), "cohort eval", 0}, {});
    eval::add_votes(groups, *folder.prompt_template, *folder.tokenizer);
    for (const records::Group& group : groups) scores.push_back(eval::score_of(group));
  }
  return scores;
}

json to_json(const std::vector<QuestionScore>& scores) {
  json rows = json::array();
  for (const QuestionScore& s : scores)
    rows.push_back({s.source, s.samples, s.correct, s.undecided, s.majority_correct, s.format, s.language, s.tokens});
  return rows;
}

std::vector<QuestionScore> from_json(const json& rows) {
  std::vector<QuestionScore> scores;
  for (const json& r : rows)
    scores.push_back({r.at(0).get<std::string>(), r.at(1).get<int64_t>(), r.at(2).get<int64_t>(), r.at(3).get<int64_t>(),
                      r.at(4).get<bool>(), r.at(5).get<double>(), r.at(6).get<double>(), r.at(7).get<double>()});
  return scores;
}

void print_table(const ordered_json& result) {
  if (result.contains("suite")) fmt::print("{}: ", printable(result["suite"].get<std::string>()));
  fmt::print("{} questions, {} answer(s) each; 95% confidence intervals by bootstrap over questions\n", result["questions"].get<int64_t>(),
             result["samples_per_question"].get<int64_t>());
  const auto print_estimates = [](const std::string& before, const ordered_json& part) {
    for (const auto& [name, value] : part.items())
      if (value.is_object() && value.contains("mean"))
        fmt::print("{:<16} {:8.3f}  [{:.3f}, {:.3f}]\n", before + name, value["mean"].get<double>(), value["low"].get<double>(),
                   value["high"].get<double>());
  };
  print_estimates("", result);
  fmt::print("{:<16} {:8}\n", "undecided", result["undecided"].get<int64_t>());
  if (!result.contains("sources")) return;
  for (const auto& [source, part] : result["sources"].items()) {
    fmt::print("{}: {} questions\n", printable(source), part["questions"].get<int64_t>());
    print_estimates("  ", part);
  }
}

int64_t question_count(const EvalOptions& options, const data::QuestionSet& questions) {
  const auto there_are = static_cast<int64_t>(options.data.from_files() ? questions.positions_without_repeat() : questions.size());
  const int64_t wanted = options.questions > 0 ? options.questions : there_are > 0 ? there_are : kDefaultQuestions;
  return there_are > 0 ? std::min(wanted, there_are) : wanted;
}

/// Each option once, and only those that go together.
void require_one_source(const EvalOptions& options) {
  const auto given = [&](const char* option) { return options.given.count(option) > 0; };
  if (given("--completions")) {
    for (const char* other : {"--model", "--data", "--tasks", "--suite", "--samples", "--temperature", "--top-p", "--questions",
                              "--max-prompt-bytes", "--max-new-tokens", "--languages", "--dtype", "--max-num-seqs"})
      if (given(other)) throw SharedInputError(fmt::format("command line: {}: expected nothing beside --completions, found it", other));
    return;
  }
  if (!given("--model")) throw SharedInputError("command line: expected --model or --completions, found neither");
  const int sources = given("--data") + given("--tasks") + given("--suite");
  if (sources != 1)
    throw SharedInputError(
        fmt::format("command line: expected one of --data, --tasks and --suite, found {}", sources == 0 ? "none" : "several"));
}

void print_result(const EvalOptions& options, const ordered_json& report) {
  ordered_json result;
  if (!options.suite_name.empty()) result["suite"] = options.suite_name;
  result.update(report);
  if (options.as_json) {
    fmt::print("{}\n", result.dump(2));
  } else {
    print_table(result);
  }
}

/// Without a model; one process does it.
int score_recorded(const EvalOptions& options, const comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;
  std::optional<text::PromptTemplate> form;
  if (!options.template_name.empty()) form = text::completion_form(options.template_name);
  const auto scores = eval::score_completions(options.completions, data::row_format(options.data.format), form ? &*form : nullptr);
  print_result(options, eval::report(scores, static_cast<uint64_t>(options.seed),
                                     {.format = form.has_value(), .language = false, .response_length = false}));
  return kExitDone;
}

int run_eval(EvalOptions options, comm::Communicator& world) {
  require_one_source(options);
  if (!options.completions.empty()) return score_recorded(options, world);
  share_cores(world);
  if (options.suite.empty()) {
    options.data.split = options.data.path.empty() ? "test" : "all";
  } else {
    apply_suite(options);
  }
  options.data.shuffle = false;
  const ModelFolder folder = load_model_folder(options.model, options.template_name, compute_type_named(options.dtype));
  const data::QuestionSet questions(options.data, static_cast<uint64_t>(options.seed),
                                    data::prompt_length(*folder.prompt_template, *folder.tokenizer));
  if (!questions.warning().empty()) log_warn("{}", questions.warning());
  const int64_t count = question_count(options, questions);
  const std::vector<std::string> parts = world.gather("eval", to_json(ask_my_share(options, questions, count, folder, world)).dump());
  if (world.rank() != 0) return kExitDone;

  std::vector<QuestionScore> scores;
  for (const std::string& part : parts)
    for (const QuestionScore& score : from_json(parse_json(part, "eval"))) scores.push_back(score);
  print_result(options, eval::report(scores, static_cast<uint64_t>(options.seed)));
  return kExitDone;
}

}  // namespace

void add_eval(CLI::App& program, Action& action) {
  auto options = std::make_shared<EvalOptions>();
  CLI::App* command =
      program.add_subcommand("eval", "Measure a trained model, or answers recorded: pass@1, pass@k, majority vote, form, language");
  command->add_option("--model", options->model, "model folder, e.g. runs/r1_mini/stages/r1/model");
  command->add_option("--completions", options->completions,
                      "score answers that are there already, without a model: rows with a ground truth and \"completions\": [\"…\"]");
  command->add_option("--data", options->data.path, "questions with answers: a JSONL or Parquet file, a folder or a pattern");
  command->add_option("--tasks", options->data.tasks, "held-out generated questions instead, e.g. add:2 countdown:1");
  command->add_option("--suite", options->suite,
                      "questions and sampling as a YAML file says, e.g. configs/suites/gsm8k.yaml; options given beside it win");
  command->add_option("--format", options->data.format, "form of the rows; auto looks at their keys")
      ->check(CLI::IsMember(data::row_format_names()))
      ->capture_default_str();
  command->add_option("--languages", options->data.languages, "of generated questions: en, zh")->capture_default_str();
  command->add_option("--max-prompt-bytes", options->data.max_prompt_bytes, "leave longer questions of --data out")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--questions", options->questions, "how many; default: 128 generated ones, all of a file")
      ->check(CLI::Range(1, 1 << 24));
  command
      ->add_option("--template", options->template_name,
                   "prompt template; default: the one the model was trained with; of --completions: the form they should have")
      ->check(CLI::IsMember(text::PromptConfig::names()));
  generate::RolloutConfig& sampling = options->sampling;
  command->add_option("--samples", sampling.n, "answers per question, the k of pass@k and cons@k")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  add_sampling_options(*command, sampling);
  command->add_option("--max-new-tokens", sampling.max_response_length, "longest answer; default: 256, or what the model's positions leave")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--seed", options->seed, "draws questions and answers")->check(CLI::NonNegativeNumber)->capture_default_str();
  add_dtype_option(*command, options->dtype);
  command->add_flag("--json", options->as_json, "print JSON");
  command->footer(
      "pass@k is the unbiased estimator of arXiv 2107.03374, cons@k the correctness of the most frequent answer.\n"
      "Examples:\n"
      "  cohort eval --model runs/r1_mini/stages/r1/model --tasks add:2 countdown:1 --samples 8\n"
      "  mpirun -n 2 cohort eval --model DIR --data gsm8k/test.jsonl --samples 4 --json\n"
      "  cohort eval --model DIR --suite configs/suites/gsm8k.yaml\n"
      "  cohort eval --completions answers.jsonl --json");
  command->callback([options, command, &action] {
    for (const CLI::Option* option : command->get_options())
      if (option->count() > 0) options->given.insert(option->get_name());
    action = [options](comm::Communicator& world) { return run_eval(*options, world); };
  });
}

}  // namespace cohort::launcher
