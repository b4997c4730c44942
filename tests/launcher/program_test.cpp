#include "launcher/program.h"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "core/model/weights_io.h"
#include "core/text/tokenizer.h"
#include "core/text/utf8.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::launcher {
namespace {

/// Sends standard output and error to nowhere while it lives.
class Silence {
 public:
  explicit Silence(const char* output = "/dev/null") : output_(dup(STDOUT_FILENO)), error_(dup(STDERR_FILENO)) {
    std::fflush(nullptr);
    const int target = open(output, O_WRONLY), nowhere = open("/dev/null", O_WRONLY);
    dup2(target, STDOUT_FILENO);
    dup2(nowhere, STDERR_FILENO);
    close(target);
    close(nowhere);
  }
  ~Silence() {
    std::fflush(nullptr);
    std::clearerr(stdout);
    dup2(output_, STDOUT_FILENO);
    dup2(error_, STDERR_FILENO);
    close(output_);
    close(error_);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;

 private:
  int output_;
  int error_;
};

int run(std::vector<const char*> arguments, const char* output = "/dev/null") {
  const Silence silence(output);
  arguments.insert(arguments.begin(), "cohort");
  return run_program(static_cast<int>(arguments.size()), arguments.data());
}

/// What a command that succeeds prints.
std::string printed_by(const std::vector<const char*>& arguments) {
  const TempDir folder;
  const std::string path = folder / "printed";
  std::ofstream(path).flush();
  CHECK(run(arguments, path.c_str()) == 0);
  return read_file(path, 1 << 20);
}

/// A model with random weights, as a run leaves one.
void write_model(const TempDir& folder, double initializer_range = 0.02) {
  model::Architecture a = model::architecture_preset("calibration_a");
  a.vocab_size = 272;
  a.initializer_range = initializer_range;
  model::save_model(model::CausalLM(a, 1), folder.path());
  text::save_tokenizer(text::ByteTokenizer(), folder.path());
  std::ofstream(folder / "cohort_model.json") << R"({"template": "chat_think", "stage": "sft"})";
}

std::vector<nlohmann::json> read_lines(const std::string& path) {
  std::istringstream lines(read_file(path, 1 << 24));
  std::vector<nlohmann::json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

TEST_CASE("tokenize: text to ids and back, in order") {
  const TempDir folder;
  const auto golden = nlohmann::json::parse(read_file(test::golden_path("text/bpe_flags.json"), 1 << 20));
  std::ofstream(folder / "tokenizer.json") << golden["tokenizer"].dump();
  const std::string texts = folder / "texts.jsonl", ids = folder / "ids.jsonl", back = folder / "back.jsonl";
  {
    std::ofstream file(texts);
    for (const auto& each : golden["cases"]) file << nlohmann::json{{"text", each["text"]}}.dump() << "\n\n";
  }
  REQUIRE(run({"tokenize", "--model", folder.path().c_str(), "--input", texts.c_str(), "--output", ids.c_str(), "--offsets"}) == 0);
  REQUIRE(run({"tokenize", "--model", folder.path().c_str(), "--input", ids.c_str(), "--output", back.c_str(), "--decode"}) == 0);
  const auto there = read_lines(ids), again = read_lines(back);
  REQUIRE(there.size() == golden["cases"].size());
  for (size_t i = 0; i < there.size(); ++i) {
    CHECK(there[i]["text"] == golden["cases"][i]["text"]);
    CHECK(there[i]["ids"] == golden["cases"][i]["ids"]);
    CHECK(there[i]["offsets"] == golden["cases"][i]["offsets"]);
    CHECK(again[i]["text"] == golden["cases"][i]["decoded"]);
  }
  const std::string bad = folder / "bad.jsonl", none = folder / "none.jsonl";
  for (const char* row : {"{\"text\": 5}", "{}", "[]", "{\"text\": \"\xFF\"}", "{\"text\": \"\\ud800\"}", "x"}) {
    std::ofstream(bad) << "{\"text\": \"good\"}\n" << row << "\n";
    CHECK(run({"tokenize", "--model", folder.path().c_str(), "--input", bad.c_str(), "--output", none.c_str()}) == 2);
    CHECK_FALSE(std::filesystem::exists(none));
  }
  for (const char* row : {"{\"ids\": [-1]}", "{\"ids\": [1.5]}", "{\"ids\": 5}", "{\"ids\": [4294967296]}"}) {
    std::ofstream(bad) << row << "\n";
    CHECK(run({"tokenize", "--model", folder.path().c_str(), "--input", bad.c_str(), "--decode"}) == 2);
  }
  CHECK(run({"tokenize", "--model", folder.path().c_str(), "--input", texts.c_str(), "--output", texts.c_str()}) == 2);
  std::filesystem::create_symlink("/etc/hostname", folder / "chat_template.jinja");
  CHECK(run({"tokenize", "--model", folder.path().c_str(), "--input", texts.c_str(), "--output", none.c_str()}) == 2);
  std::ofstream(folder / "tokenizer.json") << std::string(1'000'000, '[');
  CHECK(run({"tokenize", "--model", folder.path().c_str(), "--input", texts.c_str()}) == 2);
}

TEST_CASE("exit codes: 0 when done, 2 for what the user can mend") {
  const std::string good = test::source_path("configs/smoke.yaml");
  CHECK(run({"--help"}) == 0);
  CHECK(run({"train", "--help"}) == 0);
  CHECK(run({"check", good.c_str()}) == 0);
  CHECK(run({"check", good.c_str(), "--ranks", "4"}) == 0);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--json"}) == 0);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--gpu-memory", "80GB"}) == 0);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--gpu-memory", "80GB", "--simulate", "--json"}) == 0);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--gpu-memory", "80"}) == 2);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--simulate"}) == 2);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--expert-parallel", "2"}) == 2);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--mfu", "0.3"}) == 2);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--gpu-memory", "80GB", "--mfu", "1.5"}) == 2);
  CHECK(run({"plan", good.c_str(), "--ranks", "2", "--gpu-memory", "80GB", "--expert-parallel", "3"}) == 2);
  CHECK(run({}) == 2);
  CHECK(run({"trian", good.c_str()}) == 2);
  CHECK(run({"check"}) == 2);
  CHECK(run({"check", good.c_str(), "--rank", "4"}) == 2);
  CHECK(run({"check", "/nowhere.yaml"}) == 2);
  CHECK(run({"check", good.c_str(), "run.sed=1"}) == 2);
  CHECK(run({"check", good.c_str(), "--ranks", "3"}) == 2);
  CHECK(run({"train", good.c_str(), "run.sed=1"}) == 2);
  CHECK(run({"train", good.c_str(), "--from-stage", "zreo"}) == 2);
  CHECK(run({"generate", "--model", "/nowhere"}) == 2);
  CHECK(run({"eval", "--model", "/nowhere"}) == 2);
}

