#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/config/yaml_reader.h"
#include "core/config/yaml_writer.h"
#include "core/data/prompt.h"
#include "core/model/published_folder.h"
#include "core/model/weights_io.h"
#include "core/pipeline/recipe.h"
#include "core/pipeline/stage_graph.h"

namespace cohort::pipeline {
namespace {

constexpr uint64_t kProbes = 64;  // generated questions that are looked at; of files, all are

std::string in_quotes(const std::string& text) { return "\"" + printable(text) + "\""; }

/// Questions that a stage uses, and what it does with them.
struct QuestionUse {
  std::string key;  // of the section, e.g. "stages.zero.data"
  data::DataConfig data;
  text::PromptConfig prompt;
  std::string rollout_key = "";  // where the answers' length is set; "" when nothing is sampled
  const generate::RolloutConfig* rollout = nullptr;
  bool learns_answers = false;  // the questions' own answers must be written too
  bool general = false;         // only instructions and safety will do
};

class RecipeCheck {
 public:
  RecipeCheck(const Recipe& recipe, const config::Places& places, int ranks) : recipe_(recipe), places_(places), ranks_(ranks) {}

  std::vector<std::string> run();

 private:
  void problem(const std::string& key, const std::string& expected, const std::string& found);
  void take_over(const InputError& error);
  std::string path_of(size_t stage) const;

  void load_tokenizer();
  bool has_model_folder();
  void check_run();
  void check_ranks();
  void check_experts();
  void check_start();
  void check_names();
  void check_references(size_t stage);
  void check_reference(size_t stage, const StageReference& reference);
  bool depends_on(const StageConfig& stage, const std::string& name) const;
  void check_model(size_t stage);

  void check_stage(size_t stage, const PretrainStage& body);
  void check_stage(size_t stage, const SftStage& body);
  void check_stage(size_t stage, const RlStage& body);
  void check_stage(size_t stage, const RejectionSamplingStage& body);
  void check_stage(size_t stage, const RewardModelStage& body);
  bool check_template(const std::string& key, const text::PromptConfig& prompt);
  void check_eval(const text::PromptConfig& prompt, const std::string& own_key, const data::DataConfig& own, size_t stage);
  void check_use(const QuestionUse& use, size_t stage);
  void check_questions(const QuestionUse& use, const data::QuestionSet& questions, size_t stage);
  void check_length(const std::string& key, int64_t prompt, int64_t answer, size_t stage);
  bool check_files(const std::string& key, const data::DataConfig& data);
  const data::QuestionSet* questions_of(const std::string& key, const data::DataConfig& data, const text::PromptConfig& prompt);
  std::unique_ptr<data::QuestionSet> load_questions(const std::string& key, const data::DataConfig& data, const text::PromptConfig& prompt);

