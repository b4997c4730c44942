#include "core/pipeline/recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/base/text_util.h"
#include "core/config/yaml_writer.h"
#include "core/model/weights_io.h"
#include "core/pipeline/stage_graph.h"

namespace cohort::pipeline {

const char* StageConfig::type() const {
  return std::visit([](const auto& stage) { return std::decay_t<decltype(stage)>::kType; }, body);
}

bool StageConfig::valid_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), allowed);
}

std::unique_ptr<text::Tokenizer> recipe_tokenizer(const Recipe& recipe) {
  if (recipe.tokenizer.type == "model" && !recipe.model.path.empty()) return text::load_tokenizer(recipe.model.path);
  return text::make_tokenizer(recipe.tokenizer);
}

// ---- The graph ---------------------------------------------------------------------------------------------------------------------

std::vector<StageReference> stage_references(const StageConfig& stage) {
  std::vector<StageReference> references;
  const auto add = [&](const char* key, const std::string& name, Takes takes) {
    if (!name.empty()) references.push_back({key, name, takes});
  };
  std::visit(
      [&](const auto& body) {
        if constexpr (requires { body.from; }) add("from", body.from, Takes::kModel);
        if constexpr (requires { body.policy; }) add("policy", body.policy, Takes::kModel);
        if constexpr (requires { body.data.from; })
          for (const std::string& name : body.data.from) add("data.from", name, Takes::kTraces);
        if constexpr (requires { body.preference_model; }) add("preference_model", body.preference_model, Takes::kScores);
      },
      stage.body);
  return references;
}

std::vector<std::string> stage_inputs(const StageConfig& stage) {
  std::vector<std::string> names;
  for (const StageReference& reference : stage_references(stage))
    if (std::find(names.begin(), names.end(), reference.stage) == names.end()) names.push_back(reference.stage);
  return names;
}

std::string starting_stage(const StageConfig& stage) {
  for (const StageReference& reference : stage_references(stage))
    if (reference.takes == Takes::kModel) return reference.stage;
  return "";
}

std::string own_model(const StageConfig& stage) {
  return std::visit(
      [](const auto& body) -> std::string {
        if constexpr (requires { body.model; }) return body.model;
        return "";
      },
      stage.body);
}

const StageConfig* find_stage(const Recipe& recipe, const std::string& name) {
  for (const StageConfig& stage : recipe.stages)
    if (stage.name == name && !name.empty()) return &stage;  // a stage that could not be read has no name
  return nullptr;
}

model::Architecture stage_architecture(const Recipe& recipe, const StageConfig& stage) {
  const StageConfig* owner = &stage;
  for (size_t hops = 0; own_model(*owner).empty() && !starting_stage(*owner).empty(); ++hops) {
    owner = find_stage(recipe, starting_stage(*owner));
    if (owner == nullptr || hops > recipe.stages.size()) throw InputError("stages." + stage.name + ": its model comes from no stage");
  }
  const std::string preset = own_model(*owner);
  if (preset.empty() && !recipe.model.path.empty()) return model::load_architecture(recipe.model.path);
  model::Architecture architecture = model::architecture_preset(preset.empty() ? recipe.model.preset : preset);
  if (architecture.vocab_size == 0) architecture.vocab_size = recipe_tokenizer(recipe)->vocabulary_size();
  return architecture;
}

// ---- Hashes ------------------------------------------------------------------------------------------------------------------------

namespace {

/// Raise it when a change of the code changes the result of a stage: finished stages of older runs are then run again.
constexpr int kRecipeVersion = 2;  // 2: the gradient's norm is added up in reduction_slots parts

/// All that a stage's result depends on. Its YAML text is what is hashed.
struct StageEssence {
  int64_t version = kRecipeVersion;
  int64_t seed = 0;
  int64_t reduction_slots = 0;  // the order of additions
  ModelSection model;
  text::TokenizerConfig tokenizer;
  EvalSection eval;
  StageConfig stage;
  std::vector<std::string> inputs;

  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("version", version, config::any(), "");
    v.integer("seed", seed, config::any(), "");
    v.integer("reduction_slots", reduction_slots, config::any(), "");
    v.section("model", model, "");
    v.section("tokenizer", tokenizer, "");
    v.section("eval", eval, "");
    v.section("stage", stage, "");
    v.texts("inputs", inputs, "");
  }
};

