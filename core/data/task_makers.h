#pragma once
/// One function per generated task; the table that names them is in tasks.cpp.
///
/// A maker draws from making.stream without looking at the language, sets text, category, verifier, ground truth and answer of the
/// question, the key and the steps. Source, level, language and solution are filled in by make_item().

#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/random.h"
#include "core/data/tasks.h"

namespace cohort::data {

struct Making {
  uint32_t level;
  bool chinese;
  mutable RandomStream stream;
  mutable Mistakes mistakes;

  /// Whether the next step goes wrong.
  bool slips() const { return mistakes.stream.uniform() < mistakes.rate; }
  std::string say(std::string_view english, std::string_view in_chinese) const { return std::string(chinese ? in_chinese : english); }
};

/// One more or one less: the slip of somebody in a hurry.
int64_t off_by_one(int64_t value, Mistakes& mistakes);

// arithmetic_tasks.cpp
TaskItem make_add(const Making& making);
TaskItem make_countdown(const Making& making);
TaskItem make_sort(const Making& making);
TaskItem make_echo_digit(const Making& making);
TaskItem make_add2_reversed(const Making& making);
// word_problems.cpp
TaskItem make_word_problem(const Making& making);
// general_tasks.cpp
TaskItem make_instruction(const Making& making);
TaskItem make_safety(const Making& making);

}  // namespace cohort::data
