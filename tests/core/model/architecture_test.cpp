#include "core/model/architecture.h"

#include <catch2/catch.hpp>
#include <functional>
#include <map>
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

const std::vector<std::string> kFixtures = {
    "deepseek_v2_groups", "deepseek_v2_lite", "deepseek_v2_tied", "deepseek_v3",    "deepseek_v3_groups", "deepseek_v3_plain",
    "llama_biased",       "llama_scaled",     "llama_untied",     "qwen2_tied",     "qwen2_untied",       "qwen2_yarn",
    "qwen3_biased",       "qwen3_moe",        "qwen3_moe_tied",   "qwen3_moe_yarn", "qwen3_tied",         "qwen3_yarn"};

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
    {"qwen2_tied", R"({"model_type": "mamba"})",
     "model_type: expected one of deepseek_v2, deepseek_v3, llama, qwen2, qwen3, qwen3_moe, found \"mamba\""},
    {"qwen2_tied", R"({"model_type": 3})", "model_type: expected"},
    {"qwen2_tied", R"({"model_type": null})", "model_type: expected"},
    {"qwen2_tied", R"({"hidden_size": null})", "hidden_size: expected a value, found none"},
    {"qwen2_tied", R"({"hidden_size": "64"})", "hidden_size: expected an integer, found \"64\""},
    {"qwen2_tied", R"({"hidden_size": 64.5})", "hidden_size: expected an integer, found 64.5"},
    {"qwen2_tied", R"({"vocab_size": 18446744073709551615})", "vocab_size: expected 1 to 10000000"},
    {"qwen2_tied", R"({"rms_norm_eps": []})", "rms_norm_eps: expected a number"},
    {"qwen2_tied", R"({"tie_word_embeddings": 1})", "tie_word_embeddings: expected true or false"},
    {"qwen2_tied", R"({"num_key_value_heads": 5})", "num_key_value_heads: expected a divisor"},
    {"qwen2_tied", R"({"use_sliding_window": true, "sliding_window": 64, "max_window_layers": 1})", "use_sliding_window: expected false"},
    {"qwen3_moe", R"({"use_sliding_window": true, "sliding_window": 64})", "use_sliding_window: expected false"},
    {"qwen2_tied", R"({"use_sliding_window": true, "sliding_window": null})", "use_sliding_window: expected sliding_window beside it"},
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
    {"qwen2_tied", R"({"attention_bias": false})", "attention_bias: expected true"},
    {"qwen2_tied", R"({"use_mrope": true})", "use_mrope: expected false"},
    {"deepseek_v2_lite", R"({"norm_topk_prob": true})", "norm_topk_prob: expected false"},
    {"deepseek_v2_lite", R"({"scoring_func": "sigmoid"})", "scoring_func: expected \"softmax\""},
    {"deepseek_v2_lite", R"({"topk_method": "noaux_tc"})", "topk_method: expected \"greedy\" or \"group_limited_greedy\""},
    {"deepseek_v2_lite", R"({"num_key_value_heads": 1})", "num_key_value_heads: expected 3, as num_attention_heads, found 1"},
    {"deepseek_v2_lite", R"({"head_dim": 7})", "head_dim: expected 8, as qk_rope_head_dim, found 7"},
    {"deepseek_v2_lite", R"({"qk_head_dim": 7})", "qk_head_dim: expected 14, as qk_nope_head_dim + qk_rope_head_dim, found 7"},
    {"deepseek_v2_lite", R"({"mlp_bias": true})", "mlp_bias: expected false"},
    {"deepseek_v2_groups", R"({"n_group": null})", "n_group: expected a value"},
    {"deepseek_v3", R"({"n_shared_experts": null})", "n_shared_experts: expected a value"},
    {"llama_scaled", R"({"rope_interleaved": true})", "rope_interleaved: expected false"},
    {"llama_scaled", R"({"use_qk_norm": true, "logit_scale": 2})",
     "expected keys whose meaning model family llama knows, found \"logit_scale\", \"use_qk_norm\""},
    {"llama_scaled", R"({"sliding_window": 4})", "expected keys whose meaning model family llama knows, found \"sliding_window\""},
    {"llama_scaled", R"({"rope_scaling": {"mrope_section": [1]}})",
     "expected keys whose meaning rope type llama3 knows, found \"mrope_section\""},
    {"llama_scaled", R"({"rope_scaling": {"partial_rotary_factor": 0.5}})", "partial_rotary_factor: expected 1"},
    {"llama_scaled", R"({"rope_scaling": {"rope_type": "yarn"}})", "rope_scaling: type: expected the value of rope_type, found"},
    {"llama_scaled", R"({"rope_parameters": {"rope_type": "default"}})", "rope_scaling: expected nothing beside rope_parameters"},
    {"llama_scaled", R"({"rope_scaling": null, "rope_parameters": {"rope_theta": 7}})",
     "rope_theta: expected the value in rope_parameters"},
    {"qwen2_yarn", R"({"rope_scaling": {"truncate": false}})", "truncate: expected true"},
    {"qwen3_tied", R"({"layer_types": ["full_attention", "sliding_attention"]})",
     "layer_types: expected \"full_attention\" for each of 2 layers"},
    {"qwen3_tied", R"({"layer_types": ["full_attention"]})", "layer_types: expected \"full_attention\" for each of 2 layers"},
    {"qwen3_moe", R"({"num_local_experts": 5})", "num_experts: expected the value of num_local_experts, found 6"},
    {"qwen3_tied", R"({"is_encoder_decoder": true})", "is_encoder_decoder: expected false"},
    {"qwen3_tied", R"({"architectures": ["LlamaForCausalLM"]})",
     "architectures: expected [\"Qwen3ForCausalLM\"] or [\"Qwen3ForSequenceClassification\"]"},
    {"qwen3_tied", R"({"architectures": "Qwen3ForCausalLM"})", "architectures: expected"},
    {"qwen3_tied", R"({"architectures": ["Qwen3ForSequenceClassification"]})",
     "id2label: expected one label, as a reward model has, found 2"},
    {"qwen3_tied", R"({"architectures": ["Qwen3ForSequenceClassification"], "num_labels": 3})", "id2label: expected one label"},
    {"deepseek_v3", R"({"quantization_config": {"quant_method": "awq", "bits": 4}})",
     "quantization_config: quant_method: expected \"fp8\""},
    {"deepseek_v3", R"({"quantization_config": {"bits": 4}})", "quantization_config: quant_method: expected \"fp8\""},
    {"deepseek_v3", R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 64]}})",
     "quantization_config: weight_block_size: expected [128,128]"},
    {"deepseek_v3", R"({"quantization_config": {"quant_method": "fp8"}})", "quantization_config: weight_block_size: expected [128,128]"},
    {"deepseek_v3", R"({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "static"}})",
     "quantization_config: activation_scheme: expected \"dynamic\""},
    {"deepseek_v3", R"({"quantization_config": 8})", "quantization_config: expected an object or null"},
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
  const CausalLM shapes(a, CausalLM::ShapesOnly{}, Head::kLanguageModel);
  CHECK(shapes.parameters().size() + 58 * 256 == 671'026'419'200);  // the rest are the routers' biases
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
  for (const std::string& name : kFixtures) {
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

TEST_CASE("sizes that are each possible and together make more parameters than can be counted are refused") {
  Architecture a = tiny("dense_tiny");
  a.num_attention_heads = a.num_key_value_heads = a.head_dim = 1 << 16, a.hidden_size = 1 << 20;
  a.num_hidden_layers = 512, a.max_position_embeddings = 1;  // 2^52 numbers in each of four projections: 2^63
  const auto problems = problems_of([&] { a.check("here"); });
  REQUIRE(problems.size() == 1);
  CHECK_THAT(problems[0], Catch::StartsWith("here: expected sizes that make at most 281474976710656 parameters, found 92"));
  a.num_hidden_layers = 1, a.head_dim = 1 << 10;  // 2^48 and some
  CHECK(problems_of([&] { a.check("here"); }).size() == 1);
  a.head_dim = 1 << 9;
  CHECK_NOTHROW(a.check("here"));
  a = tiny("deepseek_v3_tiny");
  a.mlp_only_layers.assign(5, 1);
  CHECK_THAT(problems_of([&] { a.check("here"); }).at(0), Catch::StartsWith("here: mlp_only_layers: expected at most 4 layers, found 5"));
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
  for (const std::string& name : kFixtures) {
    CAPTURE(name);
    const Architecture published = architecture_from_json(fixture(name), name),
                       saved = architecture_from_json(fixture(name, "config.json"), name);
    CHECK(same_decoder(published, saved));
    Architecture bare = published;  // as if it were a preset
    bare.published_config.clear();
    CHECK(same_decoder(architecture_from_json(architecture_to_json(bare), name), published));  // and what is written is read back
  }
}

TEST_CASE("a config.json that was read is written with its keys, except for what no longer holds") {
  for (const std::string& name : kFixtures)
    for (const char* file : {"config.json", "config_published.json"}) {
      CAPTURE(name, file);
      json expected = fixture(name, file);
      if (expected.contains("num_nextn_predict_layers")) expected["num_nextn_predict_layers"] = 0;
      CHECK(architecture_to_json(architecture_from_json(fixture(name, file), name)) == expected);
    }
  const json config = changed("deepseek_v3", R"({"eos_token_id": [1, 2], "torch_dtype": "bfloat16", "num_nextn_predict_layers": 1,
      "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
      "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}})");
  Architecture a = architecture_from_json(config, "c");
  json expected = config;
  expected.erase("quantization_config"), expected.erase("auto_map");
  expected["torch_dtype"] = "float32", expected["num_nextn_predict_layers"] = 0;
  CHECK(architecture_to_json(a) == expected);
  a.num_hidden_layers = 3;  // not what the file says any more
  CHECK(architecture_to_json(a)["num_hidden_layers"] == 3);
  CHECK_FALSE(architecture_to_json(a).contains("eos_token_id"));
}

TEST_CASE("a scalar head is written as a sequence-classification model of one label") {
  const Architecture read = architecture_from_json(fixture("qwen3_reward", "config.json"), "c");
  CHECK(read.sequence_classification);
  CHECK(architecture_to_json(read) == fixture("qwen3_reward", "config.json"));
  Architecture a = architecture_from_json(fixture("qwen2_tied"), "c");
  const int64_t words = a.parameters();
  a.sequence_classification = true;
  CHECK(a.parameters() == words + a.hidden_size);  // the embedding was the head
  const json config = architecture_to_json(a);
  CHECK(config["architectures"] == json::array({"Qwen2ForSequenceClassification"}));
  CHECK(config["id2label"] == json({{"0", "LABEL_0"}}));
  CHECK(architecture_from_json(config, "c").sequence_classification);
}

TEST_CASE("presets are written as ever") {
  CHECK(architecture_to_json(tiny("dense_tiny")) == json::parse(R"({"architectures": ["Qwen2ForCausalLM"], "head_dim": 24,
      "hidden_act": "silu", "hidden_size": 96, "initializer_range": 0.05, "intermediate_size": 256, "max_position_embeddings": 512,
      "model_type": "qwen2", "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
      "rope_theta": 10000.0, "tie_word_embeddings": true, "torch_dtype": "float32", "use_sliding_window": false, "vocab_size": 100})"));
  CHECK(architecture_to_json(tiny("deepseek_v3_tiny")) == json::parse(R"({"architectures": ["DeepseekV3ForCausalLM"],
      "attention_bias": false, "first_k_dense_replace": 1, "hidden_act": "silu", "hidden_size": 96, "initializer_range": 0.05,
      "intermediate_size": 256, "kv_lora_rank": 32, "max_position_embeddings": 512, "model_type": "deepseek_v3",
      "moe_intermediate_size": 80, "moe_layer_freq": 1, "n_group": 4, "n_routed_experts": 8, "n_shared_experts": 1,
      "norm_topk_prob": true, "num_attention_heads": 4, "num_experts_per_tok": 2, "num_hidden_layers": 4, "num_key_value_heads": 4,
      "q_lora_rank": 64, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "rms_norm_eps": 1e-6, "rope_interleave": true,
      "rope_theta": 10000.0, "routed_scaling_factor": 1.0, "scoring_func": "sigmoid", "tie_word_embeddings": false, "topk_group": 2,
      "topk_method": "noaux_tc", "torch_dtype": "float32", "v_head_dim": 24, "vocab_size": 100})"));
}

TEST_CASE("what says that there is no sliding window is accepted, and so are keys without influence and nulls") {
  for (const char* harmless :
       {R"({"use_sliding_window": true, "sliding_window": 4096})",
        R"({"use_sliding_window": false, "sliding_window": 16, "max_window_layers": 0})",
        R"({"use_sliding_window": true, "sliding_window": 16, "max_window_layers": 2})",
        R"({"layer_types": ["full_attention", "full_attention"]})",
        R"({"attention_dropout": 0.1, "use_cache": true, "auto_map": {"AutoConfig": "x.Y"}, "transformers_version": "4.40.1"})",
        R"({"eos_token_id": [1, 2], "bos_token_id": 0, "pad_token_id": 3, "_name_or_path": "x"})"}) {
    CAPTURE(harmless);
    CHECK_NOTHROW(architecture_from_json(changed("qwen2_tied", harmless), "c"));
  }
  json config = fixture("qwen2_tied");
  config["logit_scale"] = nullptr;
  config["use_sliding_window"] = true, config["sliding_window"] = nullptr;
  CHECK_NOTHROW(architecture_from_json(config, "c"));
}

TEST_CASE("layers for multi-token prediction and rotary tables are not read") {
  const Architecture a = architecture_from_json(changed("deepseek_v3", R"({"num_nextn_predict_layers": 1})"), "c");
  CHECK(is_unread_tensor(a, "model.layers.2.eh_proj.weight"));
  CHECK(is_unread_tensor(a, "model.layers.0.self_attn.rotary_emb.inv_freq"));
  CHECK_FALSE(is_unread_tensor(a, "model.layers.1.mlp.gate.weight"));
  CHECK_FALSE(is_unread_tensor(a, "model.layers.3.mlp.gate.weight"));
  CHECK_FALSE(is_unread_tensor(a, "model.layers.20.mlp.gate.weight"));
  CHECK(is_prediction_tensor(a, "model.layers.2.eh_proj.weight"));
  for (const char* other : {"model.layers.1.eh_proj.weight", "model.layers.2", "model.layers.", "model.layers.x.w", "model.norm.weight"})
    CHECK_FALSE(is_prediction_tensor(a, other));
}

/// config.json files of published models (data of the project), and how many parameters they have.
TEST_CASE("configs of published models are read, and written back as they were") {
  const std::map<std::string, int64_t> parameters = {{"deepseek-r1-distill-qwen-1.5b", 1'777'088'000},
                                                     {"deepseek-v2-lite", 15'706'484'224},
                                                     {"deepseek-v3", 671'026'419'200},
                                                     {"llama-3.2-1b", 1'235'814'400},
                                                     {"llama-3.2-1b-instruct", 1'235'814'400},
                                                     {"qwen2.5-0.5b", 494'032'768},
                                                     {"qwen2.5-1.5b", 1'543'714'304},
                                                     {"qwen2.5-7b-instruct", 7'615'616'512},
                                                     {"qwen3-0.6b", 596'049'920},
                                                     {"qwen3-30b-a3b", 30'532'122'624},
                                                     {"qwen3-8b", 8'190'735'360}};
  for (const auto& [name, count] : parameters) {
    CAPTURE(name);
    const auto path = test::real_data("configs/" + name + ".json");
    if (!path) continue;
    const json config = parse_json(read_file(*path, 1 << 20), *path);
    const Architecture a = architecture_from_json(config, *path);
    CHECK(a.parameters() == count);
    json expected = config;
    expected.erase("quantization_config"), expected.erase("auto_map");
    expected["torch_dtype"] = "float32";
    if (expected.contains("num_nextn_predict_layers")) expected["num_nextn_predict_layers"] = 0;
    CHECK(architecture_to_json(a) == expected);
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
