#include "core/model/published_folder.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/error.h"
#include "core/model/weights_io.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::model {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;

void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}
nlohmann::json json_of(const fs::path& path) { return nlohmann::json::parse(bytes_of(path)); }

bool same(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0;
}

/// A fixture's model in a type, as published.
void publish(const std::string& fixture, at::ScalarType dtype, const std::string& folder) {
  save_model(*load_model(test::golden_path("model/" + fixture)), folder, dtype);
}

std::string refusal(const std::string& source, const std::string& target) {
  try {
    export_folder(source, target, {});
  } catch (const InputError& error) {
    return error.problems()[0];
  }
  return "accepted";
}

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST_CASE("an unchanged model is exported tensor for tensor, in the type it was published in") {
  for (const char* fixture : {"deepseek_v3", "qwen2_tied", "qwen3_moe"}) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
      CAPTURE(fixture, dtype);
      const TempDir scratch;
      fs::create_directory(scratch / "in");
      publish(fixture, dtype, scratch / "in");
      const Exported done = export_folder(scratch / "in", scratch / "out", {std::nullopt, 30'000});
      CHECK(done.dtype == dtype);
      CHECK(done.files > 1);
      CHECK(done.prediction_tensors == 0);
      const ShardedSafetensors in(scratch / "in"), out(scratch / "out");
      REQUIRE(in.tensors().size() == out.tensors().size());
      for (const auto& [name, unused] : in.tensors()) CHECK(same(in.load(name), out.load(name)));
      CHECK(json_of(scratch / "out/config.json") == json_of(scratch / "in/config.json"));
      CHECK(entries(scratch.path()) == 2);
    }
  }
}

TEST_CASE("what was trained in fp32 is exported in the type of the model that it began from") {
  const TempDir scratch;
  for (const char* name : {"base", "stage"}) fs::create_directory(scratch / name);
  publish("deepseek_v3", at::kBFloat16, scratch / "base");
  const auto model = load_model(scratch / "base");
  save_model(*model, scratch / "stage");  // fp32, as stages do
  put(scratch / "stage/cohort_model.json", R"({"template": "chat", "stage": "zero", "dtype": "bfloat16"})");
  CHECK(published_dtype(scratch / "stage") == at::kBFloat16);
  export_folder(scratch / "stage", scratch / "out", {});
  const ShardedSafetensors base(scratch / "base"), out(scratch / "out");
  for (const auto& [name, unused] : base.tensors()) CHECK(same(base.load(name), out.load(name)));
  CHECK(json_of(scratch / "out/config.json").at("dtype") == "bfloat16");
  CHECK(json_of(scratch / "out/cohort_model.json") == nlohmann::json{{"template", "chat"}, {"stage", "zero"}});

  export_folder(scratch / "stage", scratch / "wide", {at::kFloat, 0});
  CHECK(export_folder(scratch / "wide", scratch / "again", {}).dtype == at::kFloat);
  put(scratch / "stage/cohort_model.json", R"({"dtype": "int4"})");
  CHECK_THAT(refusal(scratch / "stage", scratch / "none"), Contains("dtype: expected float32, bfloat16 or float16, found \"int4\""));
}

TEST_CASE("FP8 is exported in the type of config.json, without what is not read") {
  const TempDir scratch;
  const std::string source = test::golden_path("safetensors/fp8");
  const Exported done = export_folder(source, scratch / "out", {});
  const ShardedSafetensors in(source), out(scratch / "out");
  const std::string kv = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";
  CHECK(same(out.load(kv), in.load(kv).to(at::kBFloat16)));
  CHECK(out.find("model.layers.1.mlp.gate.e_score_correction_bias")->info->dtype == at::kFloat);
  CHECK(out.find("model.layers.2.enorm.weight") == nullptr);
  CHECK(done.prediction_tensors == 2);
  const auto config = json_of(scratch / "out/config.json");
  CHECK_FALSE(config.contains("quantization_config"));
  CHECK(config.at("torch_dtype") == "bfloat16");
  load_model(scratch / "out");
}

TEST_CASE("a tied head that the file holds is not stored, and one that differs is refused") {
  const TempDir scratch;
  for (const char* name : {"same", "other"}) {
    fs::create_directory(scratch / name);
    auto tensors = read_safetensors(test::golden_path("model/qwen2_tied/model.safetensors"));
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + (name == std::string("other") ? 1 : 0);
    write_safetensors(fs::path(scratch / name) / "model.safetensors", {tensors.begin(), tensors.end()});
    fs::copy_file(test::golden_path("model/qwen2_tied/config.json"), fs::path(scratch / name) / "config.json");
  }
  CHECK(refusal(scratch / "same", scratch / "out") == "accepted");
  CHECK(ShardedSafetensors(scratch / "out").find("lm_head.weight") == nullptr);
  CHECK_THAT(refusal(scratch / "other", scratch / "none"), Contains("tensor 'lm_head.weight': expected the values of"));
  CHECK(entries(scratch.path()) == 3);
}

