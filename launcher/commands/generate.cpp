// cohort generate: samples from a trained model, streaming to the terminal or from JSONL to JSONL.

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/error.h"
#include "core/generate/generator.h"
#include "core/text/utf8.h"
#include "launcher/commands/command.h"
#include "launcher/model_folder.h"
#include "launcher/process_setup.h"
#include "launcher/prompt_rows.h"

namespace cohort::launcher {
namespace {

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
  std::string dtype = "fp32";
};

class Session {
 public:
  Session(const GenerateOptions& options, ModelFolder folder) : options_(options), folder_(std::move(folder)) {}

  void converse();
  void answer_file(comm::Communicator& world);

 private:
  records::Group prompt_group(uint64_t id, const std::vector<int32_t>& ids) const;
  std::vector<std::vector<int32_t>> read_prompts() const;
  void sample(std::vector<records::Group>& groups, int64_t longest_prompt, const generate::Generator::OnToken& on_token = {});
  std::string answer(const std::vector<std::vector<int32_t>>& prompts, size_t begin, size_t end, int64_t longest_prompt);
  bool is_end(int32_t id) const { return std::find(folder_.end_ids.begin(), folder_.end_ids.end(), id) != folder_.end_ids.end(); }
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

void Session::sample(std::vector<records::Group>& groups, int64_t longest_prompt, const generate::Generator::OnToken& on_token) {
  generate::RolloutConfig sampling = options_.sampling;
  sampling.max_response_length = answer_length(folder_.positions(), longest_prompt, sampling.max_response_length, kDefaultNewTokens);
  generate::Generator(*folder_.model, folder_.tokenizer.get(), folder_.end_ids, sampling)
      .generate(groups, {options_.seed, "generate", 0}, {}, on_token);
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
  if (!ids.empty() && is_end(ids.back())) ids.pop_back();
  return text::replace_invalid_sequences(folder_.tokenizer->decode(ids));
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
    const int64_t prompt = groups[0].prompt_ids_size();
    if (options_.sampling.n > 1) {
      sample(groups, prompt);
      for (const records::Sample& each : groups[0].samples()) fmt::print("[{}] {}\n", each.index(), for_screen(text_of(each)));
      continue;
    }
    text::IncrementalDecoder decoder(*folder_.tokenizer);
    const auto show = [&](const std::string& piece) {
      fmt::print("{}", for_screen(text::replace_invalid(piece)));
      std::fflush(stdout);
    };
    sample(groups, prompt, [&](const records::Group&, const records::Sample&, int32_t id) {
      if (!is_end(id)) show(decoder.push(id));
    });
    show(decoder.finish() + "\n");
  }
}

std::vector<std::vector<int32_t>> Session::read_prompts() const {
  const std::vector<PromptRow> rows = read_prompt_rows(options_.prompts, {"ids", "text", "messages", "question"});
  return ids_of_rows(rows, folder_, [&](const std::vector<int32_t>& ids) {
    answer_length(folder_.positions(), static_cast<int64_t>(ids.size()), options_.sampling.max_response_length, kDefaultNewTokens);
  });
}

nlohmann::json Session::to_json(uint64_t prompt, const records::Sample& sample) const {
  nlohmann::json line;
  line["prompt"] = prompt;
  line["sample"] = sample.index();
  if (folder_.tokenizer) line["text"] = text_of(sample);
  line["ids"] = std::vector<int32_t>(sample.response_ids().begin(), sample.response_ids().end());
  line["logprobs"] = std::vector<float>(sample.logprobs().begin(), sample.logprobs().end());
  line["finish_reason"] = sample.finish_reason() == records::STOP ? "stop" : "length";
  return line;
}

/// A line for each answer to prompts [begin, end).
std::string Session::answer(const std::vector<std::vector<int32_t>>& prompts, size_t begin, size_t end, int64_t longest_prompt) {
  std::vector<records::Group> groups;
  for (size_t i = begin; i < end; ++i) groups.push_back(prompt_group(i, prompts[i]));
  sample(groups, longest_prompt);
  std::string lines;
  for (const records::Group& group : groups)
    for (const records::Sample& each : group.samples()) lines += to_json(group.id(), each).dump() + "\n";
  return lines;
}

/// Answers have the same room on any number of ranks, and so are the same.
void Session::answer_file(comm::Communicator& world) {
  const std::vector<std::vector<int32_t>> prompts = read_prompts();
  size_t longest = 0;
  for (const std::vector<int32_t>& ids : prompts) longest = std::max(longest, ids.size());
  const Share mine = share_of(prompts.size(), world.rank(), world.size());
  const bool at_once = options_.output.empty() && world.size() == 1;  // shown as they come
  std::string lines;
  for (size_t begin = mine.begin; begin < mine.end; begin += kPromptsAtOnce) {
    lines += answer(prompts, begin, std::min(begin + kPromptsAtOnce, mine.end), static_cast<int64_t>(longest));
    if (at_once) fmt::print("{}", std::exchange(lines, {}));
  }
  write_lines(world, "generate", lines, options_.output);
}

int run_generate(const GenerateOptions& options, comm::Communicator& world) {
  const model::ComputeType type = compute_type_named(options.dtype);
  if (options.prompts.empty() && world.rank() != 0) return kExitDone;  // a conversation is with one process
  share_cores(world);
  if (options.prompts.empty()) {
    Session(options, load_model_folder(options.model, options.template_name, type)).converse();
    return kExitDone;
  }
  if (!options.output.empty()) require_other_file("--prompts", options.prompts, options.output);
  ModelFolder folder = load_published_folder(options.model, options.template_name, type, true);
  folder.mask_missing_tokens();
  Session(options, std::move(folder)).answer_file(world);
  return kExitDone;
}

}  // namespace

