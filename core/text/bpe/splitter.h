#pragma once
/// Pre-tokenizers: text to the pieces within which tokens are merged.
///
/// The patterns that the known families share are matched by hand over the tables of unicode_tables.h: GPT-2's, Qwen2's, Llama-3's and
/// the three of DeepSeek-V3. Any other pattern goes to PCRE2 (foreign_pattern.h). What a match and what stands between matches become
/// follows `tokenizers`: later steps work inside the pieces of earlier ones.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/bpe/normalizer.h"

namespace cohort::text::bpe {

/// What becomes of a match.
enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// A stretch of the text, in bytes, that is a match or lies between matches.
struct Part {
  uint32_t begin = 0, end = 0;
  bool matches = false;
};

/// Finds all matches from left to right. Immutable and safe to share between threads.
class Matcher {
 public:
  virtual ~Matcher() = default;
  /// Appends parts that cover `text`, in order; empty matches are parts too. InputError when a pattern takes too many steps.
  virtual void find(std::string_view text, std::vector<Part>& parts) const = 0;
};

/// `pattern` in the syntax of Oniguruma. InputError "WHERE: …" when it cannot be used; logs a warning when it is not a known one.
std::unique_ptr<Matcher> make_pattern_matcher(const std::string& pattern, const std::string& where);
/// Occurrences of a text, which is not empty.
std::unique_ptr<Matcher> make_literal_matcher(const std::string& literal);
/// Each digit (Numeric of unicode_tables.h).
std::unique_ptr<Matcher> make_digit_matcher();

struct SplitStep {
  std::shared_ptr<const Matcher> matcher;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  ///< what lies between matches is the match
};

/// A piece of the text. `space_before`: of add_prefix_space; the piece is a space followed by that stretch, which may then be empty.
struct Piece {
  uint32_t begin = 0, end = 0;
  bool space_before = false;
};

class PreTokenizer {
 public:
  std::vector<SplitStep> steps;
  bool add_prefix_space = false;  ///< after the steps, before `use_gpt2_pattern`: every piece begins with a space
  bool use_gpt2_pattern = false;

  /// Pieces that are not empty, in order.
  std::vector<Piece> split(std::string_view text) const;

 private:
  void split_with_space(std::string_view text, Piece piece, std::vector<Piece>& out) const;
};

}  // namespace cohort::text::bpe