TEST_CASE("an output that cannot be written is a fault") {
  const std::string good = test::source_path("configs/smoke.yaml");
  CHECK(run({"plan", good.c_str()}, "/dev/full") == 1);
  CHECK(run({"plan", good.c_str()}) == 0);
}

TEST_CASE("a wrong environment is refused before anything is written") {
  const std::string good = test::source_path("configs/smoke.yaml");
  const TempDir folder;
  const std::string output = "run.output=" + (folder / "run");
  setenv("COHORT_ISA", "avx1024", 1);
  CHECK(run({"check", good.c_str()}) == 2);
  setenv("COHORT_ISA", "portable", 1);
  CHECK(run({"check", good.c_str()}) == 0);
  unsetenv("COHORT_ISA");
  setenv("SLURM_JOB_END_TIME", "soon", 1);
  CHECK(run({"train", good.c_str(), output.c_str()}) == 2);
  unsetenv("SLURM_JOB_END_TIME");
  CHECK_FALSE(std::filesystem::exists(folder / "run"));
}

TEST_CASE("generate answers a file of questions and prompts, the same each time") {
  const TempDir folder;
  write_model(folder);
  const std::string prompts = folder / "prompts.jsonl";
  const std::string first = folder / "first.jsonl";
  const std::string second = folder / "second.jsonl";
  std::ofstream(prompts) << R"({"question": "Add 1 and 2.", "id": 7})"
                            "\n\n"
                            R"({"text": "1+"})"
                            "\n";
  const auto generate = [&](const std::string& output, const char* seed) {
    return run({"generate", "--model", folder.path().c_str(), "--prompts", prompts.c_str(), "--output", output.c_str(), "--n", "3",
                "--max-new-tokens", "5", "--seed", seed});
  };
  REQUIRE(generate(first, "1") == 0);
  const std::vector<nlohmann::json> rows = read_lines(first);
  REQUIRE(rows.size() == 6);
  for (size_t i = 0; i < rows.size(); ++i) {
    const nlohmann::json& row = rows[i];
    CHECK(row["prompt"] == i / 3);
    CHECK(row["sample"] == i % 3);
    CHECK(row["ids"].size() == row["logprobs"].size());
    CHECK(row["ids"].size() <= 5);
    CHECK(row["finish_reason"] == (row["ids"].back() == text::ByteTokenizer().end_id() ? "stop" : "length"));
    CHECK(row["text"].is_string());
  }
  REQUIRE(generate(second, "1") == 0);
  CHECK(read_lines(second) == rows);
  REQUIRE(generate(second, "2") == 0);
  CHECK(read_lines(second) != rows);
}

