#include "core/train/checkpoint.h"

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <signal.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "tests/core/base/temp_dir.h"
#include "tests/core/train/small_state.h"

namespace cohort::train {
namespace {

namespace fs = std::filesystem;
using Manifest = records::CheckpointManifest;
const std::string kShard0 = "/shard_0_of_2.bin", kShard1 = "/shard_1_of_2.bin", kManifestFile = "/manifest.json";

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string bytes_of(const std::string& path) { return read_file(path, 1 << 20); }

void flip(const std::string& path, size_t at, char mask = 1) {
  std::string bytes = bytes_of(path);
  bytes[std::min(at, bytes.size() - 1)] ^= mask;
  write(path, bytes);
}

/// A manifest that somebody changed on purpose: with its right hash.
void forge(const std::string& step, const std::function<void(Manifest&)>& change) {
  Manifest manifest;
  REQUIRE(google::protobuf::util::JsonStringToMessage(bytes_of(step + kManifestFile), &manifest).ok());
  change(manifest);
  std::string json;
  REQUIRE(google::protobuf::util::MessageToJsonString(manifest, &json).ok());
  write(step + kManifestFile, json);
  write(step + "/manifest.xxh3", xxh3_128_hex(json) + "\n");
}

/// A way to damage step_2 of a folder that holds step_1 and step_2, and a part of what is said about it.
struct Damage {
  const char* name;
  const char* said;
  std::function<void(const std::string& step_folder)> apply;
};

const std::vector<Damage>& damages() {
  static const std::vector<Damage> table = {
      {"a shard cut short", "expected", [](const std::string& f) { fs::resize_file(f + kShard1, fs::file_size(f + kShard1) - 1); }},
      {"a shard that is too long", "bytes, found", [](const std::string& f) { write(f + kShard0, bytes_of(f + kShard0) + "x"); }},
      {"an empty shard", "bytes, found 0", [](const std::string& f) { fs::resize_file(f + kShard0, 0); }},
      {"a missing shard", "No such file", [](const std::string& f) { fs::remove(f + kShard1); }},
      {"an extra shard", "expected only the files of its manifest", [](const std::string& f) { write(f + "/shard_2_of_3.bin", "x"); }},
      {"an extra file", "found \"notes\"", [](const std::string& f) { write(f + "/notes", ""); }},
      {"two shards that changed places", "bytes, found",
       [](const std::string& f) {
         fs::rename(f + kShard0, f + "/x"), fs::rename(f + kShard1, f + kShard0), fs::rename(f + "/x", f + kShard1);
       }},
      {"a folder in place of a shard", "found a folder",
       [](const std::string& f) { fs::remove(f + kShard0), fs::create_directory(f + kShard0); }},
      {"a link in place of a shard", "a symbolic link",
       [](const std::string& f) { fs::rename(f + kShard0, f + "/../real"), fs::create_symlink(f + "/../real", f + kShard0); }},
      {"a link in place of the manifest", "a symbolic link",
       [](const std::string& f) { fs::rename(f + kManifestFile, f + "/../real"), fs::create_symlink(f + "/../real", f + kManifestFile); }},
      {"no manifest", "No such file", [](const std::string& f) { fs::remove(f + kManifestFile); }},
      {"no hash of the manifest", "No such file", [](const std::string& f) { fs::remove(f + "/manifest.xxh3"); }},
      {"an empty manifest", "expected hash", [](const std::string& f) { fs::resize_file(f + kManifestFile, 0); }},
      {"a manifest cut short", "expected hash",
       [](const std::string& f) { fs::resize_file(f + kManifestFile, fs::file_size(f + kManifestFile) / 2); }},
      {"one file for all, of an earlier version", "format 1", [](const std::string& f) { write(f + "/state.safetensors", "x"); }},
      {"an empty folder", "No such file", [](const std::string& f) { fs::remove_all(f), fs::create_directory(f); }},
      {"a file in place of the folder", "", [](const std::string& f) { fs::remove_all(f), write(f, "step"); }},
      {"a link in place of the folder", "", [](const std::string& f) { fs::rename(f, f + "x"), fs::create_directory_symlink(f + "x", f); }},
      {"a forged manifest that is something else", "expected a checkpoint manifest",
       [](const std::string& f) { write(f + kManifestFile, "[1]"), write(f + "/manifest.xxh3", xxh3_128_hex("[1]") + "\n"); }},
      {"a forged manifest of nothing", "format: expected 2, found 0",
       [](const std::string& f) { write(f + kManifestFile, "{}"), write(f + "/manifest.xxh3", xxh3_128_hex("{}") + "\n"); }},
      {"a manifest that is too large", "expected at most 33554432 bytes",
       [](const std::string& f) { fs::resize_file(f + kManifestFile, (uint64_t{32} << 20) + 1); }},
      {"another format", "found 99", [](const std::string& f) { forge(f, [](Manifest& m) { m.set_format(99); }); }},
      {"another step", "belongs to something else", [](const std::string& f) { forge(f, [](Manifest& m) { m.set_step(3); }); }},
      {"a path in place of a shard's name", "expected shard_0_of_2.bin",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_shards(0)->set_name("../../elsewhere"); }); }},
      {"a shard listed twice", "expected shard_0_of_3.bin",
       [](const std::string& f) { forge(f, [](Manifest& m) { *m.add_shards() = Manifest(m).shards(0); }); }},
      {"no shards", "shards: expected 1", [](const std::string& f) { forge(f, [](Manifest& m) { m.clear_shards(); }); }},
      {"a piece that is not there", "missing or twice",
       [](const std::string& f) {
         forge(f, [](Manifest& m) { m.mutable_shards()->RemoveLast(), m.mutable_shards(0)->set_name("shard_0_of_1.bin"); });
         fs::rename(f + kShard0, f + "/shard_0_of_1.bin");
       }},
      {"elements missing", "missing or twice",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_tensors(0)->mutable_shape()->Set(0, 7); }); }},
      {"elements twice", "missing or twice",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_shards(1)->mutable_pieces(0)->set_begin(0); }); }},
      {"a piece that overlaps by one", "missing or twice",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_shards(1)->mutable_pieces(0)->set_begin(14); }); }},
      {"an element once more, after all others", "missing or twice",
       [](const std::string& f) {
         write(f + kShard1, bytes_of(f + kShard1) + "xxxx");
         forge(f, [](Manifest& m) {
           records::CheckpointShard& shard = *m.mutable_shards(1);
           records::CheckpointPiece& piece = *shard.add_pieces();
           piece.set_begin(29), piece.set_count(1), piece.set_offset(shard.bytes()), piece.set_xxh3(xxh3_128_hex("xxxx"));
           shard.set_bytes(shard.bytes() + 4);
         });
       }},
      {"a piece beyond its tensor", "inside its tensor",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_shards(1)->mutable_pieces(0)->set_begin(16); }); }},
      {"a piece of a tensor that is not there", "inside its tensor",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_shards(0)->mutable_pieces(0)->set_tensor(5); }); }},
      {"a hole between pieces", "to follow the one before",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_shards(0)->mutable_pieces(1)->set_offset(61); }); }},
      {"huge counts", "inside its tensor",
       [](const std::string& f) {
         forge(f, [](Manifest& m) {
           m.mutable_tensors(0)->mutable_shape()->Set(0, int64_t{1} << 50);
           m.mutable_shards(0)->mutable_pieces(0)->set_count(uint64_t{1} << 52);
         });
       }},
      {"a count that wraps around", "inside its tensor",
       [](const std::string& f) {
         forge(f, [](Manifest& m) {
           m.mutable_shards(1)->mutable_pieces(0)->set_begin(15);
           m.mutable_shards(1)->mutable_pieces(0)->set_count(~uint64_t{0} - 4);
         });
       }},
      {"a shape whose product overflows", "possible shape",
       [](const std::string& f) {
         forge(f, [](Manifest& m) {
           m.mutable_tensors(0)->mutable_shape()->Set(0, int64_t{1} << 32);
           m.mutable_tensors(0)->mutable_shape()->Set(1, int64_t{1} << 32);
         });
       }},
      {"a negative extent", "possible shape",
       [](const std::string& f) {
         forge(f,
               [](Manifest& m) { m.mutable_tensors(0)->mutable_shape()->Set(0, -6), m.mutable_tensors(0)->mutable_shape()->Set(1, -5); });
       }},
      {"an unknown type", "possible shape",
       [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_tensors(0)->set_dtype("F64"); }); }},
      {"a tensor twice", "twice", [](const std::string& f) { forge(f, [](Manifest& m) { m.mutable_tensors(3)->set_name("values/a"); }); }},
      {"a shard that is said to be larger than its pieces", "expected pieces of",
       [](const std::string& f) {
         write(f + kShard0, bytes_of(f + kShard0) + "xxxx");
         forge(f, [](Manifest& m) { m.mutable_shards(0)->set_bytes(m.shards(0).bytes() + 4); });
       }},
  };
  return table;
}

}  // namespace

