#include "core/data/row_reader.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "core/base/error.h"
#include "core/data/data_files.h"
#include "core/data/parquet.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::data {
namespace {

void write(const std::string& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

std::string row(int i) { return R"({"prompt": "question )" + std::to_string(i) + R"(", "answer": "1"})" + "\n"; }

std::vector<std::string> texts(const std::string& path) {
  std::vector<std::string> result;
  for (const records::Question& question : read_rows(path, RowFormat::kAuto, false).questions) result.push_back(question.text());
  return result;
}

TEST_CASE("a path is a file, a folder or a pattern", "[data][files]") {
  const TempDir folder;
  write(folder / "b.jsonl", row(2));
  write(folder / "a.jsonl", row(1));
  write(folder / "other.txt", row(3));
  std::filesystem::create_directory(folder / "deeper");
  write(folder / "deeper/c.jsonl", row(4));
  CHECK(texts(folder.path()) == std::vector<std::string>{"question 1", "question 2"});
  CHECK(texts(folder / "*.jsonl") == texts(folder.path()));
  CHECK(texts(folder / "?.jsonl") == texts(folder.path()));
  CHECK(texts(folder / "*/*.jsonl") == std::vector<std::string>{"question 4"});
  CHECK(texts(folder / "other.txt") == std::vector<std::string>{"question 3"});
  CHECK_THROWS_WITH(find_data_files(folder / "nowhere"), Catch::Contains("expected an existing file, folder or pattern"));
  CHECK_THROWS_WITH(find_data_files(folder / "x*"), Catch::Contains("expected an existing file, folder or pattern"));
  std::filesystem::create_directory(folder / "empty");
  CHECK_THROWS_WITH(find_data_files(folder / "empty"), Catch::Contains("expected a folder with *.jsonl or *.parquet"));
  write(folder / "a[1].jsonl", row(5));
  CHECK(texts(folder / "a[1].jsonl") == std::vector<std::string>{"question 5"});  // a file of that name is not a pattern
}

TEST_CASE("places of rows are named over several files", "[data][files]") {
  const TempDir folder;
  write(folder / "a.jsonl", row(1) + "\nbad\n");
  write(folder / "b.jsonl", row(2));
  RowReader reader(find_data_files(folder.path()));
  Row seen;
  REQUIRE(reader.next(seen));
  CHECK(seen.where == folder / "a.jsonl:1");
  REQUIRE(reader.next(seen));
  CHECK(seen.where == folder / "a.jsonl:3");
  CHECK(seen.problem.starts_with(folder / "a.jsonl:3: "));
  REQUIRE(reader.next(seen));
  CHECK(seen.where == folder / "b.jsonl:1");
  CHECK(seen.problem.empty());
  CHECK_FALSE(reader.next(seen));
  CHECK(reader.bytes_read() == reader.bytes_total());
}

TEST_CASE("a build without Arrow says so", "[data][parquet]") {
  if (has_parquet()) return;
  CHECK_THROWS_WITH(read_rows(test::golden_path("data/rows.parquet"), RowFormat::kAuto, false),
                    Catch::Contains("this build does not read"));
}

TEST_CASE("Parquet rows are the JSONL rows", "[data][parquet]") {
  if (!has_parquet()) return;
  const Rows table = read_rows(test::golden_path("data/rows.parquet"), RowFormat::kAuto, false);
  const Rows lines = read_rows(test::golden_path("data/rows.jsonl"), RowFormat::kAuto, false);
  REQUIRE(table.questions.size() == 40);
  REQUIRE(lines.questions.size() == 40);
  for (size_t i = 0; i < 40; ++i) CHECK(table.questions[i].SerializeAsString() == lines.questions[i].SerializeAsString());
}

TEST_CASE("columns that are null are as none", "[data][parquet]") {
  if (!has_parquet()) return;
  const Rows rows = read_rows(test::golden_path("data/trl.parquet"), RowFormat::kAuto, true);
  REQUIRE(rows.questions.size() == 4);
  CHECK(rows.questions[0].ground_truth() == "4");
  CHECK(rows.questions[1].ground_truth() == "\\frac12");
  CHECK(rows.questions[2].answer() == "Hi.");
  CHECK(rows.questions[3].solution() == "a");
  REQUIRE(rows.bad_rows == 1);
  CHECK(rows.problems[0].starts_with(test::golden_path("data/trl.parquet: row 5: ")));
}

TEST_CASE("Parquet that would need too much is refused", "[data][parquet]") {
  if (!has_parquet()) return;
  const auto problem = [](const char* name) -> std::string {
    try {
      read_rows(test::golden_path(std::string("data/") + name), RowFormat::kAuto, true);
    } catch (const InputError& error) {
      return error.problems().back();
    }
    return "";
  };
  CHECK_THAT(problem("deep.parquet"), Catch::Contains("nested deeper than 8"));
  CHECK_THAT(problem("too_many.parquet"), Catch::Contains("100000000 rows"));
  CHECK_THAT(problem("bomb.parquet"), Catch::Contains("more text than"));
  CHECK_THAT(problem("nulls.parquet"), Catch::Contains("more bad rows"));
}

TEST_CASE("Parquet rows that are too long count as text that was read", "[data][parquet]") {
  if (!has_parquet()) return;
  ParquetReader reader(test::golden_path("data/bomb.parquet"), 1000);  // each of its 20,000 rows has 600 kB
  nlohmann::json row;
  std::string last;
  for (int i = 0; i < 1000; ++i) {
    try {
      if (!reader.next(row)) break;
    } catch (const InputError& error) {
      last = error.what();
    }
  }
  CHECK_THAT(last, Catch::Contains("more text than"));
}

/// Each byte of a small file may be any other.
TEST_CASE("damaged Parquet gives an error or rows, and nothing else", "[data][parquet]") {
  if (!has_parquet()) return;
  std::ifstream file(test::golden_path("data/rows.parquet"), std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(file)), {});
  REQUIRE(good.size() > 4000);
  const TempDir folder;
  const std::string path = folder / "damaged.parquet";
  uint64_t state = 1, refused = 0, read = 0;
  const auto draw = [&state](uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
  };
  for (int round = 0; round < 400; ++round) {
    std::string bytes = good;
    if (round % 8 == 0) bytes.resize(draw(good.size()));
    for (uint64_t changes = 1 + draw(4); changes > 0 && !bytes.empty(); --changes) {
      const bool footer = draw(2) == 0 && bytes.size() > 3000;  // where sizes and offsets are
      const uint64_t at = footer ? bytes.size() - 1 - draw(3000) : draw(bytes.size());
      bytes[at] = static_cast<char>(draw(256));
    }
    write(path, bytes);
    try {
      RowReader reader({path});
      Row seen;
      while (reader.next(seen)) ++read;
    } catch (const InputError&) {
      ++refused;
    }
  }
  CHECK(refused > 100);
  CHECK(read > 100);
}

}  // namespace
}  // namespace cohort::data