TEST_CASE("generate writes bytes that are no character as tokenize --decode does") {
  const TempDir folder;
  write_model(folder);
  const std::string prompts = folder / "prompts.jsonl", answers = folder / "answers.jsonl", texts = folder / "texts.jsonl";
  std::ofstream(prompts) << "{\"text\": \"1\"}\n";
  REQUIRE(run({"generate", "--model", folder.path().c_str(), "--prompts", prompts.c_str(), "--output", answers.c_str(), "--n", "64",
               "--max-new-tokens", "40"}) == 0);
  REQUIRE(run({"tokenize", "--model", folder.path().c_str(), "--input", answers.c_str(), "--output", texts.c_str(), "--decode"}) == 0);
  const auto sampled = read_lines(answers), decoded = read_lines(texts);
  const text::ByteTokenizer tokenizer;
  size_t telling = 0;
  for (size_t i = 0; i < sampled.size(); ++i) {
    auto ids = sampled[i]["ids"].get<std::vector<int32_t>>();
    const bool stopped = tokenizer.is_end(ids.back());
    CHECK(sampled[i]["text"].get<std::string>() + (stopped ? tokenizer.piece(tokenizer.end_id()) : "") == decoded[i]["text"]);
    telling += text::replace_invalid(tokenizer.decode(ids)) != decoded[i]["text"];  // a character that is cut
  }
  CHECK(telling > 0);
}

