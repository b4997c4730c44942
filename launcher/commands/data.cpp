// cohort data: what is in a file, a folder or a pattern of rows, and the same in one form.

#include <fmt/core.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/progress.h"
#include "core/data/corpus.h"
#include "core/data/data_files.h"
#include "core/data/prompt.h"
#include "core/data/survey.h"
#include "core/text/utf8.h"
#include "launcher/commands/command.h"
#include "launcher/commands/output.h"
#include "launcher/model_folder.h"

namespace cohort::launcher {
namespace {

using nlohmann::ordered_json;

constexpr const char* kTemplateWithoutModel = "r1_zero";

struct DataOptions {
  std::string input;
  std::string output;
  std::string format = "auto";
  std::string model;
  std::string template_name;
  int64_t max_prompt_bytes = 0;
  int64_t max_prompt_length = 0;
  bool drop_duplicates = false;
  bool as_json = false;
};

std::string line_of(const records::Question& question) {
  return data::row_of(question).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

/// Prompt and completion as they are trained: the prompt's tokens are masked (0), the completion's learned (1).
ordered_json example_of(const records::Question& question, const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer) {
  const std::vector<int32_t> prompt = data::render_prompt(question, prompt_template, tokenizer);
  std::vector<int32_t> completion;
  if (!question.answer().empty()) completion = text::render_completion(prompt_template, tokenizer, question.solution(), question.answer());
  std::vector<int32_t> ids = prompt, mask(prompt.size(), 0);
  ids.insert(ids.end(), completion.begin(), completion.end());
  mask.insert(mask.end(), completion.size(), 1);
  return {{"source", question.source()},
          {"verifier", question.verifier()},
          {"ground_truth", text::replace_invalid(question.ground_truth())},
          {"template", prompt_template.name()},
          {"prompt", text::replace_invalid(tokenizer.decode(prompt))},
          {"completion", text::replace_invalid(tokenizer.decode(completion))},
          {"ids", std::move(ids)},
          {"mask", std::move(mask)}};
}

ordered_json report(const data::Survey& survey, const DataOptions& options) {
  ordered_json result = {
      {"rows", survey.rows},
      {"kept", survey.kept},
      {"dropped",
       {{"cannot_be_read", survey.bad},
        {"too_long", survey.too_long},
        {"cannot_be_written", survey.unwritable},
        {"duplicates", options.drop_duplicates ? survey.rows - survey.kept - survey.bad - survey.too_long - survey.unwritable : 0}}},
      {"duplicates", survey.duplicates},
      {"sources", survey.sources},
      {"verifiers", survey.verifiers}};
  const auto add = [&](const char* name, const std::optional<data::Spread>& s) {
    if (s) result["lengths"][name] = {{"min", s->min}, {"median", s->median}, {"p95", s->p95}, {"max", s->max}};
  };
  add("prompt_bytes", survey.prompt_bytes);
  add("answer_bytes", survey.answer_bytes);
  if (!options.model.empty()) {
    add("prompt_tokens", survey.prompt_tokens);
    add("completion_tokens", survey.completion_tokens);
  }
  if (const std::string warning = survey.guesses.warning(); !warning.empty()) result["warning"] = warning;
  result["problems"] = survey.problems;
  result["duplicate_examples"] = survey.duplicate_examples;
  return result;
}

void print_counts(const char* title, const ordered_json& counts) {
  fmt::print("{}:", title);
  for (const auto& [name, count] : counts.items()) fmt::print("  {} {}", name.empty() ? "none" : printable(name), count.get<uint64_t>());
  fmt::print("\n");
}

void print_report(const ordered_json& r) {
  const ordered_json& dropped = r["dropped"];
  fmt::print("{} rows, {} kept; dropped: {} cannot be read, {} too long, {} cannot be written, {} duplicates\n", r["rows"].get<uint64_t>(),
             r["kept"].get<uint64_t>(), dropped["cannot_be_read"].get<uint64_t>(), dropped["too_long"].get<uint64_t>(),
             dropped["cannot_be_written"].get<uint64_t>(), dropped["duplicates"].get<uint64_t>());
  fmt::print("{} rows ask what a row before them asked\n", r["duplicates"].get<uint64_t>());
  print_counts("sources", r["sources"]);
  print_counts("verifiers", r["verifiers"]);
  if (r.contains("lengths")) {
    fmt::print("{:<18} {:>9} {:>9} {:>9} {:>9}\n", "length", "min", "median", "p95", "max");
    for (const auto& [name, s] : r["lengths"].items())
      fmt::print("{:<18} {:>9} {:>9} {:>9} {:>9}\n", name, s["min"].get<uint64_t>(), s["median"].get<uint64_t>(), s["p95"].get<uint64_t>(),
                 s["max"].get<uint64_t>());
  }
  if (r.contains("warning")) fmt::print("warning  {}\n", for_screen(r["warning"].get<std::string>()));
  for (const auto& problem : r["problems"]) fmt::print("dropped  {}\n", for_screen(problem.get<std::string>()));
  for (const auto& duplicate : r["duplicate_examples"]) fmt::print("duplicate  {}\n", for_screen(duplicate.get<std::string>()));
  if (!r.contains("example")) return;
  const ordered_json& e = r["example"];
  size_t trained = 0;
  for (const auto& bit : e["mask"]) trained += bit.get<size_t>();
  fmt::print("\n--- example ({}), prompt: {} tokens, masked ---\n{}\n--- completion: {} tokens, learned in SFT ---\n{}\n",
             printable(e["source"].get<std::string>()), e["mask"].size() - trained, for_screen(e["prompt"].get<std::string>()), trained,
             for_screen(e["completion"].get<std::string>()));
}

void check_output(const DataOptions& options) {
  if (options.output.empty()) return;
  std::error_code none;
  for (const std::string& file : data::find_data_files(options.input))
    if (std::filesystem::equivalent(file, options.output, none))
      throw InputError("--output: expected another file than --input, found " + options.output);
}

int run_data(const DataOptions& options, comm::Communicator& world) {
  if (world.rank() != 0) return kExitDone;
  check_output(options);
  std::optional<LineWriter> output;
  if (!options.output.empty()) output.emplace(options.output);
  const bool by_model = !options.model.empty();
  if (options.max_prompt_length > 0 && !by_model)
    throw InputError("--max-prompt-length: expected --model, whose tokens are counted, found none");
  const std::unique_ptr<text::Tokenizer> tokenizer =
      by_model ? text::load_tokenizer(options.model) : std::make_unique<text::ByteTokenizer>();
  const text::PromptTemplate prompt_template =
      by_model ? text::make_prompt_template(folder_prompt(options.model, options.template_name), *tokenizer)
               : text::find_template(options.template_name.empty() ? kTemplateWithoutModel : options.template_name);
  data::SurveyOptions what = {.input = options.input,
                              .format = data::row_format(options.format),
                              .max_prompt_bytes = options.max_prompt_bytes,
                              .max_prompt_length = options.max_prompt_length,
                              .drop_duplicates = options.drop_duplicates,
                              .prompt_template = by_model ? &prompt_template : nullptr,
                              .tokenizer = by_model ? tokenizer.get() : nullptr};
  std::optional<Progress> progress;
  const data::Survey survey = data::survey_rows(
      what,
      [&](const records::Question& question) {
        if (output) output->write(line_of(question));
      },
      [&](uint64_t read, uint64_t total) {
        if (!progress) progress.emplace("data, KiB", static_cast<int64_t>(total >> 10), total > (16u << 20));
        progress->update(static_cast<int64_t>(read >> 10));
      });
  if (progress) progress->finish();
  if (output && survey.kept > 0) output->finish();
  ordered_json result = report(survey, options);
  if (survey.example) result["example"] = example_of(*survey.example, prompt_template, *tokenizer);
  if (options.as_json) {
    fmt::print("{}\n", result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  } else {
    print_report(result);
  }
  if (survey.kept == 0) throw InputError(options.input + ": expected a row that is kept, found none");
  return kExitDone;
}

}  // namespace

void add_data(CLI::App& program, Action& action) {
  auto options = std::make_shared<DataOptions>();
  CLI::App* command = program.add_subcommand("data", "Look at rows before they are trained on, and convert them to one form");
  command->add_option("--input", options->input, "a JSONL or Parquet file, a folder of them, or a pattern")->required();
  command->add_option("--output", options->output,
                      "write what is kept as JSONL: verl's form, conversations without a ground truth as messages");
  command->add_option("--format", options->format, "form of the rows; auto looks at their keys")
      ->check(CLI::IsMember(data::row_format_names()))
      ->capture_default_str();
  command->add_option("--model", options->model, "folder whose tokenizer and template tell lengths in tokens");
  command->add_option("--template", options->template_name, "prompt template; default: the model's, or r1_zero")
      ->check(CLI::IsMember(text::PromptConfig::names()));
  command->add_option("--max-prompt-bytes", options->max_prompt_bytes, "drop longer questions")->check(CLI::Range(1, 1 << 24));
  command->add_option("--max-prompt-length", options->max_prompt_length, "drop questions with more tokens in their prompt; needs --model")
      ->check(CLI::Range(1, 1 << 24));
  command->add_flag("--drop-duplicates", options->drop_duplicates, "drop questions that a row before has asked, white space apart");
  command->add_flag("--json", options->as_json, "print JSON");
  command->footer(
      "Rows and their forms: core/data/row.h.\n"
      "Examples:\n"
      "  cohort data --input '$COHORT_DATA/gsm8k'\n"
      "  cohort data --input 'shards/*.parquet' --model DIR --max-prompt-length 512 --output train.jsonl");
  command->callback([options, &action] { action = [options](comm::Communicator& world) { return run_data(*options, world); }; });
}

}  // namespace cohort::launcher