TEST_CASE("companions go along: regular files inside the folder alone, and never over others") {
  const TempDir scratch;
  fs::create_directory(scratch / "in");
  publish("qwen2_tied", at::kFloat, scratch / "in");
  put(scratch / "in/tokenizer.json", "{\"any\": 1}");
  put(scratch / "in/chat_template.jinja", "{{ x }}");
  put(scratch / "in/generation_config.json", "{}");
  put(scratch / "in/other.txt", "stays");
  const Exported done = export_folder(scratch / "in", scratch / "out/", {});
  CHECK(done.companions == std::vector<std::string>{"tokenizer.json", "chat_template.jinja", "generation_config.json"});
  CHECK(bytes_of(scratch / "out/chat_template.jinja") == "{{ x }}");
  CHECK_FALSE(fs::exists(scratch / "out/other.txt"));

  put(scratch / "in/chat_template.jinja", "other");
  CHECK(copy_companions(scratch / "in", scratch / "out").empty());
  CHECK(bytes_of(scratch / "out/chat_template.jinja") == "{{ x }}");

  check_companions(scratch / "in");
  fs::create_symlink("/etc/passwd", scratch / "in/merges.txt");
  CHECK_THROWS_WITH(check_companions(scratch / "in"), Contains("merges.txt: expected a readable file inside the folder"));
  CHECK_THAT(refusal(scratch / "in", scratch / "none"), Contains("merges.txt: expected a readable file inside the folder"));
  fs::remove(scratch / "in/merges.txt");
  put(scratch / "in/special_tokens_map.json", "");
  fs::resize_file(scratch / "in/special_tokens_map.json", (1 << 20) + 1);
  CHECK_THAT(refusal(scratch / "in", scratch / "none"), Contains("special_tokens_map.json: expected at most 1048576 bytes"));
  CHECK(entries(scratch.path()) == 2);  // in, out, and nothing half written
}

TEST_CASE("the target is a new or an empty folder") {
  const TempDir scratch;
  fs::create_directory(scratch / "in");
  publish("qwen2_tied", at::kFloat, scratch / "in");
  CHECK_THAT(refusal(scratch / "in", scratch / "in"), Contains("expected a new folder or an empty one, found one with files in it"));
  put(scratch / "file", "x");
  CHECK_THAT(refusal(scratch / "in", scratch / "file"), Contains("found something else of that name"));
  fs::create_directory(scratch / "empty");
  fs::create_symlink("empty", scratch / "link");
  CHECK_THAT(refusal(scratch / "in", scratch / "link"), Contains("found something else"));
  CHECK_THAT(refusal(scratch / "in", scratch / "missing/out"), Contains("expected a folder to write into, found no"));
  CHECK(refusal(scratch / "in", scratch / "empty") == "accepted");
  CHECK(load_model(scratch / "empty")->parameters().size() > 0);
}

TEST_CASE("a source that is no whole model is refused, and nothing is left") {
  const TempDir scratch;
  fs::create_directory(scratch / "in");
  publish("qwen2_tied", at::kFloat, scratch / "in");
  auto tensors = read_safetensors(scratch / "in/model.safetensors");
  const auto write = [&] { write_safetensors(scratch / "in/model.safetensors", {tensors.begin(), tensors.end()}); };
  tensors["model.norm.weight"][1] = std::nanf("");
  write();
  CHECK_THAT(refusal(scratch / "in", scratch / "out"), Contains("tensor 'model.norm.weight': expected finite values"));
  tensors.erase("model.norm.weight");
  write();
  CHECK_THAT(refusal(scratch / "in", scratch / "out"), Contains("tensor 'model.norm.weight': expected in this model, found none"));
  CHECK(entries(scratch.path()) == 1);
}

TEST_CASE("a model is exported that no memory would hold") {
  Architecture a = architecture_preset("dense_tiny");
  a.vocab_size = 8, a.hidden_size = 8192, a.head_dim = 2048, a.num_hidden_layers = 1, a.intermediate_size = 1 << 24;
  a.tie_word_embeddings = false;  // 412 billion parameters
  const TempDir scratch;
  fs::create_directory(scratch / "in");
  auto config = architecture_to_json(a);
  set_dtype(config, "bfloat16");
  put(scratch / "in/config.json", config.dump());
  auto header = nlohmann::json::object();
  uint64_t end = 0;
  const CausalLM shapes(a, CausalLM::ShapesOnly{}, Head::kLanguageModel);
  for (const auto& [name, tensor] : named_tensors(shapes)) {
    if (name == "lm_head.weight") continue;
    const uint64_t begin = std::exchange(end, end + 2 * static_cast<uint64_t>(tensor.numel()));
    header[name] = {{"dtype", "BF16"}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, end}}};
  }
  // The head, which is written first, is not finite, and that is as far as this export gets.
  header["lm_head.weight"] = {{"dtype", "BF16"}, {"shape", {8, 8192}}, {"data_offsets", {end, end + 131072}}};
  const std::string text = header.dump();
  const uint64_t length = text.size();
  const fs::path file = scratch / "in/model.safetensors";
  put(file, std::string(reinterpret_cast<const char*>(&length), sizeof length) + text);
  fs::resize_file(file, sizeof length + length + end);  // a hole of 825 GB
  std::ofstream(file, std::ios::binary | std::ios::app) << std::string(131072, '\xFF');
  CHECK_THROWS_WITH(export_folder(scratch / "in", scratch / "out", {std::nullopt, uint64_t{1} << 50}),
                    Contains("tensor 'lm_head.weight': expected finite values in bfloat16"));
}

}  // namespace
}  // namespace cohort::model