TEST_CASE("generate takes token ids, and needs no tokenizer for them") {
  const TempDir folder;
  model::Architecture a = model::architecture_preset("calibration_a");
  a.vocab_size = 40;
  model::save_model(model::CausalLM(a, 1), folder.path());
  const std::string prompts = folder / "prompts.jsonl", output = folder / "out.jsonl", again = folder / "again.jsonl";
  std::ofstream(prompts) << "{\"ids\": [3, 39, 0]}\n{\"ids\": [7]}\n";
  const auto generate = [&](const std::string& to) {
    return run({"generate", "--model", folder.path().c_str(), "--prompts", prompts.c_str(), "--output", to.c_str(), "--temperature", "0",
                "--max-new-tokens", "12"});
  };
  REQUIRE(generate(output) == 0);
  const auto rows = read_lines(output);
  REQUIRE(rows.size() == 2);
  for (const nlohmann::json& row : rows) {
    CHECK(row["ids"].size() == 12);  // no end token is known
    CHECK(row["logprobs"].size() == 12);
    CHECK(row["finish_reason"] == "length");
    CHECK_FALSE(row.contains("text"));
  }
  std::ofstream(folder / "generation_config.json") << nlohmann::json({{"eos_token_id", {rows[0]["ids"][4], rows[0]["ids"][2]}}});
  REQUIRE(generate(again) == 0);
  const auto ended = read_lines(again);
  CHECK(ended[0]["finish_reason"] == "stop");
  CHECK(ended[0]["ids"].size() <= 3);
  CHECK(ended[0]["ids"].back() == rows[0]["ids"][ended[0]["ids"].size() - 1]);
  for (const char* bad :
       {R"({"ids": [40]})", R"({"ids": [-1]})", R"({"ids": [1.5]})", R"({"ids": []})", R"({"ids": 3})", R"({"ids": ["1"]})",
        R"({"text": "no tokenizer"})", R"({"question": "no tokenizer"})", R"({"ids": [1], "messages": []})"}) {
    CAPTURE(bad);
    std::ofstream(prompts) << bad << "\n";
    CHECK(generate(output) == 2);
  }
}

TEST_CASE("score writes the log-probability of each token after the first") {
  const TempDir folder;
  write_model(folder);
  const std::string input = folder / "in.jsonl", output = folder / "out.jsonl";
  const auto score = [&](const std::string& to, const char* dtype = "fp32") {
    return run({"score", "--model", folder.path().c_str(), "--input", input.c_str(), "--output", to.c_str(), "--dtype", dtype});
  };
  std::ofstream(input) << R"({"text": "1+2=3", "mark": 5})"
                          "\n\n"
                          R"({"ids": [49, 43, 50, 61, 51]})"
                          "\n"
                          R"({"ids": [49]})"
                          "\n";
  REQUIRE(score(output) == 0);
  const auto rows = read_lines(output);
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["logprobs"].size() == 4);
  CHECK(rows[0] == rows[1]);  // bytes are their own ids
  CHECK(rows[2]["logprobs"] == nlohmann::json::array());
  for (const double logprob : rows[0]["logprobs"]) CHECK((logprob < 0.0 && logprob > -20.0));
  REQUIRE(score(folder / "half.jsonl", "bf16") == 0);
  CHECK(read_lines(folder / "half.jsonl")[0] != rows[0]);
  std::filesystem::remove(folder / "cohort_model.json");
  CHECK(score(output) == 0);
  std::filesystem::remove(folder / "cohort_tokenizer.json");
  CHECK(score(output) == 2);
  std::ofstream(input) << R"({"ids": [49, 43, 50, 61, 51], "text": "as generate writes both"})"
                       << "\n";
  REQUIRE(score(output) == 0);
  CHECK(read_lines(output)[0] == rows[1]);
  CHECK(score(input) == 2);
  CHECK(score(output, "fp16") == 2);
  for (const std::string& bad :
       {std::string(R"({"ids": [272]})"), std::string(R"({"question": "x"})"), std::string("[1]"), std::string("{"), std::string()}) {
    CAPTURE(bad);
    std::ofstream(input) << bad << "\n";
    CHECK(score(output) == 2);
  }
  std::ofstream(input) << nlohmann::json({{"ids", std::vector<int>(513, 1)}}) << "\n";  // of 512 positions
  CHECK(score(output) == 2);
  CHECK(read_lines(output)[0] == rows[1]);  // left as it was
}

