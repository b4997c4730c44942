#include "core/model/sharded_safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/model/weights_io.h"
#include "tests/core/base/temp_dir.h"
#include "tests/support/golden.h"

namespace cohort::model {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::Contains;

const char* const kIndex = "model.safetensors.index.json";

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         std::memcmp(a.contiguous().data_ptr(), b.contiguous().data_ptr(), a.nbytes()) == 0;
}

/// Two shards and their index: a and b in the first, c in the second.
void write_pair(const fs::path& folder) {
  write_safetensors(folder / "one.safetensors", {{"a", at::ones({2})}, {"b", at::ones({3})}});
  write_safetensors(folder / "two.safetensors", {{"c", at::ones({4})}});
  std::ofstream(folder / kIndex) << R"({"metadata": {"total_size": 99999999999999999}, "weight_map":
      {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}})";
}

std::string refusal(const fs::path& folder) {
  try {
    const ShardedSafetensors files(folder.string());
    for (const auto& [name, unused] : files.tensors()) files.load(name);
  } catch (const InputError& error) {
    REQUIRE(error.problems().size() == 1);
    const std::string message = error.problems()[0];
    CHECK_THAT(message, Contains("expected ") && Contains("found"));
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  return "accepted";
}

struct Attack {
  const char* name;
  std::function<void(const fs::path&)> change;
  const char* message;
};

void put(const fs::path& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
std::function<void(const fs::path&)> index_of(const std::string& text) {
  return [text](const fs::path& folder) { put(folder / kIndex, text); };
}
std::function<void(const fs::path&)> map_of(const std::string& entries) { return index_of(R"({"weight_map": {)" + entries + "}}"); }

const std::vector<Attack>& attacks() {
  static const std::vector<Attack> table = {
      {"nothing is wrong", [](const fs::path&) {}, "accepted"},
      {"a link inside the folder",
       [](const fs::path& f) { fs::rename(f / "two.safetensors", f / "blob"), fs::create_symlink("blob", f / "two.safetensors"); },
       "accepted"},
      {"no weights", [](const fs::path& f) { fs::remove(f / kIndex); },
       "expected model.safetensors or model.safetensors.index.json, found neither"},
      {"both", [](const fs::path& f) { fs::copy_file(f / "one.safetensors", f / "model.safetensors"); }, "found both"},
      {"the folder above", map_of(R"("a": "../one.safetensors")"), "tensor 'a': expected the plain name of a .safetensors file"},
      {"an absolute path", map_of(R"("a": "/etc/passwd")"), "expected the plain name"},
      {"a folder below", map_of(R"("a": "below/one.safetensors")"), "expected the plain name"},
      {"the folder itself", map_of(R"("a": ".")"), "expected the plain name"},
      {"another kind of file", map_of(R"("a": "config.json")"), "expected the plain name"},
      {"a zero byte in a name", map_of(R"("a": "one\u0000.safetensors")"), "expected the plain name"},
      {"a name that is too long", map_of("\"a\": \"" + std::string(300, 'x') + ".safetensors\""), "expected the plain name"},
      {"no such shard", map_of(R"("a": "three.safetensors")"), "three.safetensors: expected a readable file inside the folder"},
      {"a shard is a folder", [](const fs::path& f) { fs::remove(f / "two.safetensors"), fs::create_directory(f / "two.safetensors"); },
       "two.safetensors: expected a regular file"},
      {"a link out of the folder",
       [](const fs::path& f) {
         const fs::path outside = f.parent_path() / (f.filename().string() + "_outside");
         fs::rename(f / "two.safetensors", outside), fs::create_symlink(outside, f / "two.safetensors");
       },
       "two.safetensors: expected a readable file inside the folder, found: a symbolic link that leads out of it"},
      {"a relative link out of the folder",
       [](const fs::path& f) {
         fs::remove(f / "two.safetensors");
         fs::create_symlink("../" + f.filename().string() + "/one.safetensors", f / "two.safetensors");
       },
       "a symbolic link that leads out of it"},
      {"a link to itself",
       [](const fs::path& f) { fs::remove(f / "two.safetensors"), fs::create_symlink("two.safetensors", f / "two.safetensors"); },
       "two.safetensors: expected a readable file"},
      {"the index is a link out", [](const fs::path& f) { fs::remove(f / kIndex), fs::create_symlink("/etc/passwd", f / kIndex); },
       "index.json: expected a readable file inside the folder"},
      {"a tensor is not in its shard",
       map_of(R"("a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors", "d": "two.safetensors")"),
       "index.json: tensor 'd': expected it in two.safetensors, found no such tensor there"},
      {"a tensor is not listed", map_of(R"("a": "one.safetensors", "c": "two.safetensors")"),
       "one.safetensors: tensor 'b': expected it in weight_map of model.safetensors.index.json, found none"},
      {"a tensor is listed twice", map_of(R"("a": "one.safetensors", "a": "two.safetensors")"), "expected each key once, found 'a' again"},
      {"a tensor is in two shards",
       [](const fs::path& f) {
         write_safetensors(f / "two.safetensors", {{"a", at::ones({2})}, {"c", at::ones({4})}});
       },
       "two.safetensors: tensor 'a': expected it in one.safetensors alone, where the index has it, found another one here"},
      {"a shard is cut", [](const fs::path& f) { fs::resize_file(f / "two.safetensors", fs::file_size(f / "two.safetensors") - 1); },
       "two.safetensors: tensor 'c': data_offsets: expected end at most 15"},
      {"the index is no object", index_of("[]"), "index.json: expected an object, found array"},
      {"the index is empty", index_of(""), "index.json: expected JSON"},
      {"no weight_map", index_of("{}"), "weight_map: expected an object, found none"},
      {"weight_map is a list", index_of(R"({"weight_map": []})"), "weight_map: expected an object, found array"},
      {"an unknown key", index_of(R"({"weight_map": {}, "more": 1})"), "expected metadata and weight_map, found 'more'"},
      {"a shard is a number", map_of(R"("a": 1)"), "tensor 'a': expected the name of a shard, found number"},
      {"nested far too deep", index_of("{\"metadata\":" + std::string(100'000, '[')), "expected nesting up to"},
      {"not UTF-8", map_of("\"\xff\": \"one.safetensors\""), "index.json"},
  };
  return table;
}

TEST_CASE("folders whose index, shards or links are wrong are refused in one line") {
  for (const Attack& attack : attacks()) {
    CAPTURE(attack.name);
    const TempDir parent;
    const fs::path folder = fs::path(parent.path()) / "model";
    fs::create_directory(folder);
    write_pair(folder);
    attack.change(folder);
    CHECK_THAT(refusal(folder), Contains(attack.message));
  }
}

TEST_CASE("a folder that is none, and a linked folder") {
  const TempDir parent;
  CHECK_THROWS_AS(ShardedSafetensors(parent / "missing"), InputError);
  fs::create_directory(parent / "model");
  write_pair(parent / "model");
  fs::create_symlink("model", parent / "link");  // the user's own word, as in a hub's cache
  CHECK(refusal(parent / "link") == "accepted");
}

TEST_CASE("a shard that is cut after it was opened is refused") {
  const TempDir folder;
  write_pair(folder.path());
  const ShardedSafetensors files(folder.path());
  fs::resize_file(folder / "two.safetensors", 70);
  float values[4] = {};
  files.read_floats("a", 0, 2, values);
  CHECK_THROWS_WITH(files.read_floats("c", 0, 4, values), Contains("two.safetensors") && Contains("a file that was cut to"));
}

TEST_CASE("matrices in FP8 are their stored values times their blocks' scales, exactly") {
  const std::string folder = test::golden_path("safetensors/fp8");
  const ShardedSafetensors files(folder);
  const SafetensorsFile expected(folder + "/expected.safetensors");
  REQUIRE(expected.tensors().size() == 5);
  bool crosses = false;
  for (const auto& [name, info] : expected.tensors()) {
    CAPTURE(name);
    const auto* entry = files.find(name);
    REQUIRE(entry != nullptr);
    CHECK(entry->info->dtype == at::kFloat8_e4m3fn);
    CHECK(entry->scale_file != entry->file);  // in the other shard
    crosses = crosses || info.shape[0] == 576;
    const at::Tensor values = expected.load(name);
    CHECK(same_bits(files.load(name), values));
    const int64_t n = values.numel();
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>(0, 1), {n - 1, n}, {n / 3, n / 3 + 700}, {7, n - 5}, {n / 2, n / 2}}) {
      std::vector<float> part(static_cast<size_t>(end - begin));
      files.read_floats(name, begin, end, part.data());
      CHECK((part.empty() || std::memcmp(part.data(), values.data_ptr<float>() + begin, part.size() * sizeof(float)) == 0));
    }
    CHECK(files.find(name + "_scale_inv") == nullptr);
  }
  CHECK(crosses);
  // The layer for multi-token prediction and the rotary table are passed over.
  const auto model = load_model(folder);
  const std::string kv = "model.layers.0.self_attn.kv_a_proj_with_mqa.weight";
  CHECK(same_bits(model->parameters().find(kv)->value.detach(), expected.load(kv)));
  CHECK(check_tensors(*model, files) == 3);
}

TEST_CASE("scales that do not fit their matrix are refused") {
  const auto fp8 = at::ones({130, 257}).to(at::kFloat8_e4m3fn);
  const auto with = [&](const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
    const TempDir folder;
    write_safetensors(folder / "model.safetensors", tensors);
    return refusal(folder.path());
  };
  CHECK(with({{"w", fp8}, {"w_scale_inv", at::ones({2, 3})}}) == "accepted");
  CHECK(with({{"w", fp8}, {"w_scale_inv", at::ones({2, 3}, at::kBFloat16)}}) == "accepted");
  CHECK(with({{"w", at::ones({2})}, {"w_scale_inv", at::ones({1, 1})}}) == "accepted");  // two tensors like others
  CHECK_THAT(with({{"w", fp8}}), Contains("tensor 'w': expected its scales w_scale_inv, found none"));
  CHECK_THAT(with({{"w", fp8}, {"w_scale_inv", at::ones({3, 2})}}),
             Contains("tensor 'w_scale_inv': expected shape [2, 3] for blocks of 128 x 128, found [3, 2]"));
  CHECK_THAT(with({{"w", fp8}, {"w_scale_inv", at::ones({2, 3}, at::kInt)}}), Contains("expected scales in F32, BF16 or F16, found I32"));
  CHECK_THAT(with({{"w", fp8[0]}, {"w_scale_inv", at::ones({3})}}), Contains("expected F8_E4M3 with two dimensions, found 1"));
  CHECK_THAT(with({{"w", fp8.to(at::kFloat).to(at::kFloat8_e5m2)}}),
             Contains("expected 8-bit floats of the type F8_E4M3") && Contains("F8_E5M2"));
}

TEST_CASE("every floating type is read as fp32 in pieces as in one") {
  const TempDir folder;
  const at::Tensor values = at::arange(200'000, at::kFloat).sin();
  write_safetensors(folder / "model.safetensors",
                    {{"f32", values}, {"bf16", values.to(at::kBFloat16)}, {"f16", values.to(at::kHalf)}, {"f64", values.to(at::kDouble)}});
  const ShardedSafetensors files(folder.path());
  for (const auto& [name, type] : {std::pair("f32", at::kFloat), {"bf16", at::kBFloat16}, {"f16", at::kHalf}, {"f64", at::kDouble}}) {
    CAPTURE(name);
    at::Tensor read = at::zeros({150'000});
    files.read_floats(name, 40'000, 190'000, read.data_ptr<float>());
    CHECK(same_bits(read, values.to(type).to(at::kFloat).slice(0, 40'000, 190'000)));
    CHECK(files.bytes_read(name) == 150'000 * c10::elementSize(type));
  }
  CHECK(files.bytes_read() == 150'000 * (4 + 2 + 2 + 8));
}

TEST_CASE("shards are cut and indexed as transformers does, byte for byte") {
  const fs::path published = test::golden_path("safetensors/sharded");
  const ShardedSafetensors files(published.string());
  REQUIRE(files.files() == 5);
  std::map<std::string, std::vector<LazyTensor>> by_shard;
  for (const auto& [name, entry] : files.tensors())
    by_shard[entry.file->path()].push_back(
        {name, entry.info->dtype, entry.info->shape, [&files, name = name] { return files.load(name); }});
  std::vector<LazyTensor> tensors;
  for (auto& [unused, shard] : by_shard) {  // the largest first: it fits no better into the shard before than what transformers put there
    std::stable_sort(shard.begin(), shard.end(), [](const LazyTensor& a, const LazyTensor& b) { return a.bytes() > b.bytes(); });
    tensors.insert(tensors.end(), shard.begin(), shard.end());
  }
  const TempDir folder;
  CHECK(write_sharded_safetensors(folder.path(), tensors, 9'000) == 5);
  size_t compared = 0;
  for (const auto& file : fs::directory_iterator(published)) {
    const std::string name = file.path().filename();
    if (!name.starts_with("model")) continue;
    CAPTURE(name);
    CHECK((bytes_of(folder / name) == bytes_of(file.path())));
    ++compared;
  }
  CHECK(compared == 6);
  CHECK(weight_file_names(folder.path()).size() == 6);
}

TEST_CASE("a tensor above the limit has a shard to itself") {
  const TempDir folder;
  const auto tensor = [](const std::string& name, int64_t n) { return LazyTensor{name, at::kFloat, {n}, [n] { return at::ones({n}); }}; };
  CHECK(write_sharded_safetensors(folder.path(), {tensor("a", 2), tensor("big", 100), tensor("b", 2), tensor("c", 7)}, 40) == 3);
  const ShardedSafetensors files(folder.path());
  CHECK(files.find("a")->file == files.find("b")->file);
  CHECK(files.find("a")->file != files.find("c")->file);
  CHECK(files.find("big")->file->tensors().size() == 1);
  const TempDir one;
  CHECK(write_sharded_safetensors(one.path(), {tensor("a", 2)}, 8) == 1);
  CHECK(fs::exists(one / "model.safetensors"));
  CHECK_FALSE(fs::exists(one / kIndex));
}

}  // namespace
}  // namespace cohort::model
