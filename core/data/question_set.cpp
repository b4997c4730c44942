#include "core/data/question_set.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/data/jsonl.h"

namespace cohort::data {
namespace {

/// Draws until the held-out tenth (or the rest) is met; each draw meets it with a probability near 1/10, so the bound is never reached.
constexpr uint64_t kMaxDraws = 2000;

/// Where `position` < n comes in the order of an epoch: a Feistel network over the next power of four, walked until it is below n
/// (Black and Rogaway, "Ciphers with arbitrary finite domains"). A permutation without a table.
uint64_t shuffled_position(uint64_t position, uint64_t n, const RandomStream& order) {
  int half = 1;
  while (half < 32 && (uint64_t{1} << (2 * half)) < n) ++half;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = position >> half;
    uint64_t right = position & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t mixed = left ^ (order.bits_at((round << 32) | right) & mask);
      left = right;
      right = mixed;
    }
    position = (left << half) | right;
  } while (position >= n);
  return position;
}

RowFormat row_format(const std::string& name) {
  if (name == "verl") return RowFormat::kVerl;
  if (name == "gsm8k") return RowFormat::kGsm8k;
  return RowFormat::kAuto;
}

}  // namespace

struct QuestionSet::Content {
  DataConfig config;
  uint64_t seed = 0;
  std::vector<TaskSpec> tasks;
  std::vector<double> cumulative;  // of the weights, the last is 1
  Rows rows;
  uint64_t long_rows = 0;

  bool from_file() const { return !config.path.empty(); }
  bool in_split(std::string_view task, std::string_view key) const {
    if (config.split == "all" || task == "echo_digit") return true;
    return is_held_out(task, key) == (config.split == "test");
  }
  void load_tasks();
  void load_rows();
  const TaskSpec& draw_task(double uniform) const;
  TaskItem draw(uint64_t position, std::string_view language, const Mistakes& mistakes) const;
  records::Question row(uint64_t i) const;
};

void QuestionSet::Content::load_tasks() {
  for (const std::string& task : config.tasks) tasks.push_back(parse_task(task, "data.tasks"));
  if (!config.weights.empty() && config.weights.size() != tasks.size())
    throw InputError("data.weights: expected " + std::to_string(tasks.size()) + " numbers, found " + std::to_string(config.weights.size()));
  if (!DataConfig::valid_languages(config.languages))
    throw InputError("data.languages: expected en, zh or both, found \"" + join(config.languages) + "\"");
  cumulative = config.weights.empty() ? std::vector<double>(tasks.size(), 1.0) : config.weights;
  std::partial_sum(cumulative.begin(), cumulative.end(), cumulative.begin());
  for (double& weight : cumulative) weight /= cumulative.back();
}

void QuestionSet::Content::load_rows() {
  const std::string path = resolve_data_path(config.path);
  rows = read_rows(path, row_format(config.format), config.skip_bad_rows);
  std::vector<records::Question>& questions = rows.questions;
  const auto limit = static_cast<size_t>(config.max_prompt_bytes);
  if (limit > 0) long_rows = std::erase_if(questions, [&](const records::Question& question) { return question.text().size() > limit; });
  std::erase_if(questions, [&](const records::Question& question) { return !in_split("row", question.text()); });
  if (config.size > 0 && questions.size() > static_cast<size_t>(config.size)) questions.resize(static_cast<size_t>(config.size));
  if (questions.empty()) throw InputError(path + ": expected a question within max_prompt_bytes and split, found none");
}

const TaskSpec& QuestionSet::Content::draw_task(double uniform) const {
  size_t index = 0;
  while (index + 1 < tasks.size() && uniform >= cumulative[index]) ++index;
  return tasks[index];
}

TaskItem QuestionSet::Content::draw(uint64_t position, std::string_view language, const Mistakes& mistakes) const {
  RandomStream choice(seed, "question", {position});
  const TaskSpec& task = draw_task(choice.uniform());
  const std::string& drawn_language = config.languages[choice.below(config.languages.size())];
  for (uint64_t attempt = 0; attempt < kMaxDraws; ++attempt) {
    TaskItem item =
        make_item(task, language.empty() ? drawn_language : language, RandomStream(seed, "question/item", {position, attempt}), mistakes);
    if (in_split(task.name, item.key)) return item;
  }
  throw Fault("task " + task.name + ":" + std::to_string(task.level) + " has no question in the split " + config.split);
}

records::Question QuestionSet::Content::row(uint64_t i) const {
  const uint64_t n = rows.questions.size();
  uint64_t position = i % n;
  if (config.shuffle) position = shuffled_position(position, n, RandomStream(seed, "question/shuffle", {i / n}));
  return rows.questions[position];
}

QuestionSet::QuestionSet(const DataConfig& config, uint64_t seed) : content_(std::make_unique<Content>()) {
  content_->config = config;
  content_->seed = seed;
  if (config.split == "auto") content_->config.split = content_->from_file() ? "all" : "train";
  if (config.tasks.empty() == config.path.empty())
    throw InputError(std::string("data.tasks: expected tasks or a path, found ") + (config.path.empty() ? "neither" : "both"));
  if (content_->from_file()) {
    content_->load_rows();
  } else {
    content_->load_tasks();
  }
}

QuestionSet::~QuestionSet() = default;
QuestionSet::QuestionSet(QuestionSet&&) noexcept = default;
QuestionSet& QuestionSet::operator=(QuestionSet&&) noexcept = default;

records::Question QuestionSet::at(uint64_t i) const {
  if (!content_->from_file()) return item_at(i).question;
  records::Question question = content_->row(i);
  question.set_id(i);
  return question;
}

TaskItem QuestionSet::item_at(uint64_t i, std::string_view language, const Mistakes& mistakes) const {
  if (content_->from_file()) throw Fault("questions of a file have no steps");
  const uint64_t n = size();
  TaskItem item = content_->draw(n == 0 ? i : i % n, language, mistakes);
  item.question.set_id(i);
  return item;
}

uint64_t QuestionSet::size() const {
  return content_->from_file() ? content_->rows.questions.size() : static_cast<uint64_t>(content_->config.size);
}

uint64_t QuestionSet::bad_rows() const { return content_->rows.bad_rows; }
const std::vector<std::string>& QuestionSet::problems() const { return content_->rows.problems; }
uint64_t QuestionSet::long_rows() const { return content_->long_rows; }

bool DataConfig::valid_languages(const std::vector<std::string>& languages) {
  const auto known = [](const std::string& language) { return language == "en" || language == "zh"; };
  return !languages.empty() && std::all_of(languages.begin(), languages.end(), known);
}

std::string resolve_data_path(const std::string& path) {
  const std::string variable = "$COHORT_DATA";
  if (!path.starts_with(variable + "/")) return path;
  const char* folder = std::getenv("COHORT_DATA");
  if (folder == nullptr || *folder == '\0')
    throw InputError("data.path: expected the environment variable COHORT_DATA to name a folder for \"" + path + "\", found it unset");
  return folder + path.substr(variable.size());
}

}  // namespace cohort::data
