// cohort generate: samples from a trained model, streaming to the terminal or from JSONL to JSONL.

#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/generate/generator.h"
#include "core/text/utf8.h"
#include "launcher/commands/command.h"
#include "launcher/model_folder.h"
#include "launcher/process_setup.h"

namespace cohort::launcher {
namespace {

constexpr uint64_t kMaxPromptsBytes = uint64_t{1} << 28;
constexpr size_t kPromptsAtOnce = 256;
constexpr int64_t kDefaultNewTokens = 256;
constexpr int64_t kSequencesAtOnce = 64;

struct GenerateOptions {
  std::string model;
  std::string prompts;
  std::string output;
  std::string template_name;
  generate::RolloutConfig sampling = {
      .n = 1, .temperature = 0.6, .top_p = 0.95, .max_response_length = 0, .max_num_seqs = kSequencesAtOnce};
  uint64_t seed = 17;
};

class Session {
 public:
  explicit Session(const GenerateOptions& options) : options_(options), folder_(load_model_folder(options.model, options.template_name)) {}

  void converse();
  void answer_file();

 private:
  records::Group prompt_group(uint64_t id, const std::vector<int32_t>& ids) const;
  std::vector<int32_t> parse_prompt(const std::string& line, const std::string& where) const;
  void sample(std::vector<records::Group>& groups, const generate::Generator::OnToken& on_token = {});
  std::vector<std::vector<int32_t>> read_prompts() const;
  nlohmann::json to_json(uint64_t prompt, const records::Sample& sample) const;
  std::string text_of(const records::Sample& sample) const;

