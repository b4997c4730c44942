#include "core/train/checkpoint.h"

#include <ATen/ATen.h>
#include <google/protobuf/util/message_differencer.h>
#include <signal.h>
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "core/base/error.h"
#include "core/base/file.h"
#include "tests/core/base/temp_dir.h"

namespace cohort::train {
namespace {

namespace fs = std::filesystem;
constexpr const char* kStage = "zero";
constexpr const char* kHash = "0123abcd";

/// A state that differs at every step.
Checkpoint state(uint64_t step) {
  Checkpoint c;
  c.manifest.set_stage(kStage), c.manifest.set_step(step), c.manifest.set_config_hash(kHash);
  c.manifest.set_question_cursor(1000 + step), c.manifest.set_seed(17), c.manifest.set_tokens(10 * step), c.manifest.set_seconds(0.5);
  c.manifest.set_metrics_bytes(7 * step), c.manifest.set_samples_bytes(9 * step);
  c.manifest.mutable_eval_start()->set_accuracy(0.25);
  c.tensors = {{"values", at::arange(100, at::kFloat) + static_cast<double>(step)},
               {"router_biases", at::zeros({0}, at::kFloat)},
               {"optimizer_steps", at::full({1}, static_cast<int64_t>(step), at::kLong)}};
  return c;
}

std::optional<Checkpoint> load(const std::string& folder) { return load_checkpoint(folder, kStage, kHash); }

/// -1 when there is none.
int64_t newest(const std::string& folder) {
  const auto found = load(folder);
  return found ? static_cast<int64_t>(found->manifest.step()) : -1;
}

std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string bytes_of(const std::string& path) { return read_file(path, 1 << 20); }

/// Ways to damage step_2 of a folder that holds step_1 and step_2.
struct Damage {
  const char* name;
  std::function<void(const std::string& step_folder)> apply;
};

void flip(const std::string& path, size_t at) {
  std::string bytes = bytes_of(path);
  bytes[at < bytes.size() ? at : bytes.size() - 1] ^= 1;
  write(path, bytes);
}

void replace(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = bytes_of(path);
  REQUIRE(text.find(from) != std::string::npos);
  write(path, text.replace(text.find(from), from.size(), to));
}

const std::vector<Damage>& damages() {
  static const std::vector<Damage> table = {
      {"a flipped bit in the last byte of the data", [](const std::string& f) { flip(f + "/state.safetensors", ~size_t{0}); }},
      {"a flipped bit in the header of the data", [](const std::string& f) { flip(f + "/state.safetensors", 12); }},
      {"data cut short",
       [](const std::string& f) { fs::resize_file(f + "/state.safetensors", fs::file_size(f + "/state.safetensors") - 1); }},
      {"data that is too long", [](const std::string& f) { write(f + "/state.safetensors", bytes_of(f + "/state.safetensors") + "x"); }},
      {"empty data", [](const std::string& f) { fs::resize_file(f + "/state.safetensors", 0); }},
      {"no data", [](const std::string& f) { fs::remove(f + "/state.safetensors"); }},
      {"a folder in place of the data",
       [](const std::string& f) { fs::remove(f + "/state.safetensors"), fs::create_directory(f + "/state.safetensors"); }},
      {"no manifest", [](const std::string& f) { fs::remove(f + "/manifest.json"); }},
      {"an empty manifest", [](const std::string& f) { fs::resize_file(f + "/manifest.json", 0); }},
      {"a manifest cut short",
       [](const std::string& f) { fs::resize_file(f + "/manifest.json", fs::file_size(f + "/manifest.json") / 2); }},
      {"a manifest that is something else", [](const std::string& f) { write(f + "/manifest.json", "[1, 2]"); }},
      {"a manifest of nothing", [](const std::string& f) { write(f + "/manifest.json", "{}"); }},
      {"a manifest with an unknown key", [](const std::string& f) { replace(f + "/manifest.json", "\"stage\"", "\"stagg\""); }},
      {"a manifest that names another file",
       [](const std::string& f) { replace(f + "/manifest.json", "state.safetensors", "../../elsewhere"); }},
      {"a manifest of another step", [](const std::string& f) { replace(f + "/manifest.json", "\"step\":\"2\"", "\"step\":\"3\""); }},
      {"a manifest of another format", [](const std::string& f) { replace(f + "/manifest.json", "\"format\":1", "\"format\":99"); }},
      {"an empty folder", [](const std::string& f) { fs::remove_all(f), fs::create_directory(f); }},
      {"a file in place of the folder", [](const std::string& f) { fs::remove_all(f), write(f, "step"); }},
  };
  return table;
}

}  // namespace

TEST_CASE("a checkpoint is read back as it was saved") {
  const TempDir folder;
  save_checkpoint(folder / "c", state(5), 2);
  const auto found = load(folder / "c");
  REQUIRE(found);
  records::CheckpointManifest manifest = found->manifest;
  CHECK(manifest.format() == 1);
  REQUIRE(manifest.files_size() == 1);
  CHECK(manifest.files(0).name() == "state.safetensors");
  CHECK(manifest.files(0).bytes() == fs::file_size(folder / "c/step_5/state.safetensors"));
  manifest.clear_format(), manifest.clear_files();
  CHECK(google::protobuf::util::MessageDifferencer::Equals(manifest, state(5).manifest));
  const auto wanted = state(5).tensors;
  REQUIRE(found->tensors.size() == wanted.size());
  for (const auto& [name, tensor] : wanted) {
    CAPTURE(name);
    CHECK(found->tensors.at(name).scalar_type() == tensor.scalar_type());
    CHECK(at::equal(found->tensors.at(name), tensor));
  }
  CHECK(names_in(folder / "c") == std::set<std::string>{"step_5", "LATEST"});
  CHECK(bytes_of(folder / "c/LATEST") == "step_5\n");
}

TEST_CASE("without checkpoints there is none") {
  const TempDir folder;
  CHECK_FALSE(load(folder / "nothing"));
  CHECK_FALSE(load(folder.path()));
}

TEST_CASE("the newest by number is taken, not by name") {
  const TempDir folder;
  save_checkpoint(folder.path(), state(9), 2);
  save_checkpoint(folder.path(), state(10), 2);
  CHECK(newest(folder.path()) == 10);
}

TEST_CASE("a damaged checkpoint is passed over for the one before it") {
  for (const Damage& damage : damages()) {
    CAPTURE(damage.name);
    const TempDir folder;
    save_checkpoint(folder.path(), state(1), 2);
    save_checkpoint(folder.path(), state(2), 2);
    REQUIRE(newest(folder.path()) == 2);
    damage.apply(folder / "step_2");
    CHECK(newest(folder.path()) == 1);
    save_checkpoint(folder.path(), state(2), 2);  // the same step can be saved again over it
    CHECK(newest(folder.path()) == 2);
  }
}

TEST_CASE("with every step damaged there is none") {
  const TempDir folder;
  save_checkpoint(folder.path(), state(1), 2);
  flip(folder / "step_1/state.safetensors", 100);
  CHECK_FALSE(load(folder.path()));
}

TEST_CASE("what a killed save leaves behind does not matter") {
  const TempDir folder;
  save_checkpoint(folder.path(), state(1), 2);
  save_checkpoint(folder.path(), state(2), 2);
  fs::rename(folder / "step_2", folder / "step_2.tmp");  // whole, and killed before the rename
  write(folder / "step_2.tmp/extra", "x");
  write(folder / "LATEST", "\xff not a step\n");
  write(folder / "LATEST.tmp", "step");
  write(folder / "notes", "x");
  fs::create_directory(folder / "step_");
  fs::create_directory(folder / "step_x1");
  CHECK(newest(folder.path()) == 1);
  save_checkpoint(folder.path(), state(2), 2);
  CHECK(newest(folder.path()) == 2);
  CHECK(bytes_of(folder / "LATEST") == "step_2\n");
  CHECK(names_in(folder / "step_2") == std::set<std::string>{"state.safetensors", "manifest.json"});
  CHECK_FALSE(fs::exists(folder / "step_2.tmp"));
}

TEST_CASE("keep_last steps are kept, never fewer than two") {
  for (const auto& [keep_last, kept] : {std::pair<int64_t, std::set<std::string>>{0, {"step_30", "step_40"}},
                                        {1, {"step_30", "step_40"}},
                                        {2, {"step_30", "step_40"}},
                                        {3, {"step_20", "step_30", "step_40"}},
                                        {9, {"step_5", "step_20", "step_30", "step_40"}}}) {
    CAPTURE(keep_last);
    const TempDir folder;
    for (const uint64_t step : {5, 20, 30, 40}) save_checkpoint(folder.path(), state(step), keep_last);
    std::set<std::string> names = names_in(folder.path());
    names.erase("LATEST");
    CHECK(names == kept);
  }
}

TEST_CASE("damaged steps do not push out those that are valid") {
  const TempDir folder;
  for (const uint64_t step : {10, 20, 30, 40}) save_checkpoint(folder.path(), state(step), 4);
  for (const char* damaged : {"step_30", "step_40"}) flip(folder / (std::string(damaged) + "/state.safetensors"), 100);
  REQUIRE(newest(folder.path()) == 20);
  save_checkpoint(folder.path(), state(21), 2);  // a run that went on from step 20 was asked to stop
  CHECK(names_in(folder.path()) == std::set<std::string>{"LATEST", "step_20", "step_21"});
  CHECK(newest(folder.path()) == 21);
}

TEST_CASE("a checkpoint of another stage or another config is not taken") {
  const TempDir folder;
  save_checkpoint(folder.path(), state(1), 2);
  CHECK_FALSE(load_checkpoint(folder.path(), "r1", kHash));
  CHECK_FALSE(load_checkpoint(folder.path(), kStage, "ffff"));
  Checkpoint other = state(2);
  other.manifest.set_config_hash("ffff");
  save_checkpoint(folder.path(), other, 2);
  CHECK(newest(folder.path()) == 1);
}

TEST_CASE("saving the same step again replaces it") {
  const TempDir folder;
  save_checkpoint(folder.path(), state(1), 2);
  Checkpoint again = state(1);
  again.tensors["values"] = at::ones({3});
  save_checkpoint(folder.path(), again, 2);
  const auto found = load(folder.path());
  REQUIRE(found);
  CHECK(at::equal(found->tensors.at("values"), at::ones({3})));
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

TEST_CASE("a save that fails leaves the steps before it and nothing of its own") {
  const TempDir folder;
  save_checkpoint(folder.path(), state(1), 2);
  save_checkpoint(folder.path(), state(2), 2);
  const auto before = names_in(folder.path());
  {
    const FileLimit limit(300);
    CHECK_THROWS_AS(save_checkpoint(folder.path(), state(3), 2), Fault);
  }
  CHECK(names_in(folder.path()) == before);
  CHECK(newest(folder.path()) == 2);
  save_checkpoint(folder.path(), state(3), 2);
  CHECK(newest(folder.path()) == 3);
  CHECK(newest_step(folder.path(), kStage, kHash) == 3);
}

}  // namespace cohort::train