TEST_CASE("a checkpoint is read back as it was saved, by however many it was written") {
  for (const int shards : {1, 2, 3, 50}) {
    CAPTURE(shards);
    const TempDir folder;
    save_small(folder / "c", 5, 2, shards);
    const SavedStep found(folder / "c/step_5");
    CHECK(contents(found) == SmallState(5).bytes);
    Manifest manifest = found.manifest();
    CHECK(manifest.format() == 2);
    CHECK(manifest.shards_size() == shards);
    manifest.clear_format(), manifest.clear_shards(), manifest.clear_tensors();
    CHECK(google::protobuf::util::MessageDifferencer::Equals(manifest, small_manifest(5)));
    CHECK(names_in(folder / "c") == std::set<std::string>{"step_5", "LATEST"});
    CHECK(names_in(folder / "c/step_5").size() == static_cast<size_t>(shards) + 2);
    CHECK(bytes_of(folder / "c/LATEST") == "step_5\n");
    const auto hashes = found.tensor_hashes();
    for (size_t t = 0; t < hashes.size(); ++t) CHECK(hashes[t] == xxh3_128_hex(SmallState(5).bytes[t]));
  }
}

TEST_CASE("parts of a tensor are read from whichever shards hold them") {
  const TempDir folder;
  save_small(folder.path(), 5, 2, 7);
  const SavedStep found(folder / "step_5");
  const std::string whole = SmallState(5).bytes[0];
  for (int64_t begin = 0; begin <= 30; ++begin)
    for (int64_t count = 0; count <= 30 - begin; ++count) {
      std::string part(static_cast<size_t>(count) * 4, '\0');
      found.read(0, begin, count, part.data());
      REQUIRE(part == whole.substr(static_cast<size_t>(begin) * 4, part.size()));
    }
  CHECK_THROWS_AS(found.read(0, 29, 2, nullptr), Fault);
}

