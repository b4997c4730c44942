#pragma once
/// Which language a text is in, by script: enough to see English and Chinese mix.
///
/// A run of Latin letters (with apostrophes inside) is one English word; each Han character is one Chinese word; a run of letters of
/// another script is one other word. Digits, signs, punctuation and invalid bytes are neutral.

#include <cstdint>
#include <string>
#include <string_view>

namespace cohort::text {

struct WordCounts {
  int64_t english = 0;
  int64_t chinese = 0;
  int64_t other = 0;
  int64_t total() const { return english + chinese + other; }
};

WordCounts count_words(std::string_view text);

/// Words of `language` over all words (R1, 2.2.3: the language consistency reward); 1 when there are no words.
/// InputError for a language other than "en" and "zh".
double language_consistency(std::string_view text, std::string_view language);

/// "zh" when more than half of the words are Chinese, otherwise "en".
std::string dominant_language(std::string_view text);

}  // namespace cohort::text