TEST_CASE("generate and eval refuse what they cannot read or hold") {
  const TempDir folder;
  write_model(folder);
  const std::string path = folder.path();
  const std::string prompts = folder / "prompts.jsonl";
  std::ofstream(prompts) << R"({"question": 3})"
                            "\n";
  CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str()}) == 2);
  std::ofstream(prompts) << R"({"text": ""})"
                            "\n";
  CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str()}) == 2);
  std::ofstream(prompts) << R"({"text": "a"})"
                            "\n";
  CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str(), "--max-new-tokens", "512"}) == 2);
  CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str(), "--max-new-tokens", "8"}) == 0);
  for (const std::string& output : {path, folder / "nowhere/answers.jsonl"})
    CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str(), "--max-new-tokens", "8", "--output", output.c_str()}) ==
          2);
  for (const char* bad : {"nan", "inf", "-1", "1e-30", "0.0005", "101", "warm"}) {
    CAPTURE(bad);
    CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str(), "--max-new-tokens", "8", "--temperature", bad}) == 2);
    CHECK(run({"eval", "--model", path.c_str(), "--tasks", "add:1", "--questions", "3", "--max-new-tokens", "8", "--temperature", bad}) ==
          2);
  }
  for (const char* bad : {"nan", "0", "1.5"})
    CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str(), "--max-new-tokens", "8", "--top-p", bad}) == 2);
  CHECK(run({"generate", "--model", path.c_str(), "--prompts", prompts.c_str(), "--max-new-tokens", "8", "--seed", "-1"}) == 2);
  CHECK(run({"eval", "--model", path.c_str(), "--tasks", "ad:1"}) == 2);
  CHECK(run({"eval", "--model", path.c_str(), "--tasks", "add:1", "--data", prompts.c_str()}) == 2);
  CHECK(run({"eval", "--model", path.c_str(), "--tasks", "add:1", "--questions", "3", "--samples", "2", "--max-new-tokens", "8",
             "--json"}) == 0);
}

TEST_CASE("eval scores recorded completions without a model, and takes one source of questions") {
  const std::string recorded = test::golden_path("eval/completions.jsonl");
  CHECK(run({"eval", "--completions", recorded.c_str(), "--json"}) == 0);
  CHECK(run({"eval", "--completions", recorded.c_str(), "--template", "r1_zero"}) == 0);
  CHECK(run({"eval", "--completions", recorded.c_str(), "--samples", "4"}) == 2);
  CHECK(run({"eval", "--completions", recorded.c_str(), "--model", "x"}) == 2);
  CHECK(run({"eval", "--completions", "/nowhere"}) == 2);
  CHECK(run({"eval", "--data", recorded.c_str()}) == 2);
}

TEST_CASE("eval asks what a suite says, and refuses hidden tests") {
  const TempDir folder;
  write_model(folder);
  const std::string suite = folder / "suite.yaml";
  std::ofstream(suite) << "name: small\ndata: {tasks: [add:1]}\nquestions: 3\nrollout: {n: 2, max_response_length: 8}\n";
  CHECK(run({"eval", "--model", folder.path().c_str(), "--suite", suite.c_str(), "--json"}) == 0);
  CHECK(run({"eval", "--model", folder.path().c_str(), "--suite", suite.c_str(), "--tasks", "add:1"}) == 2);
  const std::string code = test::source_path("configs/suites/humaneval.yaml");
  CHECK(run({"eval", "--model", folder.path().c_str(), "--suite", code.c_str()}) == 2);

  const auto result = nlohmann::json::parse(printed_by({"eval", "--model", folder.path().c_str(), "--suite", suite.c_str(), "--json"}));
  CHECK(result["suite"] == "small");
  CHECK(result["questions"] == 3);
  CHECK(printed_by({"eval", "--model", folder.path().c_str(), "--suite", suite.c_str()}).starts_with("small: 3 questions, 2 answer(s)"));
}