TEST_CASE("tensors larger than a piece are cut") {
  const TempDir folder;
  const int64_t count = 2 * kPieceElements + 3;
  const std::vector<records::TensorEntry> tensors = {tensor_entry("bytes", "U8", {count})};
  std::string bytes(static_cast<size_t>(count), 'a');
  bytes[static_cast<size_t>(kPieceElements)] = 'b', bytes.back() = 'c';
  std::atomic<bool> cancelled = false;
  begin_step(folder.path(), 1);
  Manifest manifest = small_manifest(1);
  *manifest.add_tensors() = tensors[0];
  *manifest.add_shards() = write_shard(folder.path(), 1, 0, 1, tensors, {{0, 0, count, bytes.data()}}, cancelled);
  CHECK(manifest.shards(0).pieces_size() == 3);
  commit_step(folder.path(), manifest, 2);
  CHECK(contents(SavedStep(folder / "step_1"))[0] == bytes);
  cancelled = true;
  begin_step(folder.path(), 2);
  CHECK_THROWS_AS(write_shard(folder.path(), 2, 0, 1, tensors, {{0, 0, count, bytes.data()}}, cancelled), Fault);
}

TEST_CASE("without checkpoints there is none") {
  const TempDir folder;
  CHECK(newest_loadable(folder / "nothing") == -1);
  CHECK(newest_loadable(folder.path()) == -1);
  CHECK(newest_step(folder.path(), kStage, kHash) == -1);
  CHECK_THROWS_AS(steps_in(folder / std::string(5000, 'x')), Fault);  // nobody can say what is there
}

TEST_CASE("a manifest that could not be read back is not committed") {
  const TempDir folder;
  save_small(folder.path(), 1);
  Manifest large = small_manifest(2);
  large.set_layout(std::string(size_t{32} << 20, 'x'));
  CHECK_THROWS_WITH(save_small(folder.path(), 2, 2, 2, large), Catch::Contains("manifest.json: expected at most 33554432 bytes"));
  CHECK(names_in(folder.path()) == std::set<std::string>{"LATEST", "step_1"});
}

TEST_CASE("the newest by number is taken, not by name") {
  const TempDir folder;
  save_small(folder.path(), 9);
  save_small(folder.path(), 10);
  CHECK(newest_loadable(folder.path()) == 10);
  CHECK(newest_step(folder.path(), kStage, kHash) == 10);
}

