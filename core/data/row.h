#pragma once
/// Questions from rows of files, which are not trusted. A row is a JSON object; JSONL and Parquet give the same rows.
///
///   form       keys                                               becomes
///   verl       data_source, prompt, reward_model.ground_truth     ground truth: a string or a number. Verifier: extra_info.verifier where
///                                                                 given, else by data_source (openai/gsm8k, gsm8k: number; lighteval/MATH,
///                                                                 DigitalLearningGmbH/MATH-lighteval, HuggingFaceH4/MATH-500, math,
///                                                                 math_dapo, math_dapo_reasoning, aime…: math), else "exact".
///                                                                 extra_info.language ("en", "zh") overrides the language found by script;
///                                                                 extra_info.answer is a worked solution in GSM8K's form.
///   gsm8k      question, answer: "worked solution with            solution without the marks, ground truth "1072", verifier "number",
///              <<48/2=24>> marks\n#### 1,072"                     source "gsm8k"
///   math       problem, with answer and/or a solution that        ground truth: the answer, or the last \boxed{} of the solution; verifier
///              ends in \boxed{…}; level, "Level 3" or 3           "math", source "math"
///   trl        prompt, with ground_truth, answer or solution;     ground truth: the first of these that is there. Of a worked solution the
///              question, with ground_truth                        line after "####", or the last \boxed{} where there is no such line or
///                                                                 it is no number. Solution: the worked one of any of these.
///                                                                 Verifier: the row's own `verifier`, or "math".
///              prompt, completion                                 nothing to verify; the completion is the answer to learn
///   messages   messages or conversations                          the last assistant message is the answer to learn, the last user message
///                                                                 the question; nothing to verify
///
/// A prompt or completion is a string or a list of messages {role, content} (also {from: human | gpt | system, value}): at most one system
/// message first, then user and assistant in turn. The last user message becomes Question.text, what was said before it Question.turns.
/// A completion that begins with <think>…</think>, or with a thought of which only the </think> is there, is split into solution and
/// answer.
/// Where rows of math, trl and messages have a string data_source, it is the source; otherwise that is the name of the form.
/// A value null is as none. Other keys are left alone. All questions are of the category REASONING. Rows with hidden tests (HumanEval's
/// test and entry_point) are refused: they would need code to be run.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::data {

enum class RowFormat { kAuto, kVerl, kGsm8k, kTrl, kMath, kMessages };  ///< kAuto decides for each row by its keys

/// Their names in that order: auto, verl, …
const std::vector<std::string>& row_format_names();
/// kAuto for a name that is none.
RowFormat row_format(std::string_view name);

/// InputError "WHERE: KEY: expected …, found …" when the value is not a row of the format.
records::Question question_of(const nlohmann::json& row, RowFormat format, const std::string& where);

/// The question as a row of verl's form, from which question_of() makes an equal one (but for its level, and a category other than
/// REASONING). A question with nothing to verify becomes a row of the messages form.
nlohmann::ordered_json row_of(const records::Question& question);

/// All that was said, one message per line: what prompts of one turn hold, with a system message first.
std::string whole_text(const records::Question& question);

}  // namespace cohort::data
