#include "core/model/rope_table.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/support/golden.h"

namespace cohort::model {
namespace {

using nlohmann::json;

json golden() {
  const std::string path = test::golden_path("model/rope.json");
  return parse_json(read_file(path, 1 << 20), path);
}

Architecture architecture_of(const json& c) {
  Architecture a;
  const json& p = c["parameters"];
  RopeScaling& r = a.rope_scaling;
  r.type = p["rope_type"] == "default" ? "" : p["rope_type"].get<std::string>();
  a.rope_theta = p["rope_theta"];
  r.factor = p.value("factor", 1.0), r.original_max_position_embeddings = p.value("original_max_position_embeddings", 0.0);
  r.beta_fast = p.value("beta_fast", 0.0), r.beta_slow = p.value("beta_slow", 0.0);
  r.mscale = p.value("mscale", 0.0), r.mscale_all_dim = p.value("mscale_all_dim", 0.0);
  r.low_freq_factor = p.value("low_freq_factor", 0.0), r.high_freq_factor = p.value("high_freq_factor", 0.0);
  const int64_t rope = c["rope_dim"], query = c["qk_head_dim"];
  if (query != rope) a.kv_lora_rank = 1, a.qk_rope_head_dim = rope, a.qk_nope_head_dim = query - rope;
  a.head_dim = query;
  a.max_position_embeddings = 300;
  return a;
}

}  // namespace

TEST_CASE("frequencies, amplitude and softmax scale equal those of the published models") {
  const json all = golden();
  CHECK(all.size() == 6);
  for (const auto& [name, c] : all.items()) {
    CAPTURE(name);
    const Architecture a = architecture_of(c);
    const auto frequencies = rope_frequencies(a, c["rope_dim"]);
    REQUIRE(frequencies.size() == c["inv_freq"].size());
    for (size_t i = 0; i < frequencies.size(); ++i) {
      CAPTURE(i);
      CHECK(frequencies[i] == Approx(c["inv_freq"][i].get<double>()).epsilon(2e-6));  // the reference computes in fp32
    }
    CHECK(rope_amplitude(a.rope_scaling) == Approx(c["cos_sin_factor"].get<double>()).epsilon(1e-9));
    CHECK(attention_scale(a) == Approx(c["softmax_scale"].get<double>()).epsilon(1e-9));
  }
}

TEST_CASE("an attention factor that is given takes the place of the one from mscale") {
  RopeScaling r{.type = "yarn", .factor = 4.0};
  CHECK(rope_amplitude(r) == Approx(1.1386294361));  // 0.1 ln 4 + 1, as mscale_all_dim is not given
  r.attention_factor = 0.7;
  CHECK(rope_amplitude(r) == 0.7);
}

TEST_CASE("the table holds cosine and sine of position times frequency, times the amplitude") {
  const json all = golden();
  for (const auto& [name, c] : all.items()) {
    CAPTURE(name);
    const Architecture a = architecture_of(c);
    const auto frequencies = rope_frequencies(a, c["rope_dim"]);
    const double amplitude = rope_amplitude(a.rope_scaling);
    const RopeTable table = make_rope_table(a, c["rope_dim"]);
    const std::vector<int64_t> shape = {300, c["rope_dim"].get<int64_t>() / 2};
    REQUIRE(table.cosine.sizes() == at::IntArrayRef(shape));
    REQUIRE(table.sine.sizes() == at::IntArrayRef(shape));
    for (const int64_t position : {0, 1, 17, 299})
      for (size_t i = 0; i < frequencies.size(); ++i) {
        const double angle = static_cast<double>(position) * frequencies[i];
        const auto entry = [&](const at::Tensor& t) { return static_cast<double>(t[position][static_cast<int64_t>(i)].item<float>()); };
        // Angles are fp32: up to 299 they are right to 2e-5.
        CHECK(entry(table.cosine) == Approx(std::cos(angle) * amplitude).margin(4e-5));
        CHECK(entry(table.sine) == Approx(std::sin(angle) * amplitude).margin(4e-5));
      }
  }
}

TEST_CASE("without mscale, YaRN's amplitude is 0.1·ln(factor) + 1, and a factor of 1 changes nothing") {
  RopeScaling r{.type = "yarn", .factor = 40.0, .mscale = 0.0};
  CHECK(rope_amplitude(r) == Approx(0.1 * std::log(40.0) + 1.0));
  r.factor = 1.0;
  CHECK(rope_amplitude(r) == 1.0);
  r.type = "llama3", r.factor = 8.0;
  CHECK(rope_amplitude(r) == 1.0);
}

TEST_CASE("the softmax scale of grouped-query attention has no YaRN factor") {
  Architecture a;
  a.head_dim = 64;
  a.rope_scaling = {.type = "yarn", .factor = 40.0, .mscale = 1.0, .mscale_all_dim = 1.0};
  CHECK(attention_scale(a) == Approx(0.125));
}

}  // namespace cohort::model