void add_generate(CLI::App& program, Action& action) {
  auto options = std::make_shared<GenerateOptions>();
  CLI::App* command = program.add_subcommand("generate", "Ask a trained model: questions typed or piped in, or a JSONL file");
  command->add_option("--model", options->model, "model folder, e.g. runs/r1_mini/stages/r1/model")->required();
  CLI::Option* prompts = command->add_option("--prompts", options->prompts,
                                             "JSONL; each row {\"question\": …}, put into the prompt template, {\"messages\": […]}, "
                                             "written by the chat template, {\"text\": …} or "
                                             "{\"ids\": […]}, a prompt as it stands");
  command->add_option("--output", options->output, "JSONL with text, ids, logprobs, finish_reason per answer; default: standard output")
      ->needs(prompts);
  command->add_option("--template", options->template_name, "prompt template; default: the one the model was trained with")
      ->check(CLI::IsMember(text::PromptConfig::names()));
  generate::RolloutConfig& sampling = options->sampling;
  command->add_option("--n", sampling.n, "answers per question")->check(CLI::Range(1, 4096))->capture_default_str();
  add_sampling_options(*command, sampling);
  command->add_option("--max-new-tokens", sampling.max_response_length, "longest answer; default: 256, or what the model's positions leave")
      ->check(CLI::Range(1, 1 << 24));
  command->add_option("--seed", options->seed, "the answers are a function of model, prompt and seed")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add_dtype_option(*command, options->dtype);
  command->footer(
      "An answer ends at an end token of tokenizer_config.json or generation_config.json, or at config.json's where they name none.\n"
      "With --prompts the work is shared among ranks (mpirun -n N), and --output has the same rows in the same order.\n"
      "Examples:\n"
      "  cohort generate --model runs/r1_mini/stages/r1/model\n"
      "  echo 'Add 47 and 85.' | cohort generate --model runs/r1_mini/stages/r1/model --n 4\n"
      "  cohort generate --model DIR --prompts questions.jsonl --output answers.jsonl --temperature 0");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return run_generate(*options, world); }; });
}

}  // namespace cohort::launcher