TEST_CASE("options beside a suite win over it") {
  const TempDir folder;
  write_model(folder);
  const std::string model = folder.path(), rows = folder / "rows.jsonl", suite = folder / "suite.yaml";
  std::ofstream(rows) << R"({"question": "1+1?", "answer": "#### 2"})"
                      << "\n"
                      << R"({"question": "One and two?", "answer": "#### 3"})"
                      << "\n";
  std::ofstream(suite) << "data: {path: " << rows << ", format: verl}\nrollout: {n: 1, max_response_length: 8}\n";
  CHECK(run({"eval", "--model", model.c_str(), "--suite", suite.c_str()}) == 2);
  const auto result = nlohmann::json::parse(
      printed_by({"eval", "--model", model.c_str(), "--suite", suite.c_str(), "--format", "gsm8k", "--max-prompt-bytes", "4", "--json"}));
  CHECK(result["questions"] == 1);
  CHECK_FALSE(result.contains("suite"));  // it has no name
  std::ofstream(suite) << "data: {tasks: [add:1]}\nquestions: 1\nrollout: {n: 1, max_response_length: 8}\n";
  CHECK(run({"eval", "--model", model.c_str(), "--suite", suite.c_str(), "--languages", "zh"}) == 0);
  CHECK(run({"eval", "--model", model.c_str(), "--suite", suite.c_str(), "--languages", "fr"}) == 2);
}

TEST_CASE("how many answers are decoded together changes none of them; products in bf16 do") {
  const TempDir folder;
  write_model(folder, 0.5);  // logits that rounding moves
  const std::string model = folder.path(), prompts = folder / "prompts.jsonl";
  std::ofstream(prompts) << R"({"text": "a"})"
                         << "\n"
                         << R"({"text": "bc"})"
                         << "\n";
  const auto eval = [&](const char* option, const char* value) {
    return printed_by({"eval", "--model", model.c_str(), "--tasks", "add:1", "--questions", "10", "--samples", "4", "--max-new-tokens",
                       "64", "--json", option, value});
  };
  const auto generate = [&](const char* option, const char* value) {
    return printed_by(
        {"generate", "--model", model.c_str(), "--prompts", prompts.c_str(), "--n", "2", "--max-new-tokens", "16", option, value});
  };
  CHECK(eval("--max-num-seqs", "1") == eval("--max-num-seqs", "64"));
  CHECK(generate("--max-num-seqs", "1") == generate("--max-num-seqs", "64"));
  CHECK(eval("--dtype", "bf16") != eval("--dtype", "fp32"));
  for (const char* option : {"--max-num-seqs", "--dtype"}) {
    CAPTURE(option);
    CHECK(run({"eval", "--model", model.c_str(), "--tasks", "add:1", "--questions", "1", "--max-new-tokens", "8", option, "0"}) == 2);
    CHECK(run({"eval", "--completions", test::golden_path("eval/completions.jsonl").c_str(), option,
               option == std::string("--dtype") ? "bf16" : "8"}) == 2);
  }
}

TEST_CASE("data converts rows to one form and reads them back") {
  const TempDir folder;
  write_model(folder);
  const std::string input = test::golden_path("data/rows.jsonl"), output = folder / "out.jsonl";
  REQUIRE(run({"data", "--input", input.c_str(), "--output", output.c_str(), "--json"}) == 0);
  CHECK(read_lines(output).size() == 40);
  CHECK(run({"data", "--input", output.c_str(), "--format", "verl", "--model", folder.path().c_str(), "--max-prompt-length", "100"}) == 0);
  CHECK(run({"data", "--input", output.c_str(), "--output", output.c_str()}) == 2);
  CHECK(run({"data", "--input", output.c_str(), "--max-prompt-length", "100"}) == 2);
  CHECK(run({"data", "--input", "/nowhere"}) == 2);
  const std::string bad = folder / "bad.jsonl", empty = folder / "empty.jsonl";
  std::ofstream(bad) << "nonsense\n";
  CHECK(run({"data", "--input", bad.c_str(), "--output", empty.c_str()}) == 2);
  CHECK_FALSE(std::filesystem::exists(empty));
  CHECK(run({"data", "--input", bad.c_str()}) == 2);
}

}  // namespace
}  // namespace cohort::launcher
