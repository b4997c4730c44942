#include "core/config/yaml_reader.h"

#include <catch2/catch.hpp>
#include <chrono>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/core/base/temp_dir.h"
#include "tests/core/config/example_config.h"

namespace cohort::config {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using Lines = std::vector<std::string>;

ExampleConfig read(std::string_view text, const Lines& overrides = {}) {
  return read_config_text<ExampleConfig>(text, "c.yaml", overrides);
}

Lines problems(std::string_view text, const Lines& overrides = {}) {
  try {
    read(text, overrides);
  } catch (const InputError& error) {
    return error.problems();
  }
  return {};
}

/// The only problem there is.
std::string problem(std::string_view text, const Lines& overrides = {}) {
  const Lines all = problems(text, overrides);
  if (all.size() != 1) return std::to_string(all.size()) + " problems" + (all.empty() ? "" : ": " + all[0] + " | " + all.back());
  return all[0];
}

const char* const kStages = R"(stages:
  - name: zero
    type: rl
    n: 4
  - {name: qwen2.5, type: sft, data: [a, b]}
)";

TEST_CASE("a config is read and what it leaves out keeps its default") {
  const ExampleConfig config = read(R"(# comment
seed: -3
rl:
  clip_ratio: 3e-6
  use_kl_loss: true
  loss_agg_mode: seq-mean-token-sum
  optim: {lr: 1, betas: [0.5, 1e-3], milestones: [10, 20]}
stages:
  - name: "zero"
    type: sft
    data: gsm8k
    epochs: 3
  - name: 数学
    type: rl
    data: [a, "b c"]
    optim:
      lr: 0.25
)");
  CHECK(config.seed == -3);
  CHECK(config.output == "runs/example");
  CHECK(config.rl.n == 8);
  CHECK(config.rl.clip_ratio == 3e-6);
  CHECK(config.rl.use_kl_loss);
  CHECK(config.rl.loss_agg_mode == "seq-mean-token-sum");
  CHECK(config.rl.optim.lr == 1.0);
  CHECK(config.rl.optim.betas == std::vector<double>{0.5, 1e-3});
  CHECK(config.rl.optim.milestones == std::vector<int64_t>{10, 20});
  REQUIRE(config.stages.size() == 2);
  CHECK(config.stages[0].data == Lines{"gsm8k"});
  CHECK(std::get<SftConfig>(config.stages[0].body).epochs == 3);
  CHECK(config.stages[1].name == "数学");
  CHECK(config.stages[1].data == Lines{"a", "b c"});
  CHECK(std::get<RlConfig>(config.stages[1].body).optim.lr == 0.25);
}

TEST_CASE("unknown keys are named with the nearest known one") {
  CHECK(problem("seed: 1\nrl:\n  clip_ration: 0.2\n") == "c.yaml:3: rl.clip_ration: unknown key, did you mean 'clip_ratio'?");
  CHECK(problem("seed: 1\nmomentum: 0.2\n") == "c.yaml:2: momentum: unknown key, expected one of seed, output, rl, stages");
  CHECK(problem("stages:\n  - name: a\n    type: sft\n    n: 4\n") ==
        "c.yaml:4: stages.a.n: unknown key, expected one of name, data, type, epochs");
  CHECK(problem("stages:\n  - name: a\n    type: sft\n    epoch: 4\n") == "c.yaml:4: stages.a.epoch: unknown key, did you mean 'epochs'?");
}

TEST_CASE("a key that appears twice is refused") {
  CHECK(problem("seed: 1\nrl: {n: 2}\nseed: 2\n") == "c.yaml:3: seed: expected each key once, found it again (first on line 1)");
  CHECK(problem("rl:\n  n: 1\n  \"n\": 2\n") == "c.yaml:3: rl.n: expected each key once, found it again (first on line 2)");
  CHECK(problem("rl: {n: 1, n: 2}\n") == "c.yaml:1: rl.n: expected each key once, found it again (first on line 1)");
}

