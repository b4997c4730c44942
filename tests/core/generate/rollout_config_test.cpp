#include "core/generate/rollout_config.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"
#include "core/config/yaml_reader.h"

namespace cohort::generate {
namespace {

RolloutConfig read(const std::string& text) { return config::read_config_text<RolloutConfig>(text, "c.yaml"); }

}  // namespace

TEST_CASE("settings of the rollout are checked") {
  CHECK(read("n: 4\ntemperature: 0\n").temperature == 0.0);
  CHECK(read("temperature: 0.001\n").temperature == 0.001);
  for (const char* bad : {"temperature: 1e-40\n", "temperature: 0.0009\n", "temperature: -1\n", "top_p: 0\n", "top_p: 1.5\n", "top_k: -1\n",
                          "n: 0\n", "max_response_length: 0\n", "max_num_seqs: 0\n"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(read(bad), InputError);
  }
  CHECK_THROWS_WITH(read("temperature: 1e-40\n"), Catch::Contains("c.yaml:1: temperature: expected 0 or at least 0.001, found 1e-40"));
}

TEST_CASE("sequences are decoded together in whole groups, as many as are asked for and the cache has room for") {
  RolloutConfig c = read("n: 4\nmax_num_seqs: 22\nkv_cache_gb: 0.5\n");
  constexpr int64_t kMiB = 1 << 20;
  CHECK(c.sequences_together(400, 1) == 20);
  CHECK(c.sequences_together(8, 1) == 8);
  CHECK(c.sequences_together(400, 40 * kMiB) == 12);  // 12.8 fit
  CHECK(c.sequences_together(400, 32 * kMiB) == 16);  // as much as there is
  CHECK(c.sequences_together(400, 32 * kMiB + 1) == 12);
  CHECK(c.sequences_together(400, int64_t{1} << 40) == 4);  // the answers to one question always run together
  CHECK(c.sequences_together(0, 0) == 4);
  c.kv_cache_gb = 1 << 20;
  CHECK(c.sequences_together(400, 1) == 20);
  CHECK_THROWS_AS(read("kv_cache_gb: -1\n"), InputError);
}

}  // namespace cohort::generate
