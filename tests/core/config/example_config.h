#pragma once
/// A config with a field of every kind, for the tests of the reader and the writer.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "core/config/field.h"

namespace cohort::config {

struct OptimConfig {
  double lr = 1e-6;
  std::vector<double> betas = {0.9, 0.95};
  std::vector<int64_t> milestones;

  template <class Visitor>
  void visit(Visitor& v) {
    v.number("lr", lr, positive(), "learning rate");
    v.numbers("betas", betas, between(0.0, 1.0), "Adam's betas");
    v.integers("milestones", milestones, at_least(1), "steps at which the rate drops");
  }
};

struct RlConfig {
  static constexpr const char* kType = "rl";
  int64_t n = 8;
  double clip_ratio = 0.2;
  bool use_kl_loss = false;
  std::string loss_agg_mode = "token-mean";
  OptimConfig optim;

  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("n", n, at_least(1), "answers per question");
    v.number("clip_ratio", clip_ratio, at_least(0.0), "clip range");
    v.flag("use_kl_loss", use_kl_loss, "add the KL term to the loss");
    v.choice("loss_agg_mode", loss_agg_mode, {"token-mean", "seq-mean-token-sum"}, "how token losses are averaged");
    v.section("optim", optim, "the optimizer");
    v.rule(n > 1 || !use_kl_loss, "n", "at least 2 with use_kl_loss", std::to_string(n));
  }
};

struct SftConfig {
  static constexpr const char* kType = "sft";
  int64_t epochs = 2;

  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("epochs", epochs, at_least(1), "passes over the data");
  }
};

struct StageConfig {
  std::string name;
  std::vector<std::string> data;
  std::variant<RlConfig, SftConfig> body;

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("name", name, "what other stages call it");
    v.texts("data", data, "where its questions come from");
    v.variant("type", body, "what the stage does");
    v.rule(!name.empty(), "name", "a name", "nothing");
  }
};

struct ExampleConfig {
  int64_t seed = 17;
  std::string output = "runs/example";
  RlConfig rl;
  std::vector<StageConfig> stages;

  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("seed", seed, any(), "seed of every random number");
    v.text("output", output, "run folder");
    v.section("rl", rl, "defaults of RL");
    v.list("stages", stages, "the recipe, in order");
  }
};

}  // namespace cohort::config
