#include "core/base/metrics.h"

#include <catch2/catch.hpp>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "tests/core/base/temp_dir.h"

namespace cohort {
namespace {

TEST_CASE("a metrics line has stage and step first, then names as they were set") {
  Metrics metrics;
  metrics["actor/pg_loss"] = 0.1;
  metrics["actor/lr"] = 1e-6;
  metrics["a \"quoted\"\n"] = std::numeric_limits<double>::quiet_NaN();
  metrics["count"] = 12;
  metrics["inf"] = -std::numeric_limits<double>::infinity();
  metrics["actor/pg_loss"] += 0.2;
  const std::string line = metrics_line("zero", 3, metrics);
  CHECK(
      line ==
      R"({"stage":"zero","step":3,"actor/pg_loss":0.30000000000000004,"actor/lr":1e-06,"a \"quoted\"\u000a":null,"count":12,"inf":null})");
  CHECK(parse_json(line, "test")["actor/pg_loss"].get<double>() == 0.1 + 0.2);
  CHECK(*metrics.find("count") == 12);
  CHECK(metrics.find("other") == nullptr);
}

TEST_CASE("metrics are appended, and cut back when a run goes on from an earlier step") {
  const TempDir dir;
  Metrics metrics;
  metrics["x"] = 1;
  uint64_t after_one = 0;
  {
    MetricsWriter writer(dir / "m");
    CHECK(writer.bytes() == 0);
    writer.write("s", 1, metrics);
    after_one = writer.bytes();
    CHECK(read_file(dir / "m", 999) == "{\"stage\":\"s\",\"step\":1,\"x\":1}\n");  // there before the writer is gone
    writer.write("s", 2, metrics);
    writer.sync();
  }
  {
    MetricsWriter writer(dir / "m");
    CHECK(writer.bytes() == 2 * after_one);
  }
  MetricsWriter writer(dir / "m", after_one);
  CHECK(writer.bytes() == after_one);
  writer.write("t", 2, metrics);
  CHECK(read_file(dir / "m", 999) == "{\"stage\":\"s\",\"step\":1,\"x\":1}\n{\"stage\":\"t\",\"step\":2,\"x\":1}\n");
  CHECK_THROWS_AS(MetricsWriter(dir / "m", 10'000), Fault);
  CHECK_THROWS_AS(MetricsWriter(dir / "no/folder"), Fault);
}

}  // namespace
}  // namespace cohort