TEST_CASE("a damaged checkpoint is passed over for the one before it") {
  for (const Damage& damage : damages()) {
    CAPTURE(damage.name);
    const TempDir folder;
    save_small(folder.path(), 1);
    save_small(folder.path(), 2);
    REQUIRE(newest_loadable(folder.path()) == 2);
    damage.apply(folder / "step_2");
    std::string why;
    CHECK(newest_loadable(folder.path(), &why) == 1);
    CHECK_THAT(why, Catch::Contains(damage.said));
    save_small(folder.path(), 2);  // the same step can be saved again over it
    CHECK(newest_loadable(folder.path()) == 2);
  }
}

TEST_CASE("a flipped bit in every byte of every file of a checkpoint is found before anything of it is used") {
  const TempDir folder;
  save_small(folder.path(), 1);
  save_small(folder.path(), 2);
  size_t flipped = 0;
  for (const std::string& name : names_in(folder / "step_2")) {
    const std::string path = folder / "step_2/" + name, good = bytes_of(path);
    for (size_t at = 0; at < good.size(); ++at, ++flipped) {
      flip(path, at, static_cast<char>(1 << (at % 8)));
      if (newest_loadable(folder.path()) != 1) FAIL(name << ": a bit of byte " << at << " was not found");
      write(path, good);
    }
  }
  CHECK(newest_loadable(folder.path()) == 2);
  CHECK(flipped > 1000);
}

TEST_CASE("with every step damaged there is none") {
  const TempDir folder;
  save_small(folder.path(), 1);
  flip(folder / "step_1" + kShard0, 100);
  CHECK(newest_loadable(folder.path()) == -1);
}

TEST_CASE("what a killed save leaves behind does not matter") {
  const TempDir folder;
  save_small(folder.path(), 1);
  save_small(folder.path(), 2);
  fs::rename(folder / "step_2", folder / "step_2.tmp");  // whole, and killed before the rename
  write(folder / "step_2.tmp/extra", "x");
  write(folder / "LATEST", "\xff not a step\n");
  write(folder / "LATEST.tmp", "step");
  write(folder / "notes", "x");
  for (const char* other : {"step_", "step_x1", "step_01", "step_-1", "step_99999999999999999999"}) fs::create_directory(folder / other);
  CHECK(newest_loadable(folder.path()) == 1);
  save_small(folder.path(), 2);
  CHECK(newest_loadable(folder.path()) == 2);
  CHECK(bytes_of(folder / "LATEST") == "step_2\n");
  CHECK(names_in(folder / "step_2").size() == 4);
  CHECK_FALSE(fs::exists(folder / "step_2.tmp"));
}

TEST_CASE("LATEST is for people: whatever is in it, something is said and nothing changes") {
  const TempDir folder;
  CHECK(latest_problem(folder.path()).empty());
  for (const uint64_t step : {1, 2}) save_small(folder.path(), step);
  CHECK(latest_problem(folder.path()).empty());
  for (const auto& [text, said] : {std::pair("", "expected step_N"),
                                   {"step_2", "expected step_N"},
                                   {"\x01\n", "expected step_N"},
                                   {"step_7\n", "names step_7, which is not there"},
                                   {"../step_1\n", "expected step_N"}}) {
    write(folder / "LATEST", text);
    CHECK_THAT(latest_problem(folder.path()), Catch::Contains(said));
    CHECK(newest_loadable(folder.path()) == 2);
  }
  write(folder / "LATEST", std::string(1000, 'x'));
  CHECK_THAT(latest_problem(folder.path()), Catch::Contains("at most 64 bytes"));
  fs::remove(folder / "LATEST");
  CHECK_THAT(latest_problem(folder.path()), Catch::Contains("found no file"));
}

TEST_CASE("keep_last steps are kept, never fewer than two") {
  for (const auto& [keep_last, kept] : {std::pair<int64_t, std::set<std::string>>{0, {"step_30", "step_40"}},
                                        {1, {"step_30", "step_40"}},
                                        {2, {"step_30", "step_40"}},
                                        {3, {"step_20", "step_30", "step_40"}},
                                        {9, {"step_5", "step_20", "step_30", "step_40"}}}) {
    CAPTURE(keep_last);
    const TempDir folder;
    for (const uint64_t step : {5, 20, 30, 40}) save_small(folder.path(), step, keep_last);
    std::set<std::string> names = names_in(folder.path());
    names.erase("LATEST");
    CHECK(names == kept);
  }
}

