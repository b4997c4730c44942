#include "core/data/survey.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "core/base/error.h"
#include "core/base/hash.h"
#include "core/data/corpus.h"
#include "core/data/data_files.h"
#include "core/data/prompt.h"

namespace cohort::data {
namespace {

constexpr size_t kProblemsShown = 20;
constexpr size_t kDuplicatesShown = 5;
constexpr size_t kNamesShown = 100;
constexpr uint64_t kRowsPerProgress = 256;

/// Lengths of what is seen.
class Lengths {
 public:
  void add(uint64_t length) { values_.push_back(static_cast<uint32_t>(std::min<uint64_t>(length, UINT32_MAX))); }

  std::optional<Spread> spread() {
    if (values_.empty()) return std::nullopt;
    std::sort(values_.begin(), values_.end());
    const size_t n = values_.size();
    const size_t p95 = (95 * n + 99) / 100 - 1;
    return Spread{.min = values_.front(), .median = values_[(n - 1) / 2], .p95 = values_[p95], .max = values_.back()};
  }

 private:
  std::vector<uint32_t> values_;
};

/// Of the text with every run of white space as one space.
uint64_t fingerprint(const records::Question& question) {
  std::string plain;
  for (const char c : whole_text(question)) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space) plain.push_back(c);
    if (space && !plain.empty() && plain.back() != ' ') plain.push_back(' ');
  }
  if (plain.ends_with(' ')) plain.pop_back();
  const std::string hex = xxh3_128_hex(plain);
  uint64_t value = 0;
  std::from_chars(hex.data(), hex.data() + 16, value, 16);
  return value;
}

void count(std::map<std::string, uint64_t>& counts, const std::string& name) {
  const bool known = counts.count(name) > 0 || counts.size() < kNamesShown;
  ++counts[known ? name : "…"];
}

class Surveyor {
 public:
  explicit Surveyor(const SurveyOptions& options) : options_(options) {}

  /// Whether the row is kept; `question` is what it holds.
  bool look_at(const Row& row, records::Question& question);
  Survey finish();

 private:
  void problem(const InputError& error, const std::string& where);
  bool measure(const records::Question& question, const std::string& where);
  bool is_duplicate(const records::Question& question, const std::string& where);

  const SurveyOptions& options_;
  Survey survey_;
  std::unordered_map<uint64_t, uint64_t> seen_;  // fingerprint → row
  Lengths prompt_bytes_, answer_bytes_, prompt_tokens_, completion_tokens_;
};

void Surveyor::problem(const InputError& error, const std::string& where) {
  const std::string& text = error.problems().front();
  if (survey_.problems.size() < kProblemsShown) survey_.problems.push_back(text.starts_with(where) ? text : where + ": " + text);
}

/// Whether it is short enough, and can be written.
bool Surveyor::measure(const records::Question& question, const std::string& where) {
  const size_t bytes = whole_text(question).size();
  prompt_bytes_.add(bytes);
  if (!question.answer().empty()) answer_bytes_.add(question.solution().size() + question.answer().size());
  bool too_long = options_.max_prompt_bytes > 0 && bytes > static_cast<uint64_t>(options_.max_prompt_bytes);
  if (options_.tokenizer != nullptr && options_.prompt_template != nullptr) {
    try {
      const size_t tokens = render_prompt(question, *options_.prompt_template, *options_.tokenizer).size();
      prompt_tokens_.add(tokens);
      if (!question.answer().empty())
        completion_tokens_.add(
            text::render_completion(*options_.prompt_template, *options_.tokenizer, question.solution(), question.answer()).size());
      too_long = too_long || (options_.max_prompt_length > 0 && tokens > static_cast<uint64_t>(options_.max_prompt_length));
    } catch (const InputError& error) {
      ++survey_.unwritable;
      problem(error, where);
      return false;
    }
  }
  survey_.too_long += too_long ? 1 : 0;
  return !too_long;
}

bool Surveyor::is_duplicate(const records::Question& question, const std::string& where) {
  const auto [first, is_new] = seen_.emplace(fingerprint(question), survey_.rows);
  if (is_new) return false;
  ++survey_.duplicates;
  if (survey_.duplicate_examples.size() < kDuplicatesShown)
    survey_.duplicate_examples.push_back(where + ": as row " + std::to_string(first->second));
  return true;
}

bool Surveyor::look_at(const Row& row, records::Question& question) {
  ++survey_.rows;
  try {
    if (!row.problem.empty()) throw InputError(row.problem);
    question = question_of(row.value, options_.format, row.where);
  } catch (const InputError& error) {
    ++survey_.bad;
    problem(error, row.where);
    return false;
  }
  question.set_id(survey_.kept);
  count(survey_.sources, question.source());
  count(survey_.verifiers, question.verifier());
  const bool duplicate = is_duplicate(question, row.where);
  if (!measure(question, row.where) || (duplicate && options_.drop_duplicates)) return false;
  ++survey_.kept;
  survey_.guesses.look_at(row.value, question, row.where);
  if (!survey_.example) survey_.example = question;
  return true;
}

Survey Surveyor::finish() {
  survey_.prompt_bytes = prompt_bytes_.spread(), survey_.answer_bytes = answer_bytes_.spread();
  survey_.prompt_tokens = prompt_tokens_.spread(), survey_.completion_tokens = completion_tokens_.spread();
  return std::move(survey_);
}

}  // namespace

Survey survey_rows(const SurveyOptions& options, const std::function<void(const records::Question&)>& on_question,
                   const std::function<void(uint64_t, uint64_t)>& on_progress) {
  RowReader reader(find_data_files(options.input));
  const uint64_t total = reader.bytes_total();
  Surveyor surveyor(options);
  Row row;
  records::Question question;
  for (uint64_t rows = 1; reader.next(row); ++rows) {
    if (surveyor.look_at(row, question)) on_question(question);
    if (rows % kRowsPerProgress == 0) on_progress(reader.bytes_read(), total);
  }
  on_progress(total, total);
  return surveyor.finish();
}

}  // namespace cohort::data