TEST_CASE("anchors, aliases, merge keys and tags are refused") {
  CHECK(problem("rl: &base\n  n: 1\n") == "c.yaml:1: rl: expected a value without an anchor, found an anchor");
  CHECK(problems("output: &a x\nseed: *a\n") ==
        Lines{"c.yaml:1: output: expected a value without an anchor, found an anchor", "c.yaml:2: seed: expected a value, found an alias"});
  CHECK(problem("rl:\n  <<: {n: 1}\n") == "c.yaml:2: rl.<<: expected a key, found a merge key");
  CHECK(problem("seed: 1\noutput: !!str 7\n") == "c.yaml:2: output: expected a value without a tag, found a tag");
  CHECK(problem("output: ! 7\n") == "c.yaml:1: output: expected a value without a tag, found a tag");
  CHECK(problem("# 数学\noutput: !x 'quoted'\n") == "c.yaml:2: output: expected a value without a tag, found a tag");
  CHECK(problem("# 数学\noutput: ! 'quoted'\n") == "c.yaml:2: output: expected a value without a tag, found a tag");
  CHECK(problem("\xEF\xBB\xBFoutput: ! 'quoted'\n") == "c.yaml:1: output: expected a value without a tag, found a tag");
  CHECK(problem("rl: !!map {n: 1}\n") == "c.yaml:1: rl: expected a value without a tag, found a tag");
  CHECK(problem("stages: !!seq []\n") == "c.yaml:1: stages: expected a value without a tag, found a tag");
}

TEST_CASE("numbers that YAML would read in surprising ways are refused") {
  for (const std::string text :
       {"010", "0x10", "0o17", "1_000", "+5", "1e3", "4.0", "yes", "'5'", "", "~", "[1]", "{a: 1}", ".nan", "1:30"}) {
    CAPTURE(text);
    CHECK_THAT(problem("rl:\n  n: " + text + "\n"), StartsWith("c.yaml:2: rl.n: expected an integer at least 1, found"));
  }
  for (const std::string text :
       {".nan", ".inf", "-.inf", "nan", "inf", "NaN", ".5", "5.", "1e", "01.5", "0x1p3", "1_0.5", "1e999", "1,5", "true"}) {
    CAPTURE(text);
    CHECK_THAT(problem("rl:\n  clip_ratio: " + text + "\n"), StartsWith("c.yaml:2: rl.clip_ratio: expected a number at least 0, found"));
  }
  CHECK(problem("rl: {n: '5'}\n") == "c.yaml:1: rl.n: expected an integer at least 1, found the text '5'");
  CHECK(problem("rl:\n  n:\nseed: 2\n") == "c.yaml:2: rl.n: expected an integer at least 1, found nothing");
}

TEST_CASE("integers have 64 bits") {
  CHECK(read("seed: 9223372036854775807\n").seed == INT64_MAX);
  CHECK(read("seed: -9223372036854775808\n").seed == INT64_MIN);
  CHECK(problem("seed: 9223372036854775808\n") == "c.yaml:1: seed: expected an integer of 64 bits, found 9223372036854775808");
}

TEST_CASE("flags are true or false and nothing else") {
  for (const std::string text : {"yes", "on", "True", "TRUE", "1", "'true'", "no", "[]"}) {
    CAPTURE(text);
    CHECK_THAT(problem("rl:\n  use_kl_loss: " + text + "\n"), StartsWith("c.yaml:2: rl.use_kl_loss: expected true or false, found"));
  }
}

