// The table of parsers. Each reads text or files from outside; what they accept is used a little further, as the program does.

#include "tests/fuzz/target.h"

#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/config/yaml_reader.h"
#include "core/config/yaml_writer.h"
#include "core/data/parquet.h"
#include "core/data/row_reader.h"
#include "core/model/architecture.h"
#include "core/model/safetensors.h"
#include "core/model/sharded_safetensors.h"
#include "core/text/chat/chat_template.h"
#include "core/text/template.h"
#include "core/text/tokenizer.h"
#include "core/text/utf8.h"
#include "tests/core/config/example_config.h"
#include "tests/fuzz/mutator.h"

namespace cohort::fuzz {
namespace {

using Inputs = std::vector<std::string>;

std::string source_file(const std::string& path) {
  std::ifstream file(std::string(COHORT_SOURCE_DIR) + "/" + path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be read");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

/// A folder in memory with one file, for parsers that take a path. Gone with the process.
class InputFile {
 public:
  explicit InputFile(const std::string& name) : name_(name) {
    char folder[] = "/dev/shm/cohort_fuzz.XXXXXX";
    if (::mkdtemp(folder) == nullptr) throw std::runtime_error("/dev/shm: no folder could be made");
    folder_ = folder;
  }
  ~InputFile() { std::filesystem::remove_all(folder_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& folder() const { return folder_; }
  std::string put(const std::string& bytes) const {
    std::string path = folder_ + "/" + name_;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
    return path;
  }

 private:
  std::string folder_, name_;
};

/// A parser of a path as one of bytes.
template <class Run>
std::function<void(const std::string&)> on_file(const std::string& name, Run run) {
  return [file = std::make_shared<InputFile>(name), run](const std::string& input) { run(file->put(input)); };
}

template <class Run>
std::function<void(const std::string&)> on_folder(const std::string& name, Run run) {
  return [file = std::make_shared<InputFile>(name), run](const std::string& input) {
    file->put(input);
    run(file->folder());
  };
}

// ---- YAML ----

void run_yaml(const std::string& input) {
  const auto config = config::read_config_text<config::ExampleConfig>(input, "fuzz.yaml");
  // What was accepted is written and read again: the run folder holds a copy of the config.
  const std::string written = config::write_config(config);
  const auto again = config::read_config_text<config::ExampleConfig>(written, "written.yaml");
  if (config::write_config(again) != written) throw std::logic_error("the config written and read again is another one");
}

Inputs yaml_seeds() { return {"{}\n", config::write_config(config::ExampleConfig{}), source_file("tests/fuzz/seeds/example.yaml")}; }

const Inputs kYamlWords = {":",     ": ",           "- ",       "? ",     "|",    ">",    "&a ",   "*a",   "<<: ", "!!str ", "---\n",
                           "...\n", "# ",           "'",        "\"",     "{",    "}",    "[",     "]",    ",",    "\t",     "~",
                           "null",  "true",         "yes",      ".nan",   ".inf", "0x1F", "1_000", "1e-3", "seed", "stages", "type",
                           "optim", "\xEF\xBB\xBF", "\xC0\x80", "\\u0000"};

// ---- JSON and what is written in it ----

const Inputs kJsonWords = {"{",       "}",    "[",    "]",     ":",     ",",  "\"",   "\\",           "\\u0000",      "\\ud800",
                           "\\udc00", "null", "true", "false", "1e400", "-0", "\xFF", "\xED\xA0\x80", "\xEF\xBB\xBF", "\"a\":1,",
                           "/*",      "//",   "NaN"};

Inputs with(Inputs words, const Inputs& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void run_config_json(const std::string& input) {
  const model::Architecture architecture = model::architecture_from_json(parse_json(input, "config.json"), "config.json");
  const nlohmann::json written = model::architecture_to_json(architecture);
  if (model::architecture_to_json(model::architecture_from_json(written, "written")) != written)
    throw std::logic_error("the architecture written and read again is another one");
  static_cast<void>(architecture.parameters() + architecture.activated_parameters() + architecture.cache_floats_per_token());
}

Inputs config_json_seeds() {
  Inputs seeds;
  for (const char* model : {"deepseek_v3", "deepseek_v2_lite", "llama_scaled", "qwen2_tied", "qwen2_yarn", "qwen3_tied", "qwen3_moe"})
    seeds.push_back(source_file(std::string("tests/golden/model/") + model + "/config.json"));
  return seeds;
}

void run_jsonl(const std::string& path) {
  for (const data::RowFormat format : {data::RowFormat::kGsm8k, data::RowFormat::kVerl, data::RowFormat::kAuto}) {
    try {
      data::read_rows(path, format, true);
    } catch (const InputError&) {
      if (format == data::RowFormat::kAuto) throw;
    }
  }
}

Inputs jsonl_seeds() {
  return {"{\"question\": \"6 x 7?\", \"answer\": \"<<6*7=42>>42\\n#### 1,042\"}\n",
          "{\"data_source\": \"openai/gsm8k\", \"prompt\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": "
          "\"q\"}], \"reward_model\": {\"ground_truth\": \"72\"}, \"extra_info\": {\"verifier\": \"number\", \"language\": \"zh\", "
          "\"answer\": \"a\\n#### 72\"}}\r\n\n{\"prompt\": \"q\", \"data_source\": \"x\", \"reward_model\": {\"ground_truth\": 7}}\n"};
}

void run_parquet(const std::string& path) { data::read_rows(path, data::RowFormat::kAuto, true); }

Inputs parquet_seeds() { return {source_file("tests/golden/data/trl.parquet"), source_file("tests/golden/data/rows.parquet")}; }

void run_tokenizer(const std::string& folder) {
  const auto tokenizer = text::load_tokenizer(folder);
  tokenizer->decode(tokenizer->encode("1+1"));
}

Inputs tokenizer_json_seeds() {
  Inputs seeds;
  for (const char* name : {"qwen2", "deepseek", "gpt2", "flags"})
    seeds.push_back(parse_json(source_file(std::string("tests/golden/text/bpe_") + name + ".json"), name).at("tokenizer").dump());
  return seeds;
}

/// Renders a conversation too: evaluating is where a template can do harm.
void run_chat_template(const std::string& source) {
  const auto chat = text::make_chat_template(source, "fuzz.jinja");
  const nlohmann::json messages = {{{"role", "system"}, {"content", "s"}},
                                   {{"role", "user"}, {"content", " u\n"}},
                                   {{"role", "assistant"}, {"content", "<think>t</think>a"}}};
  text::ChatOptions options;
  options.add_generation_prompt = true, options.bos_token = "<s>", options.eos_token = "</s>";
  chat->render(messages, options);
}

Inputs chat_template_seeds() {
  Inputs seeds = {
      source_file("tests/golden/text/chatml.jinja"),
      "{%- set ns = namespace(n=0) %}{% for m in messages if m['role'] != 'x' %}{{ loop.index0 ~ m.content.split('</think>')[-1] | trim }}"
      "{% set ns.n = ns.n + 1 %}{% else %}none{% endfor %}{{ ns.n // 2 }}",
      "{% macro f(a, b=1) %}{{ a | upper if b is defined else [1, 2][::-1] | join(',') }}{% endmacro %}{{ f('x') }}{{ messages | length }}",
      "{% if not messages %}{{ raise_exception('no') }}{% elif messages[0].role in ['system'] %}{{ messages[0] | tojson }}{% endif %}"};
  // Each construct that the interpreter has, as far as it goes with this conversation.
  const std::string golden = "tests/golden/text/jinja.json";
  const nlohmann::json rows = parse_json(source_file(golden), golden).at("rows");
  for (const nlohmann::json& row : rows) {
    try {
      run_chat_template(row[0].get<std::string>());
      seeds.push_back(row[0].get<std::string>());
    } catch (const InputError&) {
      continue;  // it wants variables of its own, or is a wrong one
    }
  }
  return seeds;
}

// ---- safetensors ----

void run_safetensors(const std::string& path) { model::read_safetensors(path); }

std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof length, '\0');
  std::memcpy(bytes.data(), &length, sizeof length);
  return bytes + header + data;
}

Inputs safetensors_seeds() {
  return {safetensors_bytes("{}", ""),
          safetensors_bytes("{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                            "\"b\":{\"dtype\":\"BOOL\",\"shape\":[],\"data_offsets\":[24,25]},"
                            "\"c\":{\"dtype\":\"BF16\",\"shape\":[0,7],\"data_offsets\":[25,25]}}   ",
                            std::string(25, '\1')),
          source_file("tests/golden/model/adamw.safetensors")};
}

/// Most of the time the header's text alone, with its length put right; otherwise anything.
std::string mutate_safetensors(Mutator& mutator, const std::string& input, const std::string& other) {
  const auto header_of = [](const std::string& bytes) {
    uint64_t length = 0;
    if (bytes.size() < sizeof length) return std::string();
    std::memcpy(&length, bytes.data(), sizeof length);
    return bytes.substr(sizeof length, length);
  };
  const std::string header = header_of(input);
  if (header.empty() || mutator.random().below(4) == 0) return mutator.mutate(input, other);
  return safetensors_bytes(mutator.mutate(header, header_of(other)), input.substr(sizeof(uint64_t) + header.size()));
}

/// The index beside two shards that stay as they are.
std::function<void(const std::string&)> weights_index() {
  const auto index = std::make_shared<InputFile>("model.safetensors.index.json");
  const auto shard = [&](const std::string& name, const std::string& tensor) {
    std::ofstream(index->folder() + "/" + name, std::ios::binary)
        << safetensors_bytes("{\"" + tensor + "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", std::string(8, '\1'));
  };
  shard("a.safetensors", "x"), shard("b.safetensors", "y");
  return [index](const std::string& input) {
    index->put(input);
    const model::ShardedSafetensors weights(index->folder());
    for (const auto& [name, unused] : weights.tensors()) weights.load(name);
  };
}

}  // namespace

std::vector<Target> targets() {
  const Inputs rows = {"\"question\"",     "\"answer\"",       "####",           "\"prompt\"", "\"role\"", "\"user\"", "\"content\"",
                       "\"reward_model\"", "\"ground_truth\"", "\"extra_info\"", "<<",         ">>",       "\r\n"};
  const Inputs tensors = {"\"dtype\"", "\"shape\"", "\"data_offsets\"", "\"__metadata__\"", "\"F64\"", "\"BOOL\"", "\"F8_E4M3\"", "[0,0]"};
  const Inputs keys = {"\"model_type\"", "\"deepseek_v3\"",    "\"qwen2\"",   "\"rope_scaling\"", "\"yarn\"",
                       "\"llama3\"",     "\"q_lora_rank\"",    "\"n_group\"", "\"head_dim\"",     "\"tie_word_embeddings\"",
                       "\"vocab_size\"", "\"mlp_only_layers\""};
  std::vector<Target> all = {
      {"yaml", run_yaml, yaml_seeds, kYamlWords},
      {"json", [](const std::string& input) { parse_json(input, "fuzz.json"); },
       [] { return Inputs{"{\"a\": [1, -2.5e3, null, \"\\u00e9\"]}"}; }, kJsonWords},
      {"jsonl", on_file("rows.jsonl", run_jsonl), jsonl_seeds, with(kJsonWords, rows)},
      {"config_json", run_config_json, config_json_seeds, with(kJsonWords, keys)},
      {"cohort_tokenizer", on_folder("cohort_tokenizer.json", run_tokenizer),
       [] {
         return Inputs{text::ByteTokenizer().to_json().dump(), text::CharTokenizer("0123+=").to_json().dump()};
       },
       with(kJsonWords, {"\"type\"", "\"alphabet\"", "\"bytes\"", "\"chars\""})},
      {"tokenizer_json", on_folder("tokenizer.json", run_tokenizer), tokenizer_json_seeds,
       with(kJsonWords, {"\"Split\"", "\"Regex\"", "\"ByteLevel\"", "\"Digits\"", "\"Sequence\"", "\"merges\"", "\"vocab\"",
                         "\"added_tokens\"", "\"NFC\""})},
      {"chat_template", run_chat_template, chat_template_seeds, {"{{",     "}}",         "{%",     "%}",         "for ",
                                                                 " in ",   "if ",        "set ",   "endfor",     "endif",
                                                                 "macro ", "namespace(", "|",      "loop.index", "range(9999999)",
                                                                 "*",      "**",         "[::-1]", "is defined", "tojson"}},
      {"safetensors", on_file("model.safetensors", run_safetensors), safetensors_seeds, with(kJsonWords, tensors), mutate_safetensors},
      {"weights_index", weights_index(),
       [] { return Inputs{R"({"metadata": {"total_size": 16}, "weight_map": {"x": "a.safetensors", "y": "b.safetensors"}})"}; },
       with(kJsonWords, {"\"weight_map\"", "\"a.safetensors\"", "\"b.safetensors\"", "\"x\"", "\"y\"", "../", "/dev/zero"})},
  };
  if (data::has_parquet())
    all.push_back({"parquet",
                   on_file("rows.parquet", run_parquet),
                   parquet_seeds,
                   {std::string("PAR1"), std::string("\x15\0", 2), "\xff\xff\xff\x7f"}});
  return all;
}

}  // namespace cohort::fuzz
