#include "core/pipeline/pipeline.h"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/signals.h"
#include "core/base/text_util.h"
#include "core/config/yaml_writer.h"
#include "core/model/published_folder.h"
#include "core/model/weights_io.h"
#include "core/pipeline/stage_graph.h"
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/trace_file.h"
#include "core/pipeline/training_session.h"

namespace cohort::pipeline {

namespace fs = std::filesystem;

StageOutput run_stage(const StageContext& c) {
  struct Run {
    const StageContext& c;
    StageOutput operator()(const PretrainStage& s) const { return run_pretrain(c, s); }
    StageOutput operator()(const SftStage& s) const { return run_sft(c, s); }
    StageOutput operator()(const RlStage& s) const { return run_rl(c, s); }
    StageOutput operator()(const RejectionSamplingStage& s) const { return run_rejection_sampling(c, s); }
    StageOutput operator()(const RewardModelStage& s) const { return run_reward_model(c, s); }
  };
  return std::visit(Run{c}, c.stage.body);
}

namespace {
constexpr uint64_t kMaxResultBytes = 1 << 20;

bool there(const std::string& path) {
  std::error_code error;
  const bool exists = fs::exists(path, error);
  if (error) throw InputError(fmt::format("{}: expected a path of the run folder, found: {}", printable(path), error.message()));
  return exists;
}

}  // namespace

std::optional<records::StageResult> finished_stage(const Recipe& recipe, const std::string& name) {
  const std::string path = recipe.run.output + "/stages/" + name + "/result.json";
  if (!there(path)) return std::nullopt;
  records::StageResult result;
  if (!google::protobuf::util::JsonStringToMessage(read_file(path, kMaxResultBytes), &result).ok())
    throw InputError(path + ": expected the result of a stage, found something else; remove the folder to run the stage again");
  return result;
}

namespace {

std::string to_json(const google::protobuf::Message& message) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  if (!google::protobuf::util::MessageToJsonString(message, &json, options).ok()) throw Fault("a record cannot be written as JSON");
  return json;
}

/// Where the model that a stage trains began: another stage's folder, or model.path; "" where it began with random weights.
std::string origin_of_model(const StageContext& c) {
  if (const std::string from = starting_stage(c.stage); !from.empty()) return c.stage_folder(from) + "/model";
  return own_model(c.stage).empty() ? c.recipe.model.path : "";
}

/// cohort_model.json, and the published files that go with the model as long as its tokenizer is the published one.
void write_companions(const StageContext& c, const text::PromptConfig& prompt, const std::string& folder) {
  nlohmann::json trained = text::prompt_to_json(prompt);
  trained["stage"] = c.stage.name;
  if (const std::string origin = origin_of_model(c); !origin.empty()) {
    trained["dtype"] = model::dtype_name(model::published_dtype(origin));
    if (!there(folder + "/" + text::kTokenizerFile)) model::copy_companions(origin, folder);
  }
  write_file_atomic(folder + "/" + model::kTrainedFile, trained.dump() + "\n");
}

/// Writes everything into stages/NAME.tmp, then renames. Leader only.
void commit(const StageContext& c, StageOutput& out) {
  const fs::path final_path = c.stage_folder(c.stage.name), temporary = final_path.string() + ".tmp";
  fs::remove_all(temporary);
  if (out.model) require_finite(*out.model, c.stage.name);
  make_directories(temporary);
  if (out.model) {
    const std::string folder = temporary / "model";
    make_directories(folder);
    model::save_model(*out.model, folder);
    text::save_tokenizer(c.tokenizer, folder);
    write_companions(c, out.prompt, folder);
    fsync_directory(folder);
  } else {
    write_traces(temporary / "traces.jsonl", out.traces);
  }
  write_file_atomic(temporary / "result.json", to_json(out.result) + "\n");
  fs::remove_all(final_path);
  rename_durable(temporary, final_path);
  fs::remove_all(c.checkpoint_folder());
}

/// summary.json: per stage name, type, status, seconds, steps, tokens, eval.
void write_summary(const Recipe& recipe, const std::vector<std::string>& hashes) {
  nlohmann::ordered_json stages = nlohmann::ordered_json::array();
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto result = finished_stage(recipe, recipe.stages[i].name);
    const bool done = result && result->hash() == hashes[i];
    nlohmann::ordered_json s = {{"name", recipe.stages[i].name}, {"type", recipe.stages[i].type()}, {"status", done ? "done" : "pending"}};
    if (done) {
      s["seconds"] = result->seconds(), s["steps"] = result->steps(), s["tokens"] = result->tokens();
      const auto numbers = [](const records::EvalResult& e) {
        nlohmann::ordered_json j;
        if (e.has_accuracy()) j["accuracy"] = e.accuracy();
        if (e.has_format()) j["format"] = e.format();
        if (e.has_language()) j["language"] = e.language();
        if (e.has_preference()) j["preference"] = e.preference();
        if (e.has_helpfulness()) j["helpfulness"] = e.helpfulness();
        if (e.has_safety()) j["safety"] = e.safety();
        if (e.has_response_length()) j["response_length"] = e.response_length();
        j["samples"] = e.samples(), j["undecided"] = e.undecided();
        return j;
      };
      if (result->has_eval()) s["eval"] = numbers(result->eval());
      if (result->has_eval_start()) s["eval_start"] = numbers(result->eval_start());
    }
    stages.push_back(s);
  }
  const nlohmann::ordered_json summary = {{"name", recipe.run.name}, {"seed", recipe.run.seed}, {"stages", stages}};
  write_file_atomic(recipe.run.output + "/summary.json", summary.dump(2) + "\n");
}

