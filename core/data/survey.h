#pragma once
/// What is in files of rows, before they are trained on: how many, how long, how many twice, what would be left out and why.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/data/row_reader.h"
#include "core/text/template.h"

namespace cohort::data {

struct SurveyOptions {
  std::string input;  ///< as data.path
  RowFormat format = RowFormat::kAuto;
  int64_t max_prompt_bytes = 0;  ///< as the keys of data; 0: no limit
  int64_t max_prompt_length = 0;
  bool drop_duplicates = false;
  const text::PromptTemplate* prompt_template = nullptr;  ///< with a tokenizer: lengths in tokens
  const text::Tokenizer* tokenizer = nullptr;
};

/// Order statistics: the values at positions 0, ⌊(n-1)/2⌋, ⌈0.95 n⌉-1 and n-1 of the sorted ones.
struct Spread {
  uint64_t min = 0, median = 0, p95 = 0, max = 0;
};

struct Survey {
  uint64_t rows = 0;
  uint64_t kept = 0;                  ///< given to on_question
  uint64_t bad = 0;                   ///< that cannot be read
  uint64_t too_long = 0;              ///< over max_prompt_bytes or max_prompt_length
  uint64_t unwritable = 0;            ///< that the template or the tokenizer cannot write
  uint64_t duplicates = 0;            ///< good rows whose messages and question came before, white space apart; kept unless drop_duplicates
  std::vector<std::string> problems;  ///< the first 20 of bad and unwritable rows, "FILE:LINE: …"
  std::vector<std::string> duplicate_examples;  ///< the first 5, "FILE:LINE: as row 7"
  std::map<std::string, uint64_t> sources;      ///< good rows of each; beyond 100 names all others as "…"
  std::map<std::string, uint64_t> verifiers;    ///< likewise; "" : nothing to verify
  std::optional<Spread> prompt_bytes;           ///< of good rows; absent where there is none
  std::optional<Spread> answer_bytes;           ///< of those with an answer: solution and answer
  std::optional<Spread> prompt_tokens;          ///< with a tokenizer
  std::optional<Spread> completion_tokens;
  ExactGuesses guesses;                      ///< among what is kept
  std::optional<records::Question> example;  ///< the first that is kept
};

/// Reads all rows, one at a time. `on_question` gets each that is kept, `on_progress` the bytes read and of all files, now and then. What
/// is held grows by about 60 bytes per row: a hash of 64 bits, and lengths. InputError for files that cannot be read.
Survey survey_rows(const SurveyOptions& options, const std::function<void(const records::Question&)>& on_question,
                   const std::function<void(uint64_t, uint64_t)>& on_progress);

}  // namespace cohort::data