  const GenerateOptions& options_;
  ModelFolder folder_;
};

records::Group Session::prompt_group(uint64_t id, const std::vector<int32_t>& ids) const {
  if (ids.empty()) throw InputError("prompt: expected text, found nothing");
  records::Group group;
  group.set_id(id);
  group.mutable_prompt_ids()->Add(ids.begin(), ids.end());
  return group;
}

void Session::sample(std::vector<records::Group>& groups, const generate::Generator::OnToken& on_token) {
  int64_t longest = 0;
  for (const records::Group& group : groups) longest = std::max<int64_t>(longest, group.prompt_ids_size());
  generate::RolloutConfig sampling = options_.sampling;
  sampling.max_response_length = answer_length(folder_.positions(), longest, sampling.max_response_length, kDefaultNewTokens);
  generate::Generator(*folder_.model, *folder_.tokenizer, sampling).generate(groups, {options_.seed, "generate", 0}, {}, on_token);
}

/// On a terminal the model must not speak to the terminal: control characters other than newline and tab are shown as "?".
std::string for_screen(std::string text) {
  if (isatty(STDOUT_FILENO) == 0) return text;
  for (char& c : text)
    if ((static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7f) c = '?';
  return text;
}

/// What a person reads: without the end token.
std::string Session::text_of(const records::Sample& sample) const {
  std::vector<int32_t> ids(sample.response_ids().begin(), sample.response_ids().end());
  if (!ids.empty() && folder_.tokenizer->is_end(ids.back())) ids.pop_back();
  return text::replace_invalid(folder_.tokenizer->decode(ids));
}

/// A question per line until the end of the input. One answer appears as it is sampled; several appear when they are complete.
void Session::converse() {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  std::string question;
  for (uint64_t number = 0; true; ++number) {
    if (terminal) fmt::print(stderr, "> ");
    if (!std::getline(std::cin, question)) break;
    if (text::trim(question).empty()) continue;
    std::vector<records::Group> groups = {prompt_group(number, folder_.prompt_template->render(question, *folder_.tokenizer))};
    if (options_.sampling.n > 1) {
      sample(groups);
      for (const records::Sample& each : groups[0].samples()) fmt::print("[{}] {}\n", each.index(), for_screen(text_of(each)));
      continue;
    }
    text::IncrementalDecoder decoder(*folder_.tokenizer);
    const auto show = [&](const std::string& piece) {
      fmt::print("{}", for_screen(text::replace_invalid(piece)));
      std::fflush(stdout);
    };
    sample(groups, [&](const records::Group&, const records::Sample&, int32_t id) {
      if (!folder_.tokenizer->is_end(id)) show(decoder.push(id));
    });
    show(decoder.finish() + "\n");
  }
}

std::vector<int32_t> Session::parse_prompt(const std::string& line, const std::string& where) const {
  const nlohmann::json row = parse_json(line, where);
  const bool has_text = row.is_object() && row.contains("text") && row["text"].is_string();
  const bool has_question = row.is_object() && row.contains("question") && row["question"].is_string();
  if (has_text == has_question)
    throw InputError(where + ": expected a string \"question\" or a string \"text\", found " + (has_text ? "both" : "neither"));
  if (has_text) return folder_.tokenizer->encode(row["text"].get<std::string>());
  return folder_.prompt_template->render(row["question"].get<std::string>(), *folder_.tokenizer);
}

/// InputError with every line that is wrong.
std::vector<std::vector<int32_t>> Session::read_prompts() const {
  std::istringstream lines(read_file(options_.prompts, kMaxPromptsBytes));
  std::vector<std::vector<int32_t>> prompts;
  std::vector<std::string> problems;
  std::string line;
  for (uint64_t number = 1; std::getline(lines, line); ++number) {
    if (text::trim(line).empty()) continue;
    const std::string where = fmt::format("{}:{}", options_.prompts, number);
    try {
      prompts.push_back(parse_prompt(line, where));
      if (prompts.back().empty()) throw InputError(where + ": expected a prompt, found an empty one");
      answer_length(folder_.positions(), static_cast<int64_t>(prompts.back().size()), options_.sampling.max_response_length,
                    kDefaultNewTokens);
    } catch (const InputError& error) {
      const std::string& problem = error.problems().front();
      problems.push_back(problem.starts_with(where) ? problem : where + ": " + problem);
    }
  }
  if (prompts.empty() && problems.empty()) problems.push_back(options_.prompts + ": expected at least one line, found none");
  if (!problems.empty()) throw InputError(problems);
  return prompts;
}

nlohmann::json Session::to_json(uint64_t prompt, const records::Sample& sample) const {
  nlohmann::json line;
  line["prompt"] = prompt;
  line["sample"] = sample.index();
  line["text"] = text_of(sample);
  line["ids"] = std::vector<int32_t>(sample.response_ids().begin(), sample.response_ids().end());
  line["logprobs"] = std::vector<float>(sample.logprobs().begin(), sample.logprobs().end());
  line["finish_reason"] = sample.finish_reason() == records::STOP ? "stop" : "length";
  return line;
}

void Session::answer_file() {
  std::error_code none;
  if (!options_.output.empty() && std::filesystem::equivalent(options_.prompts, options_.output, none))
    throw InputError("--output: expected another file than --prompts, found " + options_.output);
  if (!options_.output.empty()) require_writable_place(options_.output);
  const std::vector<std::vector<int32_t>> prompts = read_prompts();
  std::string written;
  for (size_t begin = 0; begin < prompts.size(); begin += kPromptsAtOnce) {
    std::vector<records::Group> groups;
    for (size_t i = begin; i < std::min(begin + kPromptsAtOnce, prompts.size()); ++i) groups.push_back(prompt_group(i, prompts[i]));
    sample(groups);
    for (const records::Group& group : groups)
      for (const records::Sample& each : group.samples()) {
        const std::string line = to_json(group.id(), each).dump() + "\n";
        if (options_.output.empty()) fmt::print("{}", line);
        written += options_.output.empty() ? "" : line;
      }
  }
  if (!options_.output.empty()) write_file_atomic(options_.output, written);
}

int run_generate(const GenerateOptions& options, comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;  // one process has all that sampling needs
  share_cores(world);
  Session session(options);
  if (options.prompts.empty()) {
    session.converse();
  } else {
    session.answer_file();
  }
  return kExitDone;
}

}  // namespace

void add_generate(CLI::App& program, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = program.add_subcommand("generate", "Ask a trained model: questions typed or piped in, or a JSONL file");
  command->add_option("--model", options->model, "model folder, e.g. runs/r1_mini/stages/r1/model")->required();
  CLI::Option* prompts =
      command->add_option("--prompts", options->prompts,
                          "JSONL; each row {\"question\": …}, put into the prompt template, or {\"text\": …}, a prompt as it stands");
  command->add_option("--output", options->output, "JSONL with text, ids, logprobs, finish_reason per answer; default: standard output")
      ->needs(prompts);
  command->add_option("--template", options->template_name, "prompt template; default: the one the model was trained with")
      ->check(CLI::IsMember(text::template_names()));
  generate::RolloutConfig& sampling = options->sampling;
  command->add_option("--n", sampling.n, "answers per question")->check(CLI::Range(1, 4096))->capture_default_str();
  add_sampling_options(*command, sampling);
  command->add_option("--max-new-tokens", sampling.max_response_length, "longest answer; default: 256, or what the model's positions leave")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--seed", options->seed, "the answers are a function of model, prompt and seed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  cohort generate --model runs/r1_mini/stages/r1/model\n"
      "  echo 'Add 47 and 85.' | cohort generate --model runs/r1_mini/stages/r1/model --n 4\n"
      "  cohort generate --model DIR --prompts questions.jsonl --output answers.jsonl --temperature 0");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return run_generate(*options, world); }; });
}

}  // namespace cohort::launcher