TEST_CASE("wrong types and values out of range are refused with what was expected") {
  CHECK(problem("rl: {n: 0}\n") == "c.yaml:1: rl.n: expected an integer at least 1, found 0");
  CHECK(problem("rl: {optim: {lr: 0.0}}\n") == "c.yaml:1: rl.optim.lr: expected a number above 0, found 0.0");
  CHECK(problem("rl:\n  optim:\n    betas:\n      - 0.9\n      - 1.5\n") ==
        "c.yaml:5: rl.optim.betas.1: expected a number between 0 and 1, found 1.5");
  CHECK(problem("rl:\n  optim: {betas: 0.9}\n") == "c.yaml:2: rl.optim.betas: expected a list of numbers, found 0.9");
  CHECK(problem("rl: {optim: {milestones: [1, 2.5]}}\n") == "c.yaml:1: rl.optim.milestones.1: expected an integer at least 1, found 2.5");
  CHECK(problem("output: [a]\n") == "c.yaml:1: output: expected text, found a list");
  CHECK(problem("output:\n") == "c.yaml:1: output: expected text, found nothing");
  CHECK(problem("output: \"a\\0b\"\n") == "c.yaml:1: output: expected text, found the text 'a\\x00b'");
  CHECK(problem("rl: 3\n") == "c.yaml:1: rl: expected a mapping, found 3");
  CHECK(problem("rl:\n") == "c.yaml:1: rl: expected a mapping, found nothing");
  CHECK(problem("stages: {a: 1}\n") == "c.yaml:1: stages: expected a list of mappings, found a mapping");
  CHECK(problem("stages:\n  - {name: a, type: sft}\n  - zero\n") == "c.yaml:3: stages.1: expected a mapping, found zero");
  CHECK(problem("rl: {loss_agg_mode: token-men}\n") ==
        "c.yaml:1: rl.loss_agg_mode: expected one of token-mean, seq-mean-token-sum (did you mean 'token-mean'?), found token-men");
  CHECK(problem("stages:\n  - name: a\n    type: sft\n    data: [x, {y: 1}]\n") ==
        "c.yaml:4: stages.a.data.1: expected text, found a mapping");
}

TEST_CASE("a variant needs a known type") {
  CHECK(problem("stages:\n  - name: a\n    n: 3\n") == "c.yaml:2: stages.a.type: expected one of rl, sft, found nothing");
  CHECK(problem("stages:\n  - name: a\n    type: stf\n    epochs: 3\n") ==
        "c.yaml:3: stages.a.type: expected one of rl, sft (did you mean 'sft'?), found stf");
}

TEST_CASE("rules across fields are checked, also where the file leaves the field out") {
  CHECK(problem("rl:\n  use_kl_loss: true\n  n: 1\n") == "c.yaml:3: rl.n: expected at least 2 with use_kl_loss, found 1");
  CHECK(problem("stages:\n  - type: sft\n") == "c.yaml:2: stages.0.name: expected a name, found nothing");
  CHECK(problem("stages:\n  - type: sft\n    name:\n") ==
        "c.yaml:3: stages.0.name: expected text, found nothing");  // and no second problem
}

struct Inner {
  int64_t low = 1;
  int64_t high = 0;
  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("low", low, any(), "");
    v.integer("high", high, any(), "");
    v.rule(low <= high, "high", "at least low", std::to_string(high));
  }
};
struct Outer {
  Inner inner;
  template <class Visitor>
  void visit(Visitor& v) {
    v.section("inner", inner, "");
    v.rule(inner.low != 7, "inner.low", "another number", "7");
  }
};

