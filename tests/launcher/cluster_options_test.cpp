#include "launcher/cluster_options.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "launcher/build_abilities.h"
#include "launcher/run_config.h"
#include "tests/support/golden.h"

namespace cohort::launcher {
namespace {

pipeline::Recipe recipe_of(const std::string& name, int ranks) {
  const std::string path = test::source_path("configs/" + name);
  return read_recipe(read_file(path, 1 << 20), path, {}, ranks);
}

ClusterOptions on(const std::string& memory) {
  ClusterOptions options;
  options.gpu_memory = memory;
  return options;
}

TEST_CASE("sizes of memory") {
  CHECK(parse_memory("80GB") == 80e9);
  CHECK(parse_memory("1.5GiB") == 1.5 * (1 << 30));
  for (const char* bad : {"80", "GB", "", "80 GB", "-1GB", "0GB", "infGB", "nanGB", "1e300TB", "80GBx"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_memory(bad), InputError);
  }
}

TEST_CASE("the paper's run fits 64 nodes of 8 with 80 GB") {
  const auto json = nlohmann::json::parse(cluster_output(on("80GB"), recipe_of("r1.yaml", 512), 512, true));
  CHECK(json["fits"] == true);
  CHECK(json["ranks"] == 512);
  const auto& layout = json["layout"];
  CHECK(layout["data_parallel"].get<int64_t>() * layout["expert_parallel"].get<int64_t>() + layout["rollout_ranks"].get<int64_t>() == 512);
  CHECK(json["stages"].size() == 9);
  for (const auto& stage : json["stages"]) {
    CAPTURE(stage["name"]);
    CHECK(stage["fits"] == true);
    double peak = 0.0;
    for (const auto& phase : stage["memory"]) {
      double total = 0.0;
      for (const auto& part : phase["parts"]) total += part["value"].get<double>();
      CHECK(total == Approx(phase["total"].get<double>()));
      peak = std::max(peak, total);
    }
    CHECK(peak == Approx(stage["peak_bytes_per_rank"].get<double>()));
    CHECK(peak <= json["usable_bytes_per_rank"].get<double>());
    for (const char* key : {"type", "traffic", "operations", "seconds", "decode", "change", "build", "host_bytes_per_node"})
      CHECK(stage.contains(key));
  }
}

TEST_CASE("what does not fit is said, with keys to change") {
  ClusterOptions options = on("80GB");
  options.wish.zero1 = false;
  const auto json = nlohmann::json::parse(cluster_output(options, recipe_of("r1.yaml", 512), 512, true));
  CHECK(json["fits"] == false);
  const std::string change = json["stages"][0]["change"].dump();
  CHECK_THAT(change, Catch::Contains("trainer.optimizer_sharding: zero1"));
  const std::string text = cluster_output(options, recipe_of("r1.yaml", 512), 512, false);
  CHECK_THAT(text, Catch::Contains("DOES NOT FIT"));
  CHECK_THAT(text, Catch::Contains("change moments (157.4 GB): trainer.optimizer_sharding: zero1"));
}

TEST_CASE("wishes are kept, or refused with their numbers") {
  ClusterOptions options = on("80GB");
  options.wish.expert_parallel = 128, options.wish.data_parallel = 4;
  const auto json = nlohmann::json::parse(cluster_output(options, recipe_of("r1.yaml", 512), 512, true));
  CHECK(json["layout"]["expert_parallel"] == 128);
  CHECK(json["layout"]["data_parallel"] == 4);
  const auto problem = [&](const ClusterOptions& o) {
    try {
      cluster_output(o, recipe_of("r1.yaml", 512), 512, true);
    } catch (const InputError& error) {
      return error.problems().front();
    }
    return std::string("none");
  };
  options.wish.placement = "colocated";
  options.wish.data_parallel = 3;
  CHECK(problem(options) ==
        "command line: --data-parallel: expected data parallel x expert parallel = 512 trainer ranks, found 3 x 128 = 384");
  options = on("80GB");
  options.wish.rollout_ranks = 512;
  CHECK(problem(options) == "command line: --rollout-ranks: expected fewer than the 512 ranks, found 512");
  options = on("80GB");
  options.stage = "nope";
  CHECK_THAT(problem(options), Catch::StartsWith("command line: --stage: expected one of zero_32k, "));
  options = on("80GB");
  options.simulate = true;
  options.stage = "sft";
  CHECK_THAT(problem(options), Catch::StartsWith("command line: --stage: expected one of zero_32k, zero, reasoning, r1, "));
}

TEST_CASE("a simulation with measured rates: more rollout ranks wait for one trainer") {
  ClusterOptions options;
  options.simulate = true;
  options.decode_step_seconds = 0.01;
  options.train_token_seconds = 0.001;
  const auto json = nlohmann::json::parse(cluster_output(options, recipe_of("smoke.yaml", 4), 4, true));
  const auto& rows = json["simulation"]["rows"];
  REQUIRE(rows.size() == 1 + 3 * 2);
  CHECK(rows[0]["layout"]["placement"] == "colocated");
  CHECK(rows[5]["layout"]["rollout_ranks"] == 3);
  CHECK(rows[5]["rollout_busy"].get<double>() < rows[1]["rollout_busy"].get<double>());
  CHECK(rows[5]["trainer_busy"].get<double>() > rows[1]["trainer_busy"].get<double>());
  CHECK(cluster_output(options, recipe_of("smoke.yaml", 4), 4, true) == cluster_output(options, recipe_of("smoke.yaml", 4), 4, true));
}

TEST_CASE("abilities follow the keys of this build") {
  StageWork work;
  Layout l;
  l.ranks = 8;
  const std::vector<Ability> simple = abilities_for(work, l, {});
  REQUIRE(simple.size() == 2);
  CHECK(simple[1].option == "cluster.placement: colocated");
  CHECK(simple[1].supported);
  l.context_parallel = 8;
  const std::vector<Ability> more = abilities_for(work, l, {});
  REQUIRE(more.size() == 3);
  CHECK_FALSE(more[2].supported);
}

}  // namespace
}  // namespace cohort::launcher
