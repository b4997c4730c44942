#include "core/data/question_set.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/data/row_reader.h"

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

constexpr size_t kProblemsShown = 20;

}  // namespace

struct QuestionSet::Content {
  DataConfig config;
  uint64_t seed = 0;
  std::vector<TaskSpec> tasks;
  std::vector<double> cumulative;                       // of the weights, the last is 1
  std::vector<std::vector<records::Question>> sources;  // of files: one, or those of the mix
  std::vector<std::vector<std::string>> places;         // of each of their questions
  MixOrder order{{1.0}};
  uint64_t bad_rows = 0;
  uint64_t long_rows = 0;
  std::vector<std::string> problems;
  ExactGuesses guesses;

  bool in_split(std::string_view task, std::string_view key) const {
    if (config.split == "all" || task == "echo_digit") return true;
    return is_held_out(task, key) == (config.split == "test");
  }
  void load_tasks();
  void load_files(const PromptLength& prompt_length);
  void load_source(const std::string& path, const PromptLength& prompt_length);
  bool wanted(const records::Question& question, const PromptLength& prompt_length);
  const TaskSpec& draw_task(double uniform) const;
  TaskItem draw(uint64_t position, std::string_view language, const Mistakes& mistakes) const;
  const records::Question& at(uint64_t i) const;
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

void QuestionSet::Content::load_files(const PromptLength& prompt_length) {
  if (config.max_prompt_length > 0 && !prompt_length) throw Fault("data.max_prompt_length is set and nothing tells the lengths");
  for (const std::string& path : config.paths()) load_source(path, prompt_length);
  std::vector<double> weights;
  for (const DataSource& source : config.mix) weights.push_back(source.weight);
  if (!weights.empty()) order = MixOrder(weights);
}

/// Of the right length and split. InputError where the prompt is to be written and cannot be.
bool QuestionSet::Content::wanted(const records::Question& question, const PromptLength& prompt_length) {
  const std::string text = whole_text(question);
  bool too_long = config.max_prompt_bytes > 0 && text.size() > static_cast<size_t>(config.max_prompt_bytes);
  if (!too_long && prompt_length && (config.max_prompt_length > 0 || config.skip_bad_rows)) {
    const int64_t length = prompt_length(question);
    too_long = config.max_prompt_length > 0 && length > config.max_prompt_length;
  }
  long_rows += too_long ? 1 : 0;
  return !too_long && in_split("row", text);
}

void QuestionSet::Content::load_source(const std::string& path, const PromptLength& prompt_length) {
  Rows rows = read_rows(path, row_format(config.format), config.skip_bad_rows,
                        [&](const records::Question& question) { return wanted(question, prompt_length); });
  const auto size = static_cast<size_t>(config.size);
  if (config.mix.empty() && size > 0 && rows.questions.size() > size) rows.questions.resize(size), rows.places.resize(size);
  if (rows.questions.empty())
    throw InputError(path + ": expected a question within max_prompt_bytes, max_prompt_length and split, found none");
  bad_rows += rows.bad_rows;
  for (std::string& problem : rows.problems)
    if (problems.size() < kProblemsShown) problems.push_back(std::move(problem));
  if (guesses.count == 0) guesses.first = rows.guesses.first;
  guesses.count += rows.guesses.count;
  sources.push_back(std::move(rows.questions));
  places.push_back(std::move(rows.places));
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

const records::Question& QuestionSet::Content::at(uint64_t i) const {
  const uint64_t size = config.mix.empty() ? 0 : static_cast<uint64_t>(config.size);
  const uint64_t pass = size > 0 ? i / size : 0;
  const MixOrder::Turn turn = order.at(size > 0 ? i % size : i);
  const std::vector<records::Question>& rows = sources[turn.source];
  const uint64_t n = rows.size(), epoch = turn.position / n;
  uint64_t position = turn.position % n;
  if (!config.shuffle) return rows[position];
  // A later pass asks each source's questions of the first one in another order.
  if (pass > 0)
    position = shuffled_position(position, std::min(n, order.turns(size, turn.source) - epoch * n),
                                 RandomStream(seed, "question/pass", {pass, epoch, turn.source}));
  // Each source of a mix has orders of its own.
  const RandomStream stream =
      config.mix.empty() ? RandomStream(seed, "question/shuffle", {epoch}) : RandomStream(seed, "question/mix", {epoch, turn.source});
  return rows[shuffled_position(position, n, stream)];
}

QuestionSet::QuestionSet(const DataConfig& config, uint64_t seed, const PromptLength& prompt_length)
    : content_(std::make_unique<Content>()) {
  content_->config = config;
  content_->seed = seed;
  if (config.split == "auto") content_->config.split = config.from_files() ? "all" : "train";
  const int given = !config.tasks.empty() + !config.path.empty() + !config.mix.empty();
  if (given != 1)
    throw InputError(std::string("data.tasks: expected one of tasks, path and mix, found ") + (given == 0 ? "none" : "several"));
  if (config.from_files()) {
    content_->load_files(prompt_length);
  } else {
    content_->load_tasks();
  }
}

QuestionSet::~QuestionSet() = default;
QuestionSet::QuestionSet(QuestionSet&&) noexcept = default;
QuestionSet& QuestionSet::operator=(QuestionSet&&) noexcept = default;

records::Question QuestionSet::at(uint64_t i) const {
  if (!content_->config.from_files()) return item_at(i).question;
  records::Question question = content_->at(i);
  question.set_id(i);
  return question;
}

TaskItem QuestionSet::item_at(uint64_t i, std::string_view language, const Mistakes& mistakes) const {
  if (content_->config.from_files()) throw Fault("questions of files have no steps");
  const uint64_t n = size();
  TaskItem item = content_->draw(n == 0 ? i : i % n, language, mistakes);
  item.question.set_id(i);
  return item;
}

uint64_t QuestionSet::size() const { return content_->config.path.empty() ? static_cast<uint64_t>(content_->config.size) : rows(); }

uint64_t QuestionSet::positions_without_repeat() const {
  if (content_->config.mix.empty()) return rows();
  const uint64_t all = size() > 0 ? std::min(rows(), size()) : rows();
  for (uint64_t i = 0; i < all; ++i) {
    const MixOrder::Turn turn = content_->order.at(i);
    if (turn.position >= content_->sources[turn.source].size()) return i;
  }
  return all;
}

uint64_t QuestionSet::rows() const {
  uint64_t count = 0;
  for (const auto& source : content_->sources) count += source.size();
  return count;
}

records::Question QuestionSet::row(uint64_t row) const {
  uint64_t at = row;
  for (const auto& source : content_->sources) {
    if (at < source.size()) {
      records::Question question = source[at];
      question.set_id(row);
      return question;
    }
    at -= source.size();
  }
  throw Fault("no row " + std::to_string(row));
}

const std::string& QuestionSet::place(uint64_t row) const {
  for (const auto& source : content_->places) {
    if (row < source.size()) return source[row];
    row -= source.size();
  }
  throw Fault("no such row");
}

uint64_t QuestionSet::bad_rows() const { return content_->bad_rows; }
const std::vector<std::string>& QuestionSet::problems() const { return content_->problems; }
uint64_t QuestionSet::long_rows() const { return content_->long_rows; }
std::string QuestionSet::warning() const { return content_->guesses.warning(); }

MixOrder::MixOrder(const std::vector<double>& weights) {
  constexpr double kWhole = 4294967296.0;  // 2^32
  double rest = std::accumulate(weights.begin(), weights.end(), 0.0);
  for (const double weight : weights) {
    share_.push_back(static_cast<uint64_t>(std::clamp(std::round(weight / rest * kWhole), 1.0, kWhole)));
    rest -= weight;
  }
  share_.back() = static_cast<uint64_t>(kWhole);  // of what is left the last one has all
}

namespace {
/// floor(i * share / 2^32) without overflow.
uint64_t turns_before(uint64_t i, uint64_t share) { return (i >> 32) * share + (((i & 0xFFFFFFFFu) * share) >> 32); }
}  // namespace

MixOrder::Turn MixOrder::at(uint64_t i) const {
  for (size_t source = 0;; ++source) {
    const uint64_t mine = turns_before(i, share_[source]);
    if (turns_before(i + 1, share_[source]) > mine) return {source, mine};
    i -= mine;
  }
}

uint64_t MixOrder::turns(uint64_t i, size_t source) const {
  for (size_t other = 0; other < source; ++other) i -= turns_before(i, share_[other]);
  return turns_before(i, share_[source]);
}

std::vector<std::string> DataConfig::paths() const {
  if (mix.empty()) return {path};
  std::vector<std::string> all;
  for (const DataSource& source : mix) all.push_back(source.path);
  return all;
}

bool DataConfig::valid_languages(const std::vector<std::string>& languages) {
  const auto known = [](const std::string& language) { return language == "en" || language == "zh"; };
  return !languages.empty() && std::all_of(languages.begin(), languages.end(), known);
}

}  // namespace cohort::data
