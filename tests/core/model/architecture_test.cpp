#include "core/model/architecture.h"

#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/model/causal_lm.h"
#include "tests/support/golden.h"

namespace cohort::model {
namespace {

using nlohmann::json;

json fixture(const std::string& name, const std::string& file = "config_published.json") {
  const std::string path = test::golden_path("model/" + name + "/" + file);
  return parse_json(read_file(path, 1 << 20), path);
}

/// A fixture's config.json with some keys replaced; a null in `changes` removes the key.
json changed(const std::string& name, const std::string& changes) {
  json config = fixture(name);
  config.merge_patch(json::parse(changes));
  return config;
}

std::vector<std::string> problems_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.problems();
  }
  return {};
}

Architecture tiny(const std::string& preset) {
  Architecture a = architecture_preset(preset);
  if (a.vocab_size == 0) a.vocab_size = 100;
  return a;
}

/// One field of a valid architecture set to something that cannot be, and the key that the message must name.
struct Contradiction {
  const char* preset;
  const char* key;
  std::function<void(Architecture&)> spoil;
};
const std::vector<Contradiction> kContradictions = {
    {"dense_tiny", "vocab_size", [](Architecture& a) { a.vocab_size = 0; }},
    {"dense_tiny", "vocab_size", [](Architecture& a) { a.vocab_size = int64_t{1} << 60; }},
    {"dense_tiny", "hidden_size", [](Architecture& a) { a.hidden_size = -1; }},
    {"dense_tiny", "num_hidden_layers", [](Architecture& a) { a.num_hidden_layers = 0; }},
    {"dense_tiny", "num_attention_heads", [](Architecture& a) { a.num_attention_heads = 0; }},
    {"dense_tiny", "intermediate_size", [](Architecture& a) { a.intermediate_size = 0; }},
    {"dense_tiny", "max_position_embeddings", [](Architecture& a) { a.max_position_embeddings = 0; }},
    {"dense_tiny", "rms_norm_eps", [](Architecture& a) { a.rms_norm_eps = 0.0; }},
    {"dense_tiny", "rope_theta", [](Architecture& a) { a.rope_theta = -1.0; }},
    {"dense_tiny", "num_key_value_heads", [](Architecture& a) { a.num_key_value_heads = 3; }},
    {"dense_tiny", "num_key_value_heads", [](Architecture& a) { a.num_key_value_heads = 0; }},
    {"dense_tiny", "head_dim", [](Architecture& a) { a.head_dim = 7; }},
    {"deepseek_v3_tiny", "qk_nope_head_dim", [](Architecture& a) { a.qk_nope_head_dim = 0; }},
    {"deepseek_v3_tiny", "qk_rope_head_dim", [](Architecture& a) { a.qk_rope_head_dim = 5; }},
    {"deepseek_v3_tiny", "v_head_dim", [](Architecture& a) { a.v_head_dim = -2; }},
    {"deepseek_v3_tiny", "moe_intermediate_size", [](Architecture& a) { a.moe_intermediate_size = 0; }},
    {"deepseek_v3_tiny", "n_group", [](Architecture& a) { a.n_group = 3; }},
    {"deepseek_v3_tiny", "n_group", [](Architecture& a) { a.n_group = 0; }},
    {"deepseek_v3_tiny", "topk_group", [](Architecture& a) { a.topk_group = 5; }},
    {"deepseek_v3_tiny", "num_experts_per_tok", [](Architecture& a) { a.num_experts_per_tok = 5; }},  // two groups of two experts
    {"deepseek_v3_tiny", "num_experts_per_tok", [](Architecture& a) { a.num_experts_per_tok = 0; }},
    {"dense_tiny", "head_dim", [](Architecture& a) { a.head_dim = int64_t{1} << 40; }},
    {"dense_tiny", "initializer_range", [](Architecture& a) { a.initializer_range = -0.1; }},
    {"deepseek_v3_tiny", "kv_lora_rank", [](Architecture& a) { a.kv_lora_rank = 0; }},
    {"deepseek_v3_tiny", "q_lora_rank", [](Architecture& a) { a.q_lora_rank = -4; }},
    {"deepseek_v3_tiny", "q_lora_rank", [](Architecture& a) { a.q_lora_rank = int64_t{1} << 50; }},
    {"deepseek_v3_tiny", "n_routed_experts", [](Architecture& a) { a.n_routed_experts = -8; }},
    {"deepseek_v3_tiny", "n_shared_experts", [](Architecture& a) { a.n_shared_experts = -1; }},
    {"deepseek_v3_tiny", "first_k_dense_replace", [](Architecture& a) { a.first_k_dense_replace = -1; }},
    {"deepseek_v3_tiny", "mlp_only_layers", [](Architecture& a) { a.mlp_only_layers = {77}; }},
    {"deepseek_v3_tiny", "routed_scaling_factor", [](Architecture& a) { a.routed_scaling_factor = 0.0; }},
    {"deepseek_v3", "rope_theta", [](Architecture& a) { a.rope_theta = 1.0; }},
    {"deepseek_v3", "rope_scaling.factor", [](Architecture& a) { a.rope_scaling.factor = 0.0; }},
    {"deepseek_v3", "rope_scaling.original_max_position_embeddings",
     [](Architecture& a) { a.rope_scaling.original_max_position_embeddings = -1.0; }},
    {"deepseek_v3", "rope_scaling.beta_slow", [](Architecture& a) { a.rope_scaling.beta_slow = 0.0; }},
    {"deepseek_v3", "rope_scaling.beta_fast", [](Architecture& a) { a.rope_scaling.beta_fast = 0.5; }},
    {"deepseek_v3", "rope_scaling.mscale", [](Architecture& a) { a.rope_scaling.mscale = -1.0; }},
    {"dense_tiny", "rope_scaling.high_freq_factor",
     [](Architecture& a) { a.rope_scaling = {.type = "llama3", .factor = 8.0, .low_freq_factor = 4.0, .high_freq_factor = 4.0}; }},
};

