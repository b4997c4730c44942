#pragma once
/// The questions of a stage as a function of a position: at(i) depends on (config, seed, i) alone, so a cursor is all the state there is.

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/text_util.h"
#include "core/config/field.h"
#include "core/data/data_files.h"
#include "core/data/row.h"
#include "core/data/tasks.h"
#include "core/records/records.pb.h"

namespace cohort::data {

/// One of several sources of rows that are mixed.
struct DataSource {
  std::string path;
  double weight = 1.0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.text("path", path, "a file, a folder or a pattern, as data.path");
    v.number("weight", weight, config::positive(), "how many positions it takes, relative to the others");
    v.rule(!path.empty(), "path", "a file, a folder or a pattern", "none");
  }
};

struct DataConfig {
  std::vector<std::string> tasks;
  std::vector<double> weights;
  std::vector<std::string> languages = {"en", "zh"};
  std::string path;
  std::vector<DataSource> mix;
  std::string format = "auto";
  std::string split = "auto";
  int64_t size = 0;
  int64_t max_prompt_bytes = 0;
  int64_t max_prompt_length = 0;
  bool shuffle = true;
  bool skip_bad_rows = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.texts("tasks", tasks,
            "generated questions, each \"task:level\": add:1-4, countdown:1-3, sort:1-4, word_problem:1-3, instruction:1-2, safety:1, "
            "echo_digit:1, add2_reversed:1");
    v.numbers("weights", weights, config::positive(), "how often each task is drawn, relative to the others; empty: equally often");
    v.texts("languages", languages, "languages of generated questions, drawn equally often: en, zh");
    v.text("path", path,
           "rows instead of tasks: a JSONL or Parquet file, a folder of such files, or a pattern of *, ? and […]; \"$COHORT_DATA/…\" is "
           "relative to that environment variable");
    v.list("mix", mix,
           "instead of path: several sources, each walked through in its own order; of any stretch of positions each has its share, to "
           "within one position per source");
    v.choice("format", format, row_format_names(), "form of the rows (core/data/row.h); auto looks at the keys of each row");
    v.choice("split", split, {"auto", "train", "test", "all"},
             "held-out tenth of the questions (test) or the others (train), decided by a hash of the question; auto: train for tasks, all "
             "for a file");
    v.integer("size", size, config::at_least(0),
              "number of different positions before the set repeats; 0: no limit (tasks), all rows (path), of a mix each source's");
    v.integer("max_prompt_bytes", max_prompt_bytes, config::at_least(0), "longer questions of files are left out and counted; 0: no limit");
    v.integer("max_prompt_length", max_prompt_length, config::between(0, config::kMaxBatch),
              "questions of files whose prompt, rendered by the stage's template, has more tokens are left out and counted; 0: no limit");
    v.flag("shuffle", shuffle, "rows of files in a new random order each epoch");
    v.flag("skip_bad_rows", skip_bad_rows,
           "leave out rows of files that cannot be read, or whose prompt the stage's template cannot write, counting them, instead of "
           "stopping");
    v.rule(tasks.empty() || path.empty(), "tasks", "tasks or a path, not both", "both");
    v.rule(mix.empty() || (tasks.empty() && path.empty()), "mix", "one of tasks, path and mix", "another one too");
    v.rule(max_prompt_length == 0 || tasks.empty(), "max_prompt_length", "0 for generated tasks", std::to_string(max_prompt_length));
    v.rule(std::isfinite(std::accumulate(weights.begin(), weights.end(), 0.0)), "weights", "a finite sum", "one that is too large");
    v.rule(weights.empty() || weights.size() == tasks.size(), "weights", "one per task", std::to_string(weights.size()));
    for (const TaskProblem& problem : find_task_problems(tasks)) v.rule(false, "tasks", problem.expected, problem.found);
    v.rule(valid_languages(languages), "languages", "en, zh or both", languages.empty() ? "none" : join(languages));
  }

  bool from_files() const { return !path.empty() || !mix.empty(); }
  bool given() const { return from_files() || !tasks.empty(); }
  /// The paths of all its files: `path`, or those of `mix`.
  std::vector<std::string> paths() const;
  static bool valid_languages(const std::vector<std::string>& languages);
};

/// Tokens of the prompt of a question, rendered by the template it will be asked with. InputError where that cannot be done.
using PromptLength = std::function<int64_t(const records::Question&)>;

/// Immutable after construction and safe to share between threads.
class QuestionSet {
 public:
  /// Reads the files where there are some; `prompt_length` is needed (Fault otherwise) where max_prompt_length is set, and called there and
  /// with skip_bad_rows: a row for which it throws InputError is a bad one. InputError for neither tasks nor files, a missing file or
  /// environment variable, bad rows.
  QuestionSet(const DataConfig& config, uint64_t seed, const PromptLength& prompt_length = {});
  ~QuestionSet();
  QuestionSet(QuestionSet&&) noexcept;
  QuestionSet& operator=(QuestionSet&&) noexcept;

  /// The question at a position; its id is `i`. Generated tasks: each position draws task, language and numbers on its own, again and again
  /// until the question belongs to the split. Files: epoch i / rows(), in that epoch's order; a mix: as that, of the source whose turn it
  /// is; with a size, each pass has the questions of the first one, a source's in another order.
  records::Question at(uint64_t i) const;
  /// The same with the steps of its solution and, where asked, mistakes in it. Generated tasks only (Fault otherwise).
  /// Equal to at(i) in question and ground truth; `language` overrides the drawn one when not empty.
  TaskItem item_at(uint64_t i, std::string_view language = {}, const Mistakes& mistakes = {}) const;

  /// Positions until the set repeats, but for the order of rows; 0: it does not, as a mix without a size.
  uint64_t size() const;

  /// Positions from 0 on that ask no question of files twice; 0 for generated tasks. Of a mix it ends with the source that is through
  /// first.
  uint64_t positions_without_repeat() const;

  /// Questions of files, of all sources one after the other; 0 for generated tasks.
  uint64_t rows() const;
  /// The question of a row, in the files' order; its id is `row`.
  records::Question row(uint64_t row) const;
  /// Where it is: "FILE:LINE".
  const std::string& place(uint64_t row) const;

  uint64_t bad_rows() const;                         ///< of the files, left out by skip_bad_rows
  const std::vector<std::string>& problems() const;  ///< the first of them
  uint64_t long_rows() const;                        ///< left out by max_prompt_bytes or max_prompt_length
  std::string warning() const;                       ///< of rows whose verifier is a guess (row_reader.h: ExactGuesses); "" for none

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

/// Sources of a mix by position. Of the first i positions, source k has floor(i * share_k) of those that the sources before it left, so
/// that turn and row are functions of the position alone: no table, no state, and no row twice before its source is through.
class MixOrder {
 public:
  /// Positive weights, at least one.
  explicit MixOrder(const std::vector<double>& weights);

  struct Turn {
    size_t source;
    uint64_t position;  ///< among those of the source
  };
  Turn at(uint64_t i) const;
  /// Of a source among the first i positions.
  uint64_t turns(uint64_t i, size_t source) const;

 private:
  std::vector<uint64_t> share_;  // of the rest, in parts of 2^32
};

}  // namespace cohort::data