TEST_CASE("damaged steps do not push out those that are valid") {
  const TempDir folder;
  for (const uint64_t step : {10, 20, 30, 40}) save_small(folder.path(), step, 4);
  for (const char* damaged : {"/step_30", "/step_40"}) flip(folder.path() + damaged + kShard0, 100);
  REQUIRE(newest_loadable(folder.path()) == 20);
  SECTION("newer than the one that is saved next") {
    save_small(folder.path(), 21);
    CHECK(names_in(folder.path()) == std::set<std::string>{"LATEST", "step_20", "step_21"});
    CHECK(newest_loadable(folder.path()) == 21);
  }
  SECTION("older than it: set aside, and kept as long as a step before them is") {
    for (const int64_t step : {30, 40}) set_aside(folder.path(), step);
    CHECK_THAT(latest_problem(folder.path()), Catch::Contains("names step_40"));
    save_small(folder.path(), 45);
    CHECK(names_in(folder.path()) == std::set<std::string>{"LATEST", "step_20", "step_30.damaged", "step_40.damaged", "step_45"});
    save_small(folder.path(), 50);
    CHECK(names_in(folder.path()) == std::set<std::string>{"LATEST", "step_45", "step_50"});
  }
}

TEST_CASE("a checkpoint of another stage or another config is not taken") {
  const TempDir folder;
  save_small(folder.path(), 1);
  CHECK(newest_step(folder.path(), "r1", kHash) == -1);
  CHECK(newest_step(folder.path(), kStage, "ffff") == -1);
  Manifest other = small_manifest(2);
  other.set_config_hash("ffff");
  save_small(folder.path(), 2, 2, 2, other);
  CHECK(newest_step(folder.path(), kStage, kHash) == 1);
}

TEST_CASE("nothing that is there is overwritten or followed by a writer") {
  const TempDir folder;
  const SmallState state(3);
  const std::atomic<bool> cancelled = false;
  begin_step(folder.path(), 3);
  write(folder / "precious", "mine");
  fs::create_symlink(folder / "precious", folder / "step_3.tmp" + kShard0);
  write(folder / "step_3.tmp" + kShard1, "there");
  for (const int k : {0, 1})
    CHECK_THROWS_WITH(write_shard(folder.path(), 3, k, 2, state.tensors, runs_of(state, k, 2), cancelled), Catch::Contains("File exists"));
  CHECK(bytes_of(folder / "precious") == "mine");
  fs::create_directory(folder / "elsewhere");
  fs::create_directory_symlink(folder / "elsewhere", folder / "step_4.tmp");
  write(folder / "elsewhere/kept", "x");
  begin_step(folder.path(), 4);
  CHECK(fs::is_directory(fs::symlink_status(folder / "step_4.tmp")));
  CHECK(fs::exists(folder / "elsewhere/kept"));
}

TEST_CASE("what does not fit together is not committed") {
  const TempDir folder;
  save_small(folder.path(), 1);
  const SmallState state(2);
  const std::atomic<bool> cancelled = false;
  begin_step(folder.path(), 2);
  Manifest manifest = small_manifest(2);
  manifest.mutable_tensors()->Assign(state.tensors.begin(), state.tensors.end());
  *manifest.add_shards() = write_shard(folder.path(), 2, 0, 2, state.tensors, runs_of(state, 0, 2), cancelled);
  *manifest.add_shards() = manifest.shards(0);  // the other writer is in a folder of its own
  manifest.mutable_shards(1)->set_name("shard_1_of_2.bin");
  CHECK_THROWS_AS(commit_step(folder.path(), manifest, 2), Fault);
  CHECK(names_in(folder.path()) == std::set<std::string>{"LATEST", "step_1"});
}

namespace {
/// While it lives, a file may not grow beyond so many bytes: write(2) fails as on a full disk.
class FileLimit {
 public:
  explicit FileLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }
  FileLimit(const FileLimit&) = delete;
  FileLimit& operator=(const FileLimit&) = delete;

 private:
  rlimit before_{};
  sighandler_t handler_;
};
}  // namespace

TEST_CASE("a save that fails at any byte leaves the steps before it and nothing of its own") {
  const TempDir folder;
  save_small(folder.path(), 1);
  save_small(folder.path(), 2);
  const auto before = names_in(folder.path());
  for (const rlim_t bytes : {0, 1, 60, 100, 300, 700}) {
    CAPTURE(bytes);
    const FileLimit limit(bytes);
    CHECK_THROWS_AS(save_small(folder.path(), 3), Fault);
    CHECK(names_in(folder.path()) == before);
  }
  CHECK(newest_loadable(folder.path()) == 2);
  save_small(folder.path(), 3);
  CHECK(newest_loadable(folder.path()) == 3);
  CHECK(newest_step(folder.path(), kStage, kHash) == 3);
}

}  // namespace cohort::train
