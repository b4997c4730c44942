#pragma once
/// Patterns that are not matched by hand, through PCRE2.

#include <memory>
#include <string>

#include "core/text/bpe/splitter.h"

namespace cohort::text::bpe {

/// Logs that its tables are those of another version of Unicode. InputError "WHERE: …" when the pattern does not compile, is longer than
/// 16 KiB, or uses what means something else in Oniguruma. A text on which it takes more than 256 steps for each byte is an InputError,
/// too.
std::unique_ptr<Matcher> make_foreign_matcher(const std::string& pattern, const std::string& where);

}  // namespace cohort::text::bpe
