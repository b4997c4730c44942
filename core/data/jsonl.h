#pragma once
/// Questions from a JSONL file, which is not trusted.
///
/// Two forms of a row:
///   GSM8K's own   {"question": "…", "answer": "worked solution with <<48/2=24>> marks\n#### 1,072"}
///                 → solution without the marks, ground truth "1072", verifier "number", source "gsm8k".
///   verl's        {"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "…"}] or "…",
///                  "reward_model": {"ground_truth": "72"}, "extra_info": {…}}
///                 → one user message, optionally after a system message, which then comes first in the text. ground_truth is a string or a
///                 number. The verifier is extra_info.verifier if given, else by data_source (openai/gsm8k, gsm8k: number), else "exact".
///                 extra_info.language ("en", "zh") overrides the language found by script; extra_info.answer is a worked solution in
///                 GSM8K's form.
/// Other keys are left alone. All questions are of the category REASONING. Empty lines are skipped; a byte order mark and CRLF are
/// accepted.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::data {

enum class RowFormat { kAuto, kVerl, kGsm8k };  ///< kAuto decides for each row by its keys

inline constexpr size_t kMaxLineBytes = 1 << 20;  ///< a longer line is a bad row and is not held in memory

struct Rows {
  std::vector<records::Question> questions;  ///< in file order; id = index
  std::vector<std::string> problems;         ///< the first 20 bad rows, "FILE:LINE: …"
  uint64_t bad_rows = 0;
};

/// InputError with the problems (and how many more there are) unless `skip_bad_rows`, and when no good row is left.
Rows read_rows(const std::string& path, RowFormat format, bool skip_bad_rows);

/// One line. InputError "WHERE: …" when it is not a row.
records::Question parse_row(std::string_view line, RowFormat format, const std::string& where);

}  // namespace cohort::data