/// Position of the first stage that the options force to run again; the number of stages where they do not.
size_t forced_from(const Recipe& recipe, const RunOptions& options) {
  if (options.fresh) return 0;
  if (options.from_stage.empty()) return recipe.stages.size();
  for (size_t i = 0; i < recipe.stages.size(); ++i)
    if (recipe.stages[i].name == options.from_stage) return i;
  throw InputError("--from-stage: expected the name of a stage, found \"" + options.from_stage + "\"");
}

/// Removes what a forced run must not find. Leader only.
void forget(const Recipe& recipe, size_t from) {
  for (size_t i = from; i < recipe.stages.size(); ++i) {
    fs::remove_all(recipe.run.output + "/stages/" + recipe.stages[i].name);
    fs::remove_all(recipe.run.output + "/checkpoints/" + recipe.stages[i].name);
  }
  if (from == 0) fs::remove(recipe.run.output + "/metrics.jsonl");
}

/// Hashing reads whole model folders, which one member does for all.
std::vector<std::string> hashes_of_leader(const Recipe& recipe, Team& team) {
  const std::string joined = team.gather(team.leads() ? join(stage_hashes(recipe), "\n") : "")[0];
  std::vector<std::string> hashes;
  for (size_t from = 0; from <= joined.size();) {
    const size_t end = std::min(joined.find('\n', from), joined.size());
    hashes.push_back(joined.substr(from, end - from));
    from = end + 1;
  }
  return hashes;
}

void run_one(const Recipe& recipe, const StageConfig& stage, const std::string& hash, Team& team, const text::Tokenizer& tokenizer) {
  const StageContext context{recipe, stage, hash, team, tokenizer};
  team.begin_stage();
  if (team.leads()) log_info("stage {} ({})", stage.name, stage.type());
  StageOutput out = run_stage(context);
  out.result.set_name(stage.name), out.result.set_type(stage.type()), out.result.set_hash(hash);
  const auto in_use = out.model ? out.model->use_all() : nullptr;
  if (team.leads()) commit(context, out);
  team.barrier("stage committed");
}

}  // namespace

void require_own_folder(const std::string& output) {
  if (!there(output) || there(output + "/lock") || there(output + "/summary.json")) return;
  for (const auto& entry : fs::directory_iterator(output))
    if (const std::string name = entry.path().filename(); name != "log")
      throw InputError("run.output: expected a new or empty folder, or that of an earlier run, found \"" + printable(name) + "\" in " +
                       output);
}

void run_recipe(const Recipe& recipe, Team& team, const RunOptions& options) {
  const size_t forced = forced_from(recipe, options);
  const auto hashes = hashes_of_leader(recipe, team);
  if (team.leads()) {
    make_directories(recipe.run.output + "/stages");
    write_file_atomic(recipe.run.output + "/config.yaml", config::write_config(recipe));
    forget(recipe, forced);
    write_summary(recipe, hashes);
  }
  team.barrier("run folder ready");
  const auto tokenizer = recipe_tokenizer(recipe);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto result = finished_stage(recipe, recipe.stages[i].name);
    if (result && result->hash() == hashes[i]) {
      if (team.leads()) log_info("stage {} is done", recipe.stages[i].name);
      continue;
    }
    run_one(recipe, recipe.stages[i], hashes[i], team, *tokenizer);
    if (team.leads()) write_summary(recipe, hashes);
    if (i + 1 < recipe.stages.size() && team.any(stop_requested())) throw Stopped("stopped after stage " + recipe.stages[i].name);
  }
}

std::string stage_table(const Recipe& recipe) {
  const std::string path = recipe.run.output + "/summary.json";
  const auto summary = parse_json(read_file(path, kMaxResultBytes), path);
  std::string table = fmt::format("{:<18}{:<20}{:>7}{:>8}{:>10}{:>10}{:>8}{:>10}{:>12}{:>13}{:>8}{:>8}\n", "stage", "type", "steps", "time",
                                  "tokens", "accuracy", "format", "language", "preference", "helpfulness", "safety", "length");
  for (const auto& s : summary.at("stages")) {
    const auto cell = [&](const char* key) -> std::string {
      return s.contains("eval") && s.at("eval").contains(key) ? fmt::format("{:.2f}", s.at("eval").at(key).get<double>()) : "-";
    };
    table += fmt::format("{:<18}{:<20}{:>7}{:>7.0f}s{:>10}{:>10}{:>8}{:>10}{:>12}{:>13}{:>8}{:>8}\n", s.at("name").get<std::string>(),
                         s.at("type").get<std::string>(), s.value("steps", 0), s.value("seconds", 0.0), s.value("tokens", uint64_t{0}),
                         cell("accuracy"), cell("format"), cell("language"), cell("preference"), cell("helpfulness"), cell("safety"),
                         cell("response_length"));
  }
  return table;
}

}  // namespace cohort::pipeline