std::string hash_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Hasher hasher;
  std::vector<char> piece(1 << 20);
  while (file) {
    file.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hasher.update({piece.data(), static_cast<size_t>(file.gcount())});
  }
  if (!file.eof()) throw InputError(path + ": expected a readable file, found none");
  return "xxh3:" + hasher.hex();
}

/// Puts hashes of contents in the place of paths: a moved file changes nothing, a changed one does.
class Contents {
 public:
  void stand_in(data::DataConfig& data) {
    if (!data.path.empty()) data.path = of_files(data.path);
    for (data::DataSource& source : data.mix) source.path = of_files(source.path);
  }
  std::string of_model(const std::string& folder) {
    std::string hashes = of_file(folder + "/config.json");
    for (const std::string& name : model::weight_file_names(folder)) hashes += " " + of_file(folder + "/" + name);
    return hashes;
  }
  std::string of_tokenizer(const std::string& folder) {
    std::string hashes;
    for (const char* name : {text::kTokenizerFile, text::kPublishedTokenizerFile, "tokenizer_config.json", "chat_template.jinja",
                             "generation_config.json", "config.json"})
      if (std::filesystem::exists(folder + "/" + name)) hashes += (hashes.empty() ? "" : " ") + of_file(folder + "/" + name);
    return hashes;
  }

 private:
  std::string of_files(const std::string& path) {
    std::string hashes;
    for (const std::string& file : data::find_data_files(path)) hashes += (hashes.empty() ? "" : " ") + of_file(file);
    return hashes;
  }
  const std::string& of_file(const std::string& path) {
    std::string& hash = known_[path];
    if (hash.empty()) hash = hash_of_file(path);
    return hash;
  }
  std::map<std::string, std::string> known_;
};

/// How many sequences are decoded together changes no sample.
void forget_width(generate::RolloutConfig& rollout) {
  const generate::RolloutConfig any;
  rollout.max_num_seqs = any.max_num_seqs, rollout.kv_cache_gb = any.kv_cache_gb;
}

StageEssence essence(const Recipe& recipe, const StageConfig& stage, Contents& contents) {
  StageEssence result = {.seed = recipe.run.seed,
                         .reduction_slots = recipe.trainer.reduction_slots,
                         .model = recipe.model,
                         .tokenizer = recipe.tokenizer,
                         .eval = recipe.eval,
                         .stage = stage,
                         .inputs = {}};
  // Only a stage that starts from nothing sees model.preset and model.path; to the others the model comes with their inputs.
  const bool starts_here = starting_stage(stage).empty();
  result.model.preset = !starts_here ? "" : own_model(stage).empty() ? recipe.model.preset : own_model(stage);
  const bool from_folder = starts_here && own_model(stage).empty() && !recipe.model.path.empty();
  result.model.path = from_folder ? contents.of_model(recipe.model.path) : "";

  if (recipe.tokenizer.type == "model") result.tokenizer.alphabet = contents.of_tokenizer(recipe.model.path);

  contents.stand_in(result.eval.data);
  contents.stand_in(result.eval.general);
  forget_width(result.eval.rollout);
  std::visit(
      [&](auto& body) {
        if constexpr (requires { body.data.demonstrations; }) {
          contents.stand_in(body.data.demonstrations);
        } else {
          contents.stand_in(body.data);
        }
        if constexpr (requires { body.rollout; }) forget_width(body.rollout);
      },
      result.stage.body);
  return result;
}

}  // namespace

std::vector<std::string> stage_hashes(const Recipe& recipe) {
  Contents contents;
  std::map<std::string, std::string> by_name;
  std::vector<std::string> hashes;
  for (const StageConfig& stage : recipe.stages) {
    StageEssence whole = essence(recipe, stage, contents);
    for (const std::string& input : stage_inputs(stage)) {
      if (!by_name.count(input)) throw InputError(fmt::format("stages.{}: expected stages before it, found \"{}\"", stage.name, input));
      whole.inputs.push_back(input + " " + by_name[input]);
    }
    const int64_t staleness = recipe.cluster.max_staleness;  // the one key of cluster that changes a result
    if (staleness > 0 && std::holds_alternative<RlStage>(stage.body)) whole.inputs.push_back(fmt::format("max_staleness {}", staleness));
    hashes.push_back(xxh3_128_hex(config::write_config(whole)));
    by_name[stage.name] = hashes.back();
  }
  return hashes;
}

}  // namespace cohort::pipeline
