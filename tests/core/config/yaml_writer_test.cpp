#include "core/config/yaml_writer.h"

#include <catch2/catch.hpp>
#include <limits>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"
#include "tests/core/config/example_config.h"

namespace cohort::config {
namespace {

using Catch::Matchers::Contains;

ExampleConfig example() {
  ExampleConfig config;
  config.seed = INT64_MIN;
  config.rl.clip_ratio = 0.1 + 0.2;
  config.rl.optim.lr = 5e-324;
  config.rl.optim.betas = {};
  config.rl.optim.milestones = {1, 2};
  config.stages.resize(2);
  config.stages[0].name = "zero";
  config.stages[0].data = {"a, b", "null", ""};
  config.stages[1].name = "010";
  config.stages[1].body = SftConfig{.epochs = 9};
  return config;
}

TEST_CASE("a written config is readable YAML") {
  CHECK(write_config(example()) == R"(seed: -9223372036854775808
output: runs/example
rl:
  n: 8
  clip_ratio: 0.30000000000000004
  use_kl_loss: false
  loss_agg_mode: token-mean
  optim:
    lr: 5e-324
    betas: []
    milestones: [1, 2]
stages:
  - name: zero
    data: ["a, b", "null", ""]
    type: rl
    n: 8
    clip_ratio: 0.2
    use_kl_loss: false
    loss_agg_mode: token-mean
    optim:
      lr: 1e-06
      betas: [0.9, 0.95]
      milestones: []
  - name: "010"
    data: []
    type: sft
    epochs: 9
)");
}

TEST_CASE("a written config reads back equal") {
  const std::string text = write_config(example());
  const ExampleConfig back = read_config_text<ExampleConfig>(text, "c.yaml");
  CHECK(write_config(back) == text);
  CHECK(back.rl.optim.lr == 5e-324);
  CHECK(back.rl.clip_ratio == 0.1 + 0.2);
  CHECK(back.stages[0].data == std::vector<std::string>{"a, b", "null", ""});
  CHECK(std::get<SftConfig>(back.stages[1].body).epochs == 9);
}

TEST_CASE("any text reads back equal") {
  std::string controls;
  for (char c = 1; c < 127; ++c) controls += c;
  for (const std::string& text :
       {std::string("true"), std::string("Yes"), std::string("1e5"), std::string("- a"), std::string("a: b"), std::string("a #b"),
        std::string("'"), std::string("\\n"), std::string("{{x}}\n<think>\n"), std::string(" edge "), std::string("数学 😀"),
        std::string("~"), std::string("\u0085\u2028"), std::string("/tmp/x"), std::string("%x"), std::string("\x7f\r\n"), controls}) {
    CAPTURE(text);
    ExampleConfig config;
    config.output = text;
    CHECK(read_config_text<ExampleConfig>(write_config(config), "c.yaml").output == text);
    CHECK(write_config(config).find_first_of("\r\x1b\x7f") == std::string::npos);  // a terminal would obey them
  }
}

TEST_CASE("any finite number reads back equal and others are refused") {
  for (const double value : {0.0, 1.0, 1e22, 1.7976931348623157e308, 2.2250738585072014e-308, 1.0 / 3.0, 123456789.0, 1e-7}) {
    CAPTURE(value);
    ExampleConfig config;
    config.rl.clip_ratio = value;
    CHECK(read_config_text<ExampleConfig>(write_config(config), "c.yaml").rl.clip_ratio == value);
  }
  ExampleConfig config;
  config.rl.clip_ratio = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(write_config(config), Fault);
}

TEST_CASE("a reference documents every key and reads back as the defaults") {
  const std::string text = write_reference(ExampleConfig{});
  CHECK(text == R"(# seed of every random number (an integer)
seed: 17
# run folder (text)
output: runs/example
# defaults of RL
rl:
  # answers per question (an integer at least 1)
  n: 8
  # clip range (a number at least 0)
  clip_ratio: 0.2
  # add the KL term to the loss (true or false)
  use_kl_loss: false
  # how token losses are averaged (token-mean | seq-mean-token-sum)
  loss_agg_mode: token-mean
  # the optimizer
  optim:
    # learning rate (a number above 0)
    lr: 1e-06
    # Adam's betas (a list; each a number between 0 and 1)
    betas: [0.9, 0.95]
    # steps at which the rate drops (a list; each an integer at least 1)
    milestones: []
# the recipe, in order (a list of mappings)
stages: []
# One element, with its defaults:
#   stages:
#     -
#       # what other stages call it (text)
#       name: ""
#       # where its questions come from (a list of texts)
#       data: []
#       # what the stage does (rl | sft)
#       type: rl
#       # answers per question (an integer at least 1)
#       n: 8
#       # clip range (a number at least 0)
#       clip_ratio: 0.2
#       # add the KL term to the loss (true or false)
#       use_kl_loss: false
#       # how token losses are averaged (token-mean | seq-mean-token-sum)
#       loss_agg_mode: token-mean
#       # the optimizer
#       optim:
#         # learning rate (a number above 0)
#         lr: 1e-06
#         # Adam's betas (a list; each a number between 0 and 1)
#         betas: [0.9, 0.95]
#         # steps at which the rate drops (a list; each an integer at least 1)
#         milestones: []
#       # With type: sft the keys here are instead:
#       #   # passes over the data (an integer at least 1)
#       #   epochs: 2
)");
  CHECK(write_config(read_config_text<ExampleConfig>(text, "reference.yaml")) == write_config(ExampleConfig{}));
}

TEST_CASE("a reference with list elements reads back too") {
  const std::string text = write_reference(example());
  CHECK(write_config(read_config_text<ExampleConfig>(text, "reference.yaml")) == write_config(example()));
}

struct Empty {
  template <class Visitor>
  void visit(Visitor&) {}
};
struct HoldsEmpty {
  Empty nothing;
  std::vector<Empty> list = {{}, {}};
  template <class Visitor>
  void visit(Visitor& v) {
    v.section("nothing", nothing, std::string(300, 'w').insert(150, " ").c_str());
    v.list("list", list, "");
  }
};

TEST_CASE("structs without fields are written as empty mappings") {
  CHECK(write_config(Empty{}) == "{}\n");
  CHECK(write_config(HoldsEmpty{}) == "nothing: {}\nlist:\n  - {}\n  - {}\n");
  CHECK(read_config_text<HoldsEmpty>(write_reference(HoldsEmpty{}), "c.yaml").list.size() == 2);
}

}  // namespace
}  // namespace cohort::config
