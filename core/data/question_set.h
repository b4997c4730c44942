#pragma once
/// The questions of a stage as a function of a position: at(i) depends on (config, seed, i) alone, so a cursor is all the state there is.

#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "core/base/text_util.h"
#include "core/config/field.h"
#include "core/data/tasks.h"
#include "core/records/records.pb.h"

namespace cohort::data {

struct DataConfig {
  std::vector<std::string> tasks;
  std::vector<double> weights;
  std::vector<std::string> languages = {"en", "zh"};
  std::string path;
  std::string format = "auto";
  std::string split = "auto";
  int64_t size = 0;
  int64_t max_prompt_bytes = 0;
  bool shuffle = true;
  bool skip_bad_rows = false;

  template <class Visitor>
  void visit(Visitor& v) {
    v.texts("tasks", tasks,
            "generated questions, each \"task:level\": add:1-4, countdown:1-3, sort:1-4, word_problem:1-3, instruction:1-2, safety:1, "
            "echo_digit:1, add2_reversed:1");
    v.numbers("weights", weights, config::positive(), "how often each task is drawn, relative to the others; empty: equally often");
    v.texts("languages", languages, "languages of generated questions, drawn equally often: en, zh");
    v.text("path", path, "a JSONL file instead of tasks; \"$COHORT_DATA/…\" is relative to that environment variable");
    v.choice("format", format, {"auto", "verl", "gsm8k"}, "form of the rows of `path`; auto looks at the keys of each row");
    v.choice("split", split, {"auto", "train", "test", "all"},
             "held-out tenth of the questions (test) or the others (train), decided by a hash of the question; auto: train for tasks, all "
             "for a file");
    v.integer("size", size, config::at_least(0),
              "number of different positions before the set repeats; 0: no limit (tasks), all rows (path)");
    v.integer("max_prompt_bytes", max_prompt_bytes, config::at_least(0),
              "longer questions of `path` are left out and counted; 0: no limit");
    v.flag("shuffle", shuffle, "rows of `path` in a new random order each epoch");
    v.flag("skip_bad_rows", skip_bad_rows, "leave out rows of `path` that cannot be read, counting them, instead of stopping");
    v.rule(tasks.empty() || path.empty(), "tasks", "tasks or a path, not both", "both");
    v.rule(std::isfinite(std::accumulate(weights.begin(), weights.end(), 0.0)), "weights", "a finite sum", "one that is too large");
    v.rule(weights.empty() || weights.size() == tasks.size(), "weights", "one per task", std::to_string(weights.size()));
    for (const TaskProblem& problem : find_task_problems(tasks)) v.rule(false, "tasks", problem.expected, problem.found);
    v.rule(valid_languages(languages), "languages", "en, zh or both", languages.empty() ? "none" : join(languages));
  }

  static bool valid_languages(const std::vector<std::string>& languages);
};

/// Immutable after construction and safe to share between threads.
class QuestionSet {
 public:
  /// Reads the file where there is one. InputError for neither tasks nor path, a missing file or environment variable, bad rows.
  QuestionSet(const DataConfig& config, uint64_t seed);
  ~QuestionSet();
  QuestionSet(QuestionSet&&) noexcept;
  QuestionSet& operator=(QuestionSet&&) noexcept;

  /// The question at a position; its id is `i`. Generated tasks: each position draws task, language and numbers on its own, again and again
  /// until the question belongs to the split. Files: epoch i / size(), in that epoch's order.
  records::Question at(uint64_t i) const;
  /// The same with the steps of its solution and, where asked, mistakes in it. Generated tasks only (Fault otherwise).
  /// Equal to at(i) in question and ground truth; `language` overrides the drawn one when not empty.
  TaskItem item_at(uint64_t i, std::string_view language = {}, const Mistakes& mistakes = {}) const;

  /// Positions until the set repeats; 0: it does not.
  uint64_t size() const;

  uint64_t bad_rows() const;                         ///< of the file, left out by skip_bad_rows
  const std::vector<std::string>& problems() const;  ///< the first of them
  uint64_t long_rows() const;                        ///< left out by max_prompt_bytes

 private:
  struct Content;
  std::unique_ptr<Content> content_;
};

/// "$COHORT_DATA/x" → the folder named by the environment variable, then /x; other paths unchanged. InputError when it is not set.
std::string resolve_data_path(const std::string& path);

}  // namespace cohort::data
