#include "core/data/tasks.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/data/task_makers.h"

namespace cohort::data {
namespace {

/// The table of tasks. A new one: a maker in task_makers.h, a line here and one in the table of tasks.h.
struct TaskEntry {
  std::string_view name;
  uint32_t levels;
  TaskItem (*make)(const Making& making);
};

constexpr std::array kTasks = {
    TaskEntry{"add", 4, make_add},
    TaskEntry{"countdown", 3, make_countdown},
    TaskEntry{"sort", 4, make_sort},
    TaskEntry{"echo_digit", 1, make_echo_digit},
    TaskEntry{"add2_reversed", 1, make_add2_reversed},
    TaskEntry{"word_problem", 3, make_word_problem},
    TaskEntry{"instruction", 2, make_instruction},
    TaskEntry{"safety", 1, make_safety},
};

const TaskEntry* find_entry(std::string_view name) {
  const auto found = std::find_if(kTasks.begin(), kTasks.end(), [&](const TaskEntry& entry) { return entry.name == name; });
  return found == kTasks.end() ? nullptr : &*found;
}

/// Fills `spec`, or says what is wrong.
std::vector<TaskProblem> try_parse(std::string_view text, TaskSpec& spec) {
  const size_t colon = text.find(':');
  const std::string name(text.substr(0, colon));
  const TaskEntry* entry = find_entry(name);
  const std::string found = "\"" + printable(text) + "\"";
  if (entry == nullptr) {
    std::vector<std::string> names;
    for (const TaskEntry& known : kTasks) names.emplace_back(known.name);
    const std::string nearest = nearest_name(name, names);
    return {{"one of " + join(names) + (nearest.empty() ? "" : " (did you mean " + nearest + "?)"), found}};
  }
  uint32_t level = 1;
  if (colon != std::string_view::npos) {
    const std::string_view digits = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), level);
    if (error != std::errc() || end != digits.data() + digits.size() || digits.front() == '0') level = 0;
  }
  if (level < 1 || level > entry->levels)
    return {{entry->levels == 1 ? name + ":1" : name + ":1 to " + name + ":" + std::to_string(entry->levels), found}};
  spec = {.name = name, .level = level};
  return {};
}

}  // namespace

const std::vector<std::string>& task_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const TaskEntry& entry : kTasks)
      for (uint32_t level = 1; level <= entry.levels; ++level) result.push_back(std::string(entry.name) + ":" + std::to_string(level));
    return result;
  }();
  return names;
}

TaskSpec parse_task(std::string_view text, const std::string& where) {
  TaskSpec spec;
  const std::vector<TaskProblem> problems = try_parse(text, spec);
  if (!problems.empty()) throw InputError(where + ": expected " + problems.front().expected + ", found " + problems.front().found);
  return spec;
}

std::vector<TaskProblem> find_task_problems(const std::vector<std::string>& tasks) {
  std::vector<TaskProblem> all;
  for (const std::string& task : tasks) {
    TaskSpec spec;
    for (TaskProblem& problem : try_parse(task, spec)) all.push_back(std::move(problem));
  }
  return all;
}

TaskItem make_item(const TaskSpec& task, std::string_view language, RandomStream stream, Mistakes mistakes) {
  const TaskEntry* entry = find_entry(task.name);
  if (entry == nullptr || task.level < 1 || task.level > entry->levels)
    throw Fault("no task " + task.name + ":" + std::to_string(task.level));
  if (language != "en" && language != "zh") throw Fault("no questions in the language \"" + printable(language) + "\"");
  TaskItem item = entry->make({.level = task.level, .chinese = language == "zh", .stream = stream, .mistakes = mistakes});
  item.question.set_source(task.name);
  item.question.set_level(task.level);
  item.question.set_language(std::string(language));
  for (const std::string& step : item.steps) item.question.mutable_solution()->append(step);
  return item;
}

records::Question make_question(const TaskSpec& task, std::string_view language, RandomStream stream) {
  return make_item(task, language, stream).question;
}

bool is_held_out(std::string_view task, std::string_view key) {
  RandomStream stream(0, "held out/" + std::string(task) + "/" + std::string(key));
  return stream.below(10) == 0;
}

}  // namespace cohort::data