/// config.json: what is changed, and what the message must say.
struct BadConfig {
  const char* fixture;
  const char* changes;
  const char* message;
};
const std::vector<BadConfig> kBadConfigs = {
    {"qwen2_tied", R"({"model_type": "mamba"})", "model_type: expected deepseek_v3, qwen2 or qwen3_moe, found \"mamba\""},
    {"qwen2_tied", R"({"model_type": 3})", "model_type: expected"},
    {"qwen2_tied", R"({"model_type": null})", "model_type: expected"},
    {"qwen2_tied", R"({"hidden_size": null})", "hidden_size: expected a value, found none"},
    {"qwen2_tied", R"({"hidden_size": "64"})", "hidden_size: expected an integer, found \"64\""},
    {"qwen2_tied", R"({"hidden_size": 64.5})", "hidden_size: expected an integer, found 64.5"},
    {"qwen2_tied", R"({"vocab_size": 18446744073709551615})", "vocab_size: expected 1 to 10000000"},
    {"qwen2_tied", R"({"rms_norm_eps": []})", "rms_norm_eps: expected a number"},
    {"qwen2_tied", R"({"tie_word_embeddings": 1})", "tie_word_embeddings: expected true or false"},
    {"qwen2_tied", R"({"num_key_value_heads": 5})", "num_key_value_heads: expected a divisor"},
    {"qwen2_tied", R"({"use_sliding_window": true})", "use_sliding_window: expected false"},
    {"qwen2_tied", R"({"rope_scaling": {"type": "dynamic", "factor": 2}})", "rope_scaling: expected yarn or llama3, found \"dynamic\""},
    {"qwen2_tied", R"({"rope_scaling": {"type": "yarn"}})", "rope_scaling: factor: expected a value"},
    {"qwen2_tied", R"({"rope_scaling": {"rope_type": "llama3", "factor": 8, "high_freq_factor": 4}})",
     "rope_scaling: low_freq_factor: expected a value"},
    {"deepseek_v3", R"({"kv_lora_rank": null})", "kv_lora_rank: expected a value"},
    {"deepseek_v3", R"({"n_group": 3})", "n_group: expected a divisor of 8 experts, found 3"},
    {"deepseek_v3", R"({"num_experts_per_tok": 5})", "num_experts_per_tok: expected 1 to 4, found 5"},
    {"deepseek_v3", R"({"routed_scaling_factor": null})", "routed_scaling_factor: expected a value"},
    {"qwen3_moe", R"({"mlp_only_layers": [1, "x"]})", "mlp_only_layers: expected a list of integers"},
    {"qwen3_moe", R"({"num_experts": null})", "num_experts: expected a value"},
    {"qwen2_tied", R"({"rope_scaling": "yarn"})", "rope_scaling: expected an object or null, found \"yarn\""},
    {"qwen2_tied", R"({"rope_scaling": {"rope_type": 5, "factor": 2}})", "rope_scaling: expected yarn or llama3, found 5"},
    {"qwen2_tied", R"({"rope_scaling": {"type": [], "factor": 2}})", "rope_scaling: expected yarn or llama3, found []"},
    {"qwen2_tied", R"({"hidden_act": "gelu"})", "hidden_act: expected \"silu\" (nothing else is supported), found \"gelu\""},
    {"deepseek_v3", R"({"kv_lora_rank": 0})", "kv_lora_rank: expected 1 to"},
    {"deepseek_v3", R"({"scoring_func": "softmax"})", "scoring_func: expected \"sigmoid\""},
    {"deepseek_v3", R"({"topk_method": "greedy"})", "topk_method: expected \"noaux_tc\""},
    {"deepseek_v3", R"({"moe_layer_freq": 2})", "moe_layer_freq: expected 1"},
    {"deepseek_v3", R"({"rope_interleave": false})", "rope_interleave: expected true"},
    {"deepseek_v3", R"({"attention_bias": true})", "attention_bias: expected false"},
    {"qwen3_moe", R"({"attention_bias": true})", "attention_bias: expected false"},
    {"qwen3_moe", R"({"decoder_sparse_step": 2})", "decoder_sparse_step: expected 1"},
};

}  // namespace

