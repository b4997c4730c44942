#pragma once
/// Answers that are there already, scored without a model.
///
/// A row is a question in any form that has a ground truth (core/data/row.h: {"question": …, "ground_truth": …}, verl's, GSM8K's, MATH's,
/// TRL's) with the answers to it in `completions` or `responses`, a list of strings; the same number in every row. "verifier" beside
/// ground_truth, or in verl's extra_info, names the check.
///
/// What answers: with a template, what text::parse_completion() finds; otherwise the inside of the last <answer>…</answer>, or what follows
/// the last </think>, or the whole completion; nothing where a thought is not closed (text::behind_thought). The verifier takes the last
/// \boxed{} or the last number of it, as it always does.

#include <string>
#include <vector>

#include "core/data/row.h"
#include "core/eval/report.h"
#include "core/text/template.h"

namespace cohort::eval {

/// `path` as core/data/data_files.h. With a template, QuestionScore.format counts well-formed completions; language and tokens stay 0.
/// InputError for a row that is none, up to 20 of them at once, and where there is no row. Holds one row at a time.
std::vector<QuestionScore> score_completions(const std::string& path, data::RowFormat format, const text::PromptTemplate* prompt_template);

}  // namespace cohort::eval
