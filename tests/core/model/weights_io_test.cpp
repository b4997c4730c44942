#include "core/model/weights_io.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/model/safetensors.h"
#include "core/model/sharded_safetensors.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/counted_memory.h"
#include "tests/support/golden.h"

namespace cohort::model {
namespace {

namespace fs = std::filesystem;
using test::CountedMemory;
using Named = std::map<std::string, at::Tensor>;

const char* const kDown = "model.layers.0.mlp.down_proj.weight";
const char* const kExpert = "model.layers.1.mlp.experts.5.up_proj.weight";
const char* const kBias = "model.layers.1.mlp.gate.e_score_correction_bias";

std::string fixture(const std::string& name) { return test::golden_path("model/" + name); }

/// A folder with the fixture's config and its tensors after `change`.
void write_changed(const std::string& name, const std::function<void(Named&)>& change, const std::string& folder) {
  Named tensors = read_safetensors(fixture(name) + "/model.safetensors");
  change(tensors);
  fs::copy_file(fixture(name) + "/config.json", folder + "/config.json", fs::copy_options::overwrite_existing);
  write_safetensors(folder + "/model.safetensors", {tensors.begin(), tensors.end()});
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> problems_of(const std::function<void(Named&)>& change) {
  const TempDir folder;
  write_changed("deepseek_v3", change, folder.path());
  try {
    load_model(folder.path());
  } catch (const InputError& error) {
    return error.problems();
  }
  return {};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.sizes() == y.sizes() &&
         std::memcmp(x.data_ptr<float>(), y.data_ptr<float>(), sizeof(float) * static_cast<size_t>(x.numel())) == 0;
}

struct BadWeights {
  const char* name;
  std::function<void(Named&)> change;
  const char* tensor;
  const char* message;
};
const std::vector<BadWeights>& bad_weights() {
  static const std::vector<BadWeights> table = {
      {"a tensor is missing", [](Named& t) { t.erase(kDown); }, kDown, "expected in this model, found none"},
      {"one expert is missing", [](Named& t) { t.erase(kExpert); }, kExpert, "expected in this model, found none"},
      {"the selection bias is missing", [](Named& t) { t.erase(kBias); }, kBias, "expected in this model, found none"},
      {"there is a tensor too many", [](Named& t) { t["model.layers.9.mlp.down_proj.weight"] = at::zeros({2}); },
       "model.layers.9.mlp.down_proj.weight", "expected no such tensor in this model, found one"},
      {"a name is misspelt", [](Named& t) { t["model.norm.wieght"] = t["model.norm.weight"]; }, "model.norm.wieght",
       "expected no such tensor"},
      {"a tensor is transposed", [](Named& t) { t[kDown] = t[kDown].t().contiguous(); }, kDown, "expected shape [32, 40], found [40, 32]"},
      {"a tensor has a dimension more", [](Named& t) { t[kDown] = t[kDown].unsqueeze(0); }, kDown,
       "expected shape [32, 40], found [1, 32, 40]"},
      {"a tensor holds integers", [](Named& t) { t[kDown] = t[kDown].to(at::kInt); }, kDown, "expected a floating-point type, found Int"},
      {"a value is NaN", [](Named& t) { t[kDown][3][4] = std::nanf(""); }, kDown, "expected finite values, found NaN or infinity"},
      {"a value is infinite", [](Named& t) { t[kExpert][0][0] = std::numeric_limits<float>::infinity(); }, kExpert,
       "expected finite values"},
      {"a selection bias is NaN", [](Named& t) { t[kBias][0] = std::nanf(""); }, kBias, "expected finite values"},
  };
  return table;
}

}  // namespace

TEST_CASE("a tensor that is missing, unexpected, of another shape or not finite is named") {
  CHECK(problems_of([](Named&) {}).empty());
  for (const BadWeights& bad : bad_weights()) {
    CAPTURE(bad.name);
    const auto problems = problems_of(bad.change);
    REQUIRE(problems.size() == 1);
    CHECK_THAT(problems[0], Catch::Contains("/model.safetensors: tensor '" + std::string(bad.tensor) + "': " + bad.message));
  }
}

TEST_CASE("several bad tensors are named at once, but no more than twenty") {
  const auto two = problems_of([](Named& t) {
    t.erase(kExpert);
    t["extra"] = at::zeros({1});
    t[kDown] = at::zeros({1});
  });
  CHECK(two.size() == 3);
  CHECK(problems_of([](Named& t) { t[kDown][0][0] = t[kExpert][0][0] = std::nanf(""); }).size() == 2);
  CHECK(problems_of([](Named& t) { t = {{"x", at::zeros({1})}}; }).size() == 20);
}

TEST_CASE("buffers that old checkpoints carry are passed over, and other floating types are read") {
  const TempDir folder;
  write_changed(
      "deepseek_v3",
      [](Named& t) {
        t["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::ones({4});
        t[kDown] = t[kDown].to(at::kBFloat16);
      },
      folder.path());
  const auto model = load_model(folder.path()), original = load_model(fixture("deepseek_v3"));
  CHECK(same_bits(model->parameters().find(kDown)->value,
                  original->parameters().find(kDown)->value.detach().to(at::kBFloat16).to(at::kFloat)));
}

TEST_CASE("a saved model is the same model") {
  for (const char* name : {"deepseek_v3", "qwen2_tied", "qwen3_moe"}) {
    CAPTURE(name);
    const TempDir folder;
    const auto model = load_model(fixture(name));
    save_model(*model, folder.path());
    const auto again = load_model(folder.path());
    CHECK(same_bits(model->parameters().values(), again->parameters().values()));
    REQUIRE(model->router_biases().size() == again->router_biases().size());
    for (size_t i = 0; i < model->router_biases().size(); ++i) CHECK(same_bits(model->router_biases()[i], again->router_biases()[i]));
    const SafetensorsFile written(folder / "model.safetensors"), published(fixture(name) + "/model.safetensors");
    CHECK(written.metadata().at("format") == "pt");
    REQUIRE(written.tensors().size() == published.tensors().size());
    for (const auto& [tensor, info] : published.tensors()) {
      CAPTURE(tensor);
      REQUIRE(written.tensors().count(tensor) == 1);
      CHECK(written.tensors().at(tensor).shape == info.shape);
      CHECK(same_bits(written.load(tensor), published.load(tensor)));
    }
  }
}

TEST_CASE("weights in bf16 come back as they were, and selection biases are not rounded") {
  const auto model = load_model(fixture("deepseek_v3"));
  const TempDir first, second;
  save_model(*model, first.path(), at::kBFloat16, 20'000);
  CHECK(fs::exists(first / "model.safetensors.index.json"));
  const auto again = load_model(first.path());
  CHECK(same_bits(again->parameters().values(), model->parameters().values().to(at::kBFloat16).to(at::kFloat)));
  for (size_t i = 0; i < model->router_biases().size(); ++i) CHECK(same_bits(model->router_biases()[i], again->router_biases()[i]));
  CHECK(nlohmann::json::parse(std::ifstream(first / "config.json")).at("dtype") == "bfloat16");
  save_model(*again, second.path(), at::kBFloat16, 20'000);
  for (const auto& file : fs::directory_iterator(first.path())) {
    CAPTURE(file.path().string());
    CHECK((bytes_of(file.path()) == bytes_of(second / file.path().filename().string())));
  }
}

TEST_CASE("a head that a tied model's file holds must be the embedding") {
  const auto change = [](float added) {
    return [added](Named& t) {
      t["lm_head.weight"] = t["model.embed_tokens.weight"].clone();
      t["lm_head.weight"][3][2] += added;
    };
  };
  const TempDir folder;
  write_changed("qwen2_tied", change(0.0f), folder.path());
  CHECK(same_bits(load_model(folder.path())->parameters().values(), load_model(fixture("qwen2_tied"))->parameters().values()));
  write_changed("qwen2_tied", change(0.5f), folder.path());
  CHECK_THROWS_WITH(load_model(folder.path()),
                    Catch::Contains("tensor 'lm_head.weight': expected the values of model.embed_tokens.weight, because config.json has "
                                    "tie_word_embeddings true, found others"));
  write_changed(
      "qwen2_tied",
      [](Named& t) {
        t["lm_head.weight"] = at::zeros({2, 3});
      },
      folder.path());
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("tensor 'lm_head.weight': expected shape"));
}

namespace {

/// One of `size` members, which has its slice and never meets the others.
class LoneMember final : public ParameterSharding {
 public:
  LoneMember(int64_t index, int64_t size) : index_(index), size_(size) {}
  int64_t index() const override { return index_; }
  int64_t size() const override { return size_; }
  Range slice(int64_t length) const override {
    const int64_t share = length / size_, more = length % size_;
    const int64_t begin = index_ * share + std::min(index_, more);
    return {begin, begin + share + (index_ < more ? 1 : 0)};
  }
  void gather(at::Tensor, const std::vector<Range>&) override { throw Fault("nobody to gather from"); }
  bool any(bool mine) override { return mine; }

 private:
  int64_t index_, size_;
};

}  // namespace

TEST_CASE("a member of 64 reads its slice of the parameters and no more") {
  Architecture a = load_architecture(fixture("deepseek_v3"));
  a.n_routed_experts = 64, a.moe_intermediate_size = 160, a.published_config.clear();  // all but 2 % are experts' (DeepSeek-V3: 2.5 %)
  const TempDir folder;
  const CausalLM whole(a, 5);
  save_model(whole, folder.path(), at::kFloat, 100'000);
  const at::Tensor values = whole.parameters().values();
  const auto expert_bytes = [](const ShardedSafetensors& files, bool read) {
    uint64_t bytes = 0;
    for (const auto& [name, entry] : files.tensors())
      if (name.find(".mlp.experts.") != std::string::npos) bytes += read ? files.bytes_read(name) : entry.info->end - entry.info->begin;
    return static_cast<double>(bytes);
  };
  uint64_t parameters_read = 0;
  for (int64_t index = 0; index < 64; ++index) {
    CAPTURE(index);
    LoneMember member(index, 64);
    const ShardedSafetensors files(folder.path());
    CausalLM model(a, std::nullopt);
    model.shard_parameters(&member);
    load_weights(model, files);
    CHECK(expert_bytes(files, true) <= expert_bytes(files, false) / 64 * 1.05);
    uint64_t biases = 0;
    for (const at::Tensor& bias : model.router_biases()) biases += bias.nbytes();
    parameters_read += files.bytes_read() - biases;
    const auto [begin, end] = member.slice(values.numel());
    CHECK(same_bits(model.parameters().values().slice(0, begin, end), values.slice(0, begin, end)));
    for (size_t i = 0; i < model.router_biases().size(); ++i) CHECK(same_bits(model.router_biases()[i], whole.router_biases()[i]));
  }
  CHECK(parameters_read == values.nbytes());  // together, each byte once
}

TEST_CASE("named tensors are views: what is written to them is the model's") {
  const auto model = load_model(fixture("deepseek_v3"));
  const at::NoGradGuard no_grad;
  for (auto& [name, tensor] : named_tensors(*model)) tensor.fill_(0.5f);
  CHECK(model->parameters().values().eq(0.5).all().item<bool>());
  for (const at::Tensor& bias : model->router_biases()) CHECK(bias.eq(0.5).all().item<bool>());
}

TEST_CASE("a scalar head is saved under its name and not confused with a language model") {
  const TempDir folder;
  Architecture a = load_architecture(fixture("qwen2_untied"));
  const CausalLM scorer(a, 3, ComputeType::kFloat32, Head::kScalar);
  save_model(scorer, folder.path());
  const auto again = load_model(folder.path(), ComputeType::kFloat32, Head::kScalar);
  CHECK(same_bits(scorer.parameters().values(), again->parameters().values()));
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("expected a language model, found a sequence-classification head"));
  save_model(CausalLM(a, 3), folder.path());
  CHECK_THROWS_WITH(load_model(folder.path(), ComputeType::kFloat32, Head::kScalar),
                    Catch::Contains("'lm_head.weight'") && Catch::Contains("'score.weight'"));
}

TEST_CASE("a folder without config or weights, and a config that is not JSON, are input errors") {
  const TempDir folder;
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("config.json"));
  fs::copy_file(fixture("qwen2_tied") + "/config.json", folder / "config.json");
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("model.safetensors"));
  CHECK_THROWS_AS(load_model(folder.path()), InputError);
  fs::copy_file(fixture("qwen2_tied") + "/model.safetensors", folder / "model.safetensors");
  auto config = nlohmann::json::parse(std::ifstream(folder / "config.json"));
  config.erase("layer_types");
  config["num_hidden_layers"] = 10000;  // refused before memory for it is taken
  std::ofstream(folder / "config.json") << config;
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("config.json: expected a model of the"));
  std::ofstream(folder / "config.json") << "{\"model_type\": ";
  CHECK_THROWS_AS(load_architecture(folder.path()), InputError);
}

namespace {

/// A folder with a fixture's config.json after a merge patch, and one tensor.
void write_config(const std::string& name, const std::string& changes, const std::string& folder) {
  auto config = nlohmann::json::parse(std::ifstream(fixture(name) + "/config.json"));
  config.merge_patch(nlohmann::json::parse(changes));
  std::ofstream(folder + "/config.json") << config;
  write_safetensors(folder + "/model.safetensors", {{"x", at::zeros({1})}});
}

}  // namespace

TEST_CASE("a config.json that asks for far more than the files hold is refused before anything is made of it") {
  const TempDir folder;
  write_config("qwen3_moe", R"({"hidden_size": 1, "moe_intermediate_size": 1, "head_dim": 2, "num_attention_heads": 1,
      "num_key_value_heads": 1, "num_experts": 65536, "num_local_experts": null, "num_hidden_layers": 60, "layer_types": null})",
               folder.path());
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("expected a model of the 1 tensors in the safetensors files, found one of "
                                                               "at least 11600235"));
  write_config("qwen2_tied", R"({"hidden_size": 2, "intermediate_size": 1, "head_dim": 2, "num_attention_heads": 1,
      "num_key_value_heads": 1, "num_hidden_layers": 10000, "layer_types": null})",
               folder.path());
  CHECK_THROWS_WITH(check_model_folder(folder.path()),
                    Catch::Contains("the 1 tensors in the safetensors files, found one of at least 90000"));
  write_config("qwen2_tied", R"({"max_position_embeddings": 16777216})", folder.path());
  CHECK_THROWS_WITH(check_model_folder(folder.path()), Catch::Contains("config.json: max_position_embeddings: expected at most 5592405, "));
}

TEST_CASE("tensors are compared before rotary tables and parameters take memory") {
  const TempDir folder;
  write_config("qwen2_tied", R"({"max_position_embeddings": 2000000})", folder.path());
  const CountedMemory counted;
  CHECK_THROWS_WITH(load_model(folder.path()), Catch::Contains("tensor 'x': expected no such tensor in this model, found one"));
  CHECK(counted.peak() < 1 << 20);  // the tables have 48 MB
}

}  // namespace cohort::model