TEST_CASE("DeepSeek-V3 has 671,026,419,200 parameters and activates 37.55 billion") {
  const Architecture a = architecture_preset("deepseek_v3");
  a.check("deepseek_v3");
  CHECK(a.parameters() == 671'026'419'200);
  // 37.55B with the embedding and the head; the embedding alone has 926,679,040.
  CHECK(static_cast<double>(a.activated_parameters()) / 1e9 == Approx(37.55).margin(0.005));
  CHECK(static_cast<double>(a.activated_parameters() - 129280 * 7168) / 1e9 == Approx(36.63).margin(0.005));
  CHECK(a.cache_floats_per_token() == 61 * 576);
}

TEST_CASE("parameters are counted as the model has them") {
  for (const char* preset : {"deepseek_v3_tiny", "dense_tiny", "calibration_a", "calibration_b"}) {
    CAPTURE(preset);
    const Architecture a = tiny(preset);
    const CausalLM model(a, 1);
    int64_t biases = 0;
    for (const at::Tensor& bias : model.router_biases()) biases += bias.numel();
    CHECK(a.parameters() == model.parameters().size() + biases);
    CHECK(a.activated_parameters() <= a.parameters());
    CHECK((a.activated_parameters() == a.parameters()) == (a.n_routed_experts == 0));
  }
  for (const char* name : {"deepseek_v3", "deepseek_v3_plain", "qwen2_tied", "qwen2_untied", "qwen3_moe"}) {
    CAPTURE(name);
    const Architecture a = architecture_from_json(fixture(name), name);
    const CausalLM model(a, 1);
    int64_t biases = 0;
    for (const at::Tensor& bias : model.router_biases()) biases += bias.numel();
    CHECK(a.parameters() == model.parameters().size() + biases);
  }
}

TEST_CASE("a grouped-query model caches keys and values") {
  Architecture a = tiny("dense_tiny");
  CHECK(a.cache_floats_per_token() == a.num_hidden_layers * 2 * a.num_key_value_heads * a.head_dim);
}

TEST_CASE("every preset is valid once it has a vocabulary, and other names are refused with the list") {
  CHECK(architecture_preset_names().size() == 5);
  for (const std::string& name : architecture_preset_names()) CHECK_NOTHROW(tiny(name).check(name));
  CHECK_THROWS_AS(architecture_preset("gpt5"), InputError);
  CHECK_THROWS_WITH(architecture_preset("gpt5"),
                    Catch::Contains("model.preset: expected one of deepseek_v3_tiny") && Catch::Contains("found \"gpt5\""));
}

TEST_CASE("mixture layers are those that the config says") {
  Architecture a = tiny("deepseek_v3_tiny");
  CHECK_FALSE(a.is_moe_layer(0));
  CHECK(a.is_moe_layer(1));
  a.first_k_dense_replace = 0, a.mlp_only_layers = {2};
  CHECK(a.is_moe_layer(0));
  CHECK_FALSE(a.is_moe_layer(2));
  CHECK_FALSE(tiny("dense_tiny").is_moe_layer(1));
}

TEST_CASE("a contradiction is refused by the name of its key, and all of them at once") {
  for (const Contradiction& c : kContradictions) {
    Architecture a = tiny(c.preset);
    c.spoil(a);
    CAPTURE(c.preset, c.key);
    const auto problems = problems_of([&] { a.check("here"); });
    REQUIRE(!problems.empty());
    CHECK_THAT(problems[0], Catch::StartsWith("here: " + std::string(c.key) + ": expected"));
  }
  Architecture a = tiny("dense_tiny");
  a.hidden_size = 0, a.head_dim = 3, a.vocab_size = 0;
  CHECK(problems_of([&] { a.check("here"); }).size() == 3);
  CHECK_THROWS_AS(CausalLM(a, 1), InputError);
}

TEST_CASE("a bad config.json is an input error that names file and key") {
  for (const BadConfig& bad : kBadConfigs) {
    CAPTURE(bad.fixture, bad.changes);
    const auto problems = problems_of([&] { architecture_from_json(changed(bad.fixture, bad.changes), "dir/config.json"); });
    REQUIRE(problems.size() == 1);
    CHECK_THAT(problems[0], Catch::StartsWith("dir/config.json: ") && Catch::Contains(bad.message));
  }
  CHECK(problems_of([] { architecture_from_json(changed("qwen2_tied", R"({"hidden_size": null, "vocab_size": "x"})"), "c"); }).size() == 2);
  CHECK_THROWS_AS(architecture_from_json(json::array(), "c"), InputError);
}

TEST_CASE("the two spellings of a config.json say the same") {
  for (const char* name : {"deepseek_v3", "deepseek_v3_plain", "qwen2_tied", "qwen2_untied", "qwen3_moe"}) {
    CAPTURE(name);
    const json published = architecture_to_json(architecture_from_json(fixture(name), name));
    CHECK(published == architecture_to_json(architecture_from_json(fixture(name, "config.json"), name)));
    CHECK(published == architecture_to_json(architecture_from_json(published, name)));  // and what is written is read back
  }
}

TEST_CASE("keys that a published config.json may leave out have the published defaults") {
  CHECK(architecture_from_json(changed("deepseek_v3", R"({"q_lora_rank": null})"), "c").q_lora_rank == 0);
  CHECK(architecture_from_json(changed("qwen2_tied", R"({"head_dim": null})"), "c").head_dim * 6 ==
        fixture("qwen2_tied")["hidden_size"].get<int64_t>());
  CHECK_FALSE(architecture_from_json(changed("qwen2_tied", R"({"tie_word_embeddings": null})"), "c").tie_word_embeddings);
  const Architecture yarn = architecture_from_json(
      changed("qwen2_tied", R"({"max_position_embeddings": 77, "rope_scaling": {"type": "yarn", "factor": 4}})"), "c");
  CHECK(yarn.rope_scaling.original_max_position_embeddings == 77.0);
  CHECK(architecture_from_json(changed("qwen2_tied", R"({"rope_scaling": {"rope_type": "default"}})"), "c").rope_scaling.type.empty());
}

}  // namespace cohort::model