  const Recipe& recipe_;
  const config::Places& places_;
  int ranks_;
  std::vector<std::string> problems_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  std::vector<int64_t> positions_;  // of each stage's model; 0 when not known
  std::vector<int64_t> experts_;    // routed ones of each stage's model; 0 when it is dense or not known
  std::set<std::string> too_long_;  // keys of lengths that were reported: stages share those of the evaluation
  std::map<std::string, std::unique_ptr<data::QuestionSet>> question_sets_;
};

/// Several stages may run into the same fault of a section that they share.
void RecipeCheck::problem(const std::string& key, const std::string& expected, const std::string& found) {
  const std::string line = places_.problem(key, expected, found);
  if (std::find(problems_.begin(), problems_.end(), line) == problems_.end()) problems_.push_back(line);
}

void RecipeCheck::take_over(const InputError& error) {
  for (const std::string& line : error.problems())
    if (std::find(problems_.begin(), problems_.end(), line) == problems_.end()) problems_.push_back(line);
}

/// As the reader calls it.
std::string RecipeCheck::path_of(size_t stage) const {
  const std::string& name = recipe_.stages[stage].name;
  return "stages." + (name.empty() || name.size() > 64 ? std::to_string(stage) : printable(name));
}

std::vector<std::string> RecipeCheck::run() {
  const text::TokenizerConfig& tokenizer = recipe_.tokenizer;
  // With a bad alphabet, of which the section's rule has spoken, nothing can be said about texts.
  if (tokenizer.type != "chars" || text::TokenizerConfig::valid_alphabet(tokenizer.alphabet)) load_tokenizer();
  positions_.resize(recipe_.stages.size());
  experts_.resize(recipe_.stages.size());
  check_run();
  check_ranks();
  if (tokenizer_ != nullptr) check_start();
  check_names();
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    const size_t before = problems_.size();
    check_references(i);
    if (tokenizer_ == nullptr) continue;
    if (problems_.size() == before) check_model(i);
    std::visit([&](const auto& body) { check_stage(i, body); }, recipe_.stages[i].body);
  }
  check_experts();
  return std::move(problems_);
}

void RecipeCheck::load_tokenizer() {
  const std::string& folder = recipe_.model.path;
  if (recipe_.tokenizer.type == "model" && folder.empty())
    return problem("tokenizer.type", "bytes or chars where no model.path is set", "model");
  if (recipe_.tokenizer.type == "model" && !has_model_folder()) return;
  try {
    tokenizer_ = recipe_tokenizer(recipe_);
  } catch (const InputError& error) {
    take_over(error);
  }
}

// ---- The run and its machine -------------------------------------------------------------------------------------------------------

void RecipeCheck::check_run() {
  const std::string& output = recipe_.run.output;
  std::error_code ignored;
  if (output.empty()) problem("run.output", "a folder", "nothing");
  if (std::filesystem::exists(output, ignored) && !std::filesystem::is_directory(output, ignored))
    problem("run.output", "a folder", "the file " + in_quotes(output));
}

void RecipeCheck::check_ranks() {
  const int64_t slots = recipe_.trainer.reduction_slots, ep = recipe_.cluster.expert_parallel_size;
  const int64_t rollout_ranks = recipe_.cluster.rollout_ranks, trainers = ranks_ - rollout_ranks;
  if (ranks_ > 0 && trainers <= 0)
    return problem("cluster.rollout_ranks",
                   fmt::format("less than the {} rank{}, so that at least 1 trains", ranks_, ranks_ == 1 ? "" : "s"),
                   std::to_string(rollout_ranks));
  const std::string who = fmt::format("{} ranks{}", trainers, rollout_ranks == 0 ? "" : " that train");
  const std::string of = rollout_ranks == 0 ? "" : fmt::format("{} ranks - {} that roll out; ", ranks_, rollout_ranks);
  const bool even = ranks_ == 0 || trainers % ep == 0;
  if (!even) problem("cluster.expert_parallel_size", "a divisor of the " + who, std::to_string(ep));
  if (ranks_ > 0 && slots % trainers != 0)
    problem("trainer.reduction_slots",
            fmt::format("a multiple of the {} ({}dp {} x ep {})", who, of, even ? trainers / ep : trainers, even ? ep : 1),
            std::to_string(slots));
}

/// The stages have been looked at.
void RecipeCheck::check_experts() {
  const int64_t ep = recipe_.cluster.expert_parallel_size;
  if (ep > 1 && tokenizer_ != nullptr && problems_.empty() && *std::max_element(experts_.begin(), experts_.end()) == 0)
    problem("cluster.expert_parallel_size", "1, because no stage's model has experts", std::to_string(ep));
  for (const int64_t experts : experts_)
    if (experts % ep != 0)
      problem("cluster.expert_parallel_size", fmt::format("a divisor of the model's {} routed experts", experts), std::to_string(ep));
}

/// False, with a problem, when model.path is no folder.
bool RecipeCheck::has_model_folder() {
  std::error_code ignored;
  if (std::filesystem::is_directory(recipe_.model.path, ignored)) return true;
  problem("model.path", "a folder with config.json and safetensors files", in_quotes(recipe_.model.path) + ", which is none");
  return false;
}

/// model.path, when it is set.
void RecipeCheck::check_start() {
  const std::string& folder = recipe_.model.path;
  if (folder.empty() || !has_model_folder()) return;
  std::error_code ignored;
  try {
    model::check_model_folder(folder);
    model::published_dtype(folder);   // both are needed when a stage is done,
    model::check_companions(folder);  // and that is no time to find them wrong
    const bool own = std::filesystem::exists(folder + "/" + text::kTokenizerFile, ignored);
    if (!own && recipe_.tokenizer.type != "model" && text::has_tokenizer(folder))
      return problem("tokenizer.type", "model, because the model of model.path has a tokenizer.json", recipe_.tokenizer.type);
    const int64_t vocabulary = model::load_architecture(folder).vocab_size;
    if (vocabulary < tokenizer_->vocabulary_size())
      problem("model.path", fmt::format("a model for the tokenizer's {} tokens", tokenizer_->vocabulary_size()),
              std::to_string(vocabulary));
    if (!own) return;
    const nlohmann::json trained_with = text::load_tokenizer(folder)->to_json();
    if (trained_with != tokenizer_->to_json())
      problem("tokenizer", "the tokenizer that the model of model.path was trained with, " + trained_with.dump(),
              tokenizer_->to_json().dump());
  } catch (const InputError& error) {
    take_over(error);
  }
}

// ---- The graph ---------------------------------------------------------------------------------------------------------------------

void RecipeCheck::check_names() {
  if (recipe_.stages.empty()) problem("stages", "at least one stage", "none");
  for (size_t i = 0; i < recipe_.stages.size(); ++i) {
    const StageConfig& stage = recipe_.stages[i];
    if (const StageConfig* first = find_stage(recipe_, stage.name); first != nullptr && first != &stage)
      problem(path_of(i) + ".name", "each name once", in_quotes(stage.name) + " again");
  }
}

void RecipeCheck::check_references(size_t stage) {
  for (const StageReference& reference : stage_references(recipe_.stages[stage])) check_reference(stage, reference);
}

const char* maker_of(Takes takes) {
  switch (takes) {
    case Takes::kModel:
      return "a stage before this one that makes a model (pretrain, sft, rl)";
    case Takes::kTraces:
      return "a stage before this one that makes traces (rejection_sampling)";
    default:
      return "a stage before this one that makes a reward model (reward_model)";
  }
}

bool makes(const StageConfig& stage, Takes what) {
  const bool traces = std::holds_alternative<RejectionSamplingStage>(stage.body);
  const bool scores = std::holds_alternative<RewardModelStage>(stage.body);
  return what == Takes::kTraces ? traces : what == Takes::kScores ? scores : !traces && !scores;
}

void RecipeCheck::check_reference(size_t stage, const StageReference& reference) {
  const StageConfig& self = recipe_.stages[stage];
  const StageConfig* target = find_stage(recipe_, reference.stage);
  std::string expected = maker_of(reference.takes);
  std::string found = in_quotes(reference.stage);
  if (target == nullptr) {
    std::vector<std::string> names;
    for (const StageConfig& other : recipe_.stages)
      if (&other != &self) names.push_back(other.name);
    const std::string near = nearest_name(reference.stage, names);
    found += near.empty() ? ", which is no stage" : ", which is no stage; did you mean '" + near + "'?";
  } else if (target == &self) {
    found += ", the stage itself: a cycle";
  } else if (target > &self) {
    found += depends_on(*target, self.name) ? ", which itself depends on this stage: a cycle" : ", which comes later";
  } else if (!makes(*target, reference.takes)) {
    found += fmt::format(" of type {}", target->type());
  } else {
    return;
  }
  problem(path_of(stage) + "." + reference.key, expected, found);
}

bool RecipeCheck::depends_on(const StageConfig& stage, const std::string& name) const {
  std::set<const StageConfig*> seen{&stage};
  std::vector<const StageConfig*> open{&stage};
  while (!open.empty()) {
    const std::vector<std::string> inputs = stage_inputs(*open.back());
    open.pop_back();
    for (const std::string& input : inputs) {
      if (input == name) return true;
      const StageConfig* next = find_stage(recipe_, input);
      if (next != nullptr && seen.insert(next).second) open.push_back(next);
    }
  }
  return false;
}

/// The stage's references are good.
void RecipeCheck::check_model(size_t i) {
  const StageConfig& stage = recipe_.stages[i];
  const std::string preset = own_model(stage);
  const std::vector<std::string>& presets = model::architecture_preset_names();
  if (!preset.empty() && std::find(presets.begin(), presets.end(), preset) == presets.end()) {
    const std::string near = nearest_name(preset, presets);
    return problem(path_of(i) + ".model", "one of " + join(presets) + (near.empty() ? "" : " (did you mean '" + near + "'?)"),
                   in_quotes(preset));
  }
  try {
    const model::Architecture own = stage_architecture(recipe_, stage);
    positions_[i] = own.max_position_embeddings, experts_[i] = own.n_routed_experts;
    const StageConfig* start = find_stage(recipe_, starting_stage(stage));
    if (start == nullptr) return;
    const model::Architecture given = stage_architecture(recipe_, *start);
    if (!model::same_decoder(own, given))
      problem(path_of(i) + ".model", fmt::format("nothing, or the shape of stage {} that it starts from", in_quotes(start->name)),
              in_quotes(preset));
  } catch (const InputError&) {
    // model.path cannot be read: check_start() has said so. A preset is known, and a broken stage before this one was reported there.
  }
}

// ---- What each type needs ----------------------------------------------------------------------------------------------------------

void RecipeCheck::check_stage(size_t i, const PretrainStage& body) {
  const std::string path = path_of(i);
  bool writable = check_template(path + ".eval_template", body.eval_prompt());
  for (const std::string& name : body.mixture.templates)
    writable = check_template(path + ".mixture.templates", {.name = name, .system_prompt = "", .examples = {}}) && writable;
  if (body.data.from_files())
    return problem(path + (body.data.path.empty() ? ".data.mix" : ".data.path"), "generated tasks for pretraining",
                   in_quotes(join(body.data.paths())));
  if (body.mixture.general_tasks.empty()) problem(path + ".mixture.general_tasks", "at least one task", "none");
  const bool general = !body.mixture.general_tasks.empty() && data::find_task_problems(body.mixture.general_tasks).empty();
  if (questions_of(path + ".data", body.data, body.eval_prompt()) == nullptr || !general || body.mixture.templates.empty() || !writable)
    return;
  try {
    const data::PretrainCorpus corpus(body.data, body.mixture, *tokenizer_, static_cast<uint64_t>(recipe_.run.seed));
    for (uint64_t at = 0; at < kProbes; ++at) {
      const records::Demonstration document = corpus.at(at);
      check_length(path + ".data", document.prompt_ids_size(), document.completion_ids_size(), i);
    }
  } catch (const InputError& error) {
    problem(path + ".mixture", "documents that the tokenizer can write", error.problems().front());
  }
  check_eval(body.eval_prompt(), path + ".data", body.data, i);
}

void RecipeCheck::check_stage(size_t i, const SftStage& body) {
  const std::string path = path_of(i);
  if (positions_[i] > 0 && body.max_length > positions_[i])
    problem(path + ".max_length", fmt::format("at most the model's {} positions", positions_[i]), std::to_string(body.max_length));
  if (body.stop_at_accuracy > 0.0 && (body.test_freq >= 0 ? body.test_freq : recipe_.eval.test_freq) == 0)
    problem(path + ".stop_at_accuracy", "0 unless eval.test_freq is above 0", fmt::format("{}", body.stop_at_accuracy));
  if (!check_template(path + ".template", body.prompt)) return;
  if (body.data.demonstrations_size > 0)
    check_use({.key = path + ".data.demonstrations", .data = body.data.demonstrations, .prompt = body.prompt, .learns_answers = true}, i);
  check_eval(body.prompt, path + ".data.demonstrations", body.data.demonstrations, i);
}

void RecipeCheck::check_stage(size_t i, const RlStage& body) {
  const std::string path = path_of(i);
  const reward::RewardConfig& rewards = body.rewards;
  if (rewards.overlong.enable && rewards.overlong.len > body.rollout.max_response_length)
    problem(path + ".rewards.overlong.len", fmt::format("at most rollout.max_response_length = {}", body.rollout.max_response_length),
            std::to_string(rewards.overlong.len));
  if (body.rollout.partial_rollout_tokens > 0 && recipe_.cluster.max_staleness == 0)
    problem(path + ".rollout.partial_rollout_tokens", "0 unless cluster.max_staleness is at least 1",
            std::to_string(body.rollout.partial_rollout_tokens));
  if (rewards.preference > 0.0 && rewards.preference_from_step >= body.steps)
    problem(path + ".rewards.preference_from_step", fmt::format("below the stage's {} steps", body.steps),
            std::to_string(rewards.preference_from_step));
  if (!check_template(path + ".template", body.prompt)) return;
  check_use({.key = path + ".data", .data = body.data, .prompt = body.prompt, .rollout_key = path + ".rollout", .rollout = &body.rollout},
            i);
  check_eval(body.prompt, path + ".data", body.data, i);
}

void RecipeCheck::check_stage(size_t i, const RejectionSamplingStage& body) {
  const std::string path = path_of(i);
  if (!check_template(path + ".template", body.prompt)) return;
  check_use({.key = path + ".data", .data = body.data, .prompt = body.prompt, .rollout_key = path + ".rollout", .rollout = &body.rollout},
            i);
}

void RecipeCheck::check_stage(size_t i, const RewardModelStage& body) {
  const std::string path = path_of(i);
  if (!check_template(path + ".template", body.prompt)) return;
  check_use({.key = path + ".data",
             .data = body.data,
             .prompt = body.prompt,
             .rollout_key = path + ".rollout",
             .rollout = &body.rollout,
             .general = true},
            i);
}

/// False, with a problem, when the tokenizer has not the tokens that the template is made of.
bool RecipeCheck::check_template(const std::string& key, const text::PromptConfig& prompt) {
  if (!prompt.is_known()) return false;  // a rule of the section has said so
  try {
    text::make_prompt_template(prompt, *tokenizer_).render(prompt.is_conversation() ? "?" : "", *tokenizer_);
    return true;
  } catch (const InputError& error) {
    problem(key, "a template that the tokenizer can write", prompt.name + " (" + error.problems().front() + ")");
    return false;
  }
}

// ---- Questions ---------------------------------------------------------------------------------------------------------------------

/// Held-out questions under the template of a stage. Where eval.data names none they are like the stage's own.
void RecipeCheck::check_eval(const text::PromptConfig& prompt, const std::string& own_key, const data::DataConfig& own, size_t i) {
  const EvalSection& eval = recipe_.eval;
  QuestionUse use = {.key = "eval.data", .data = eval.data, .prompt = prompt, .rollout_key = "eval.rollout", .rollout = &eval.rollout};
  if (!eval.data.given()) {
    use.key = own_key;
    use.data = own;
  }
  if (own.from_files() && !eval.data.given()) {
    problem("eval.data",
            "held-out questions, because stage " + in_quotes(recipe_.stages[i].name) + " learns the file " + in_quotes(join(own.paths())),
            "none");
  } else if (use.data.given()) {
    check_use(use, i);
  } else {
    problem("eval.data", "tasks or a path, because stage " + in_quotes(recipe_.stages[i].name) + " has no questions of its own", "neither");
  }
  use.key = "eval.general";
  use.data = eval.general;
  use.general = true;
  if (use.data.given()) check_use(use, i);
}

void RecipeCheck::check_use(const QuestionUse& use, size_t i) {
  const data::QuestionSet* questions = questions_of(use.key, use.data, use.prompt);
  if (questions != nullptr) check_questions(use, *questions, i);
}

void RecipeCheck::check_questions(const QuestionUse& use, const data::QuestionSet& questions, size_t i) {
  const text::PromptTemplate prompt_template = text::make_prompt_template(use.prompt, *tokenizer_);
  const bool from_files = use.data.from_files();
  const uint64_t count = from_files ? questions.rows() : kProbes;
  const std::string source_key = use.key + (!from_files ? ".tasks" : use.data.path.empty() ? ".mix" : ".path");
  int64_t longest = 0;
  for (uint64_t at = 0; at < count; ++at) {
    const records::Question question = from_files ? questions.row(at) : questions.at(at);
    if (use.general && question.category() == records::REASONING)
      return problem(source_key, "general questions (tasks instruction, safety)", from_files ? "reasoning questions" : question.source());
    if (use.rollout != nullptr && question.verifier().empty())
      return problem(source_key, "questions with an answer to compare with", "a conversation without one: " + in_quotes(question.text()));
    try {
      longest = std::max(longest, static_cast<int64_t>(data::render_prompt(question, prompt_template, *tokenizer_).size()));
      if (use.learns_answers) data::demonstrate(question, prompt_template, *tokenizer_);
    } catch (const InputError& error) {
      return problem(source_key, "questions that the tokenizer can write",
                     (from_files ? questions.place(at) + ": " : "") + error.problems().front());
    }
  }
  if (use.rollout != nullptr) check_length(use.rollout_key + ".max_response_length", longest, use.rollout->max_response_length, i);
}

void RecipeCheck::check_length(const std::string& key, int64_t prompt, int64_t answer, size_t i) {
  if (positions_[i] == 0 || answer <= positions_[i] - prompt || !too_long_.insert(key).second) return;
  problem(key, fmt::format("prompt and answer within the model's {} positions", positions_[i]),
          fmt::format("{} + {} tokens", prompt, answer));
}

bool broken(const data::DataConfig& data) {
  const bool both = !data.tasks.empty() + !data.path.empty() + !data.mix.empty() > 1;
  const bool weights = !data.weights.empty() && data.weights.size() != data.tasks.size();
  return both || weights || !data::DataConfig::valid_languages(data.languages) || !data::find_task_problems(data.tasks).empty();
}

bool RecipeCheck::check_files(const std::string& key, const data::DataConfig& data) {
  for (const std::string& path : data.paths()) {
    std::string resolved;
    try {
      resolved = data::resolve_data_path(path);
    } catch (const InputError&) {
      problem(key, "the environment variable COHORT_DATA to name a folder", "it unset");
      return false;
    }
    try {
      data::find_data_files(path);
    } catch (const InputError&) {
      problem(key, "an existing file, folder or pattern", in_quotes(resolved));
      return false;
    }
  }
  return true;
}

/// Null, with a problem, when they cannot be had.
const data::QuestionSet* RecipeCheck::questions_of(const std::string& key, const data::DataConfig& data, const text::PromptConfig& prompt) {
  const bool renders = data.max_prompt_length > 0 || data.skip_bad_rows;
  const std::string text = config::write_config(data) + (renders ? config::write_config(prompt) : "");
  const auto found = question_sets_.find(text);
  if (found != question_sets_.end()) return found->second.get();
  return question_sets_.emplace(text, load_questions(key, data, prompt)).first->second.get();
}

std::unique_ptr<data::QuestionSet> RecipeCheck::load_questions(const std::string& key, const data::DataConfig& data,
                                                               const text::PromptConfig& prompt) {
  if (!data.given()) {
    problem(key, "tasks or a path", "neither");
    return nullptr;
  }
  if (broken(data)) return nullptr;  // the section's rules have said so
  if (data.from_files() && !check_files(key + (data.path.empty() ? ".mix" : ".path"), data)) return nullptr;
  try {
    const text::PromptTemplate prompt_template = text::make_prompt_template(prompt, *tokenizer_);
    auto questions = std::make_unique<data::QuestionSet>(data, static_cast<uint64_t>(recipe_.run.seed),
                                                         data::prompt_length(prompt_template, *tokenizer_));
    if (!questions->warning().empty()) log_warn("{}: {}", key, questions->warning());
    return questions;
  } catch (const InputError& error) {
    take_over(error);
    return nullptr;
  }
}

}  // namespace

std::vector<std::string> check_recipe(const Recipe& recipe, const config::Places& places, int ranks) {
  return RecipeCheck(recipe, places, ranks).run();
}

}  // namespace cohort::pipeline