TEST_CASE("rules hold for sections that the file leaves out, and may name a key by its path") {
  const auto problem_of = [](std::string_view text) {
    try {
      read_config_text<Outer>(text, "o.yaml");
    } catch (const InputError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  CHECK(problem_of("{}\n") == "o.yaml:1: inner.high: expected at least low, found 0");
  CHECK(problem_of("inner:\n  high: 9\n  low: 7\n") == "o.yaml:3: inner.low: expected another number, found 7");
  CHECK(problem_of("inner:\n  high: 9\n").empty());
}

TEST_CASE("every problem is reported at once, in the order of the file") {
  CHECK(problems("sed: 1\nrl:\n  n: 0\n  n: 1\n  clip_ratio: .nan\nstages:\n  - name: a\n    type: sft\n    epochs: x\n",
                 {"rl.m=1", "output"}) ==
        Lines{"c.yaml:1: sed: unknown key, did you mean 'seed'?", "c.yaml:3: rl.n: expected an integer at least 1, found 0",
              "c.yaml:4: rl.n: expected each key once, found it again (first on line 3)",
              "c.yaml:5: rl.clip_ratio: expected a number at least 0, found .nan",
              "c.yaml:9: stages.a.epochs: expected an integer at least 1, found x", "command line: expected key.path=value, found 'output'",
              "command line: rl.m: unknown key, expected one of n, clip_ratio, use_kl_loss, loss_agg_mode, optim"});
}

TEST_CASE("text that is not one YAML mapping is refused") {
  CHECK(problem("") == "c.yaml:1: expected a mapping, found nothing");
  CHECK(problem("# nothing\n") == "c.yaml:1: expected a mapping, found nothing");
  CHECK(problem("- a\n") == "c.yaml:1: expected a mapping, found a list");
  CHECK(problem("seed:1\n") == "c.yaml:1: expected a mapping, found seed:1");
  CHECK(problem("seed: 1\n---\nseed: 2\n") == "c.yaml:2: expected one document, found a second");
  CHECK_THAT(problem("seed: 1\nrl: {n: 1\n"), StartsWith("c.yaml:2: expected YAML, found: "));
  CHECK_THAT(problem("seed: 1\n  rl: 2\n"), StartsWith("c.yaml:2: expected YAML, found: "));
  CHECK_THAT(problem("seed: 1\noutput: 'a\n"), StartsWith("c.yaml:2: expected YAML, found: "));
  CHECK(problem("rl:\n\tn: 1\n") == "c.yaml:2: expected spaces as indentation, found a tab");
  CHECK(problem("rl:\n  n: 1\n  \tclip_ratio: 1\n") == "c.yaml:3: expected spaces as indentation, found a tab");
  CHECK(read("seed:\t4\nrl: {n: 2}\t# tabs elsewhere are fine\n").seed == 4);
  CHECK(problem("seed: 1\noutput: \xff\n") == "c.yaml:2: expected UTF-8, found the byte 0xff");
  CHECK(problem(std::string_view("seed: 1\0\n", 9)) == "c.yaml:1: expected text, found a zero byte");
  CHECK_THAT(problem("output: \"a\n"), StartsWith("c.yaml:1: expected YAML, found: "));
  CHECK(read("output: |+\n  a\n").output == "a\n");
  CHECK(read("output: 'a'").output == "a");
  CHECK(problem("seed: 1\n? [a]\n: 2\n") == "c.yaml:2: expected a name as key, found a list");
  CHECK(problem("seed: 1\n~: 2\n") == "c.yaml:2: expected a name as key, found nothing");
  CHECK_THAT(problem(std::string(200, 'k') + ": 2\n"), StartsWith("c.yaml:1: expected a key of at most 128 bytes"));
}

TEST_CASE("size and depth are limited") {
  CHECK(problem(std::string((1 << 20) + 1, '#')) == "c.yaml:1: expected at most 1048576 bytes, found 1048577");
  CHECK_THAT(problem("seed: 1\noutput: " + std::string(40, '[') + "\n"), Contains("c.yaml:2: ") && Contains("nesting up to 32 levels"));
  CHECK_THAT(problem("a: " + std::string(1'000'000, '[')), Contains("nesting up to 32 levels"));
  CHECK_THAT(problem("a: " + std::string(1'000'000, '{')), Contains("nesting up to 32 levels"));
}

TEST_CASE("hostile files are refused in bounded time, with a bounded number of problems") {
  const auto start = std::chrono::steady_clock::now();
  std::string keys;
  for (int i = 0; i < 90'000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  CHECK(problems(keys).size() == 101);
  CHECK(problems(keys).back() == "c.yaml: 89900 more problems");
  std::string dashes = "stages:\n";
  for (int i = 0; i < 300'000; ++i) dashes += "-\n";
  CHECK(problem(dashes) == "c.yaml:1: stages: expected at most 10000 elements, found 300000");
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(seconds.count() < 60.0);
}

TEST_CASE("overrides set keys, in the file or not, and reach into lists by name or index") {
  const ExampleConfig config = read(kStages, {"seed=5", "rl.optim.lr=3e-6", "rl.optim.betas=[0.8, 0.9]", "stages.zero.n=16",
                                              "stages.1.epochs=7", "stages.qwen2.5.data=c", "output=/tmp/a: b #c = d", "rl.n=1", "rl.n=2"});
  CHECK(config.seed == 5);
  CHECK(config.rl.optim.lr == 3e-6);
  CHECK(config.rl.optim.betas == std::vector<double>{0.8, 0.9});
  CHECK(std::get<RlConfig>(config.stages[0].body).n == 16);
  CHECK(std::get<SftConfig>(config.stages[1].body).epochs == 7);
  CHECK(config.stages[1].data == Lines{"c"});
  CHECK(config.output == "/tmp/a: b #c = d");
  CHECK(config.rl.n == 2);
  CHECK(read("seed: 1\n", {"stages=[{name: a, type: sft}]"}).stages[0].name == "a");
  CHECK(read("seed: 1\n", {"output="}).output.empty());
}

TEST_CASE("an override replaces a wrong value of the file") { CHECK(read("seed: x\n", {"seed=3"}).seed == 3); }

TEST_CASE("wrong overrides are reported as such") {
  CHECK(problem(kStages, {"run.sed=1"}) == "command line: run: unknown key, expected one of seed, output, rl, stages");
  CHECK(problem(kStages, {"sed=1"}) == "command line: sed: unknown key, did you mean 'seed'?");
  CHECK(problem(kStages, {"stages.zero.clip_ration=1"}) ==
        "command line: stages.zero.clip_ration: unknown key, did you mean 'clip_ratio'?");
  CHECK(problem(kStages, {"stages.zreo.n=1"}) ==
        "command line: stages: expected an element of the list, found 'zreo', did you mean 'zero'?");
  CHECK(problem(kStages, {"stages.7.n=1"}) == "command line: stages: expected an element of the list (zero, qwen2.5), found '7'");
  CHECK(problem(kStages, {"stages.zero.n=010"}) == "command line: stages.zero.n: expected an integer at least 1, found 010");
  CHECK(problem(kStages, {"seed="}) == "command line: seed: expected an integer, found ");
  CHECK(problem(kStages, {"seed=null"}) == "command line: seed: expected an integer, found nothing");
  CHECK(problem(kStages, {"seed"}) == "command line: expected key.path=value, found 'seed'");
  CHECK(problem(kStages, {"=1"}) == "command line: expected key.path=value, found '=1'");
  CHECK_THAT(problem(kStages, {"rl..n=1"}), StartsWith("command line: rl: "));
  CHECK_THAT(problem(kStages, {"rl.n.=1"}), StartsWith("command line: rl"));
  CHECK(problem("seed: 1\n", {"seed.x=1"}) == "command line: seed: expected a mapping to set a key in, found 1");
  CHECK_THAT(problem(kStages, {"rl={n: 1"}), StartsWith("command line: rl: expected YAML, found: "));
  CHECK(problem(kStages, {"rl={n: 1, n: 2}"}) == "command line: rl: n: expected each key once, found it again (first on line 1)");
  CHECK(problem(kStages, {"rl={n: 0}"}) == "command line: rl.n: expected an integer at least 1, found 0");
  CHECK(problem(kStages, {"output=\xff"}) == "command line: output: expected UTF-8, found other bytes");
}

TEST_CASE("places name the line of a key for problems found later") {
  Places places;
  read_config_text<ExampleConfig>(kStages, "c.yaml", {"rl.n=3"}, &places);
  CHECK(places.problem("stages.zero.n", "fewer", "4") == "c.yaml:4: stages.zero.n: expected fewer, found 4");
  CHECK(places.problem("stages.zero.clip_ratio", "x", "y") == "c.yaml:2: stages.zero.clip_ratio: expected x, found y");
  CHECK(places.problem("stages.qwen2.5.data", "x", "y") == "c.yaml:5: stages.qwen2.5.data: expected x, found y");
  CHECK(places.problem("rl.n", "x", "y") == "command line: rl.n: expected x, found y");
  CHECK(places.problem("seed", "x", "y") == "c.yaml:1: seed: expected x, found y");
}

TEST_CASE("a config file is read from disk") {
  const TempDir dir;
  write_file_atomic(dir / "c.yaml", "\xEF\xBB\xBFseed: 4\r\nrl: {n: 3}\r\n");
  CHECK(read_config<ExampleConfig>(dir / "c.yaml").seed == 4);
  CHECK_THROWS_WITH(read_config<ExampleConfig>(dir / "missing.yaml"), Contains("missing.yaml: expected a readable file"));
  write_file_atomic(dir / "big.yaml", std::string((1 << 20) + 1, '#'));
  CHECK_THROWS_WITH(read_config<ExampleConfig>(dir / "big.yaml"), Contains("at most 1048576 bytes"));
}

}  // namespace
}  // namespace cohort::config
