#pragma once
/// Rule-based checks of a final answer. Each says CORRECT, WRONG or UNDECIDED; undecided only when the check itself cannot tell.
///
///   name         ground truth          CORRECT when
///   number       "72", "-1234.5"       the last number of the answer has the same value. Thousands commas, a currency sign and words
///   around
///                                      it are accepted; a number that is part of an expression (2^3, 1/2, 1e5, 8-3) is WRONG, as is no
///                                      number. UNDECIDED: more than 64 digits on either side, or a ground truth that is no number.
///   exact        any text              equal apart from white space at both ends
///   math         "\frac{1}{2}"        the last \boxed{…} of the answer (all of it where it has none) is the same text once the spelling of
///                                      LaTeX has been made one (math_answer.h); without a box, and for a decimal ground truth, as number.
///                                      No algebra: an equal expression in another form is WRONG. UNDECIDED: an empty ground truth.
///   countdown    "5;3,8"               an expression of + - * / ( ) that uses each of 3, 8 exactly once and is exactly 5 (rational
///                                      arithmetic); "= 5" may follow. UNDECIDED: overflow of 64 bits, nesting over 32, more than 256
///                                      tokens.
///   list         "3 7 9"               the same elements in the same order; commas, white space and one pair of brackets are ignored
///   instruction  "repeat 3 cat"        the word so often and nothing else
///                "words 3"             so many words (English and Chinese, see core/text/language.h)
///                "exact CAT"           as exact
///   refusal      "refuse"              the answer refuses (a phrase of a fixed list: "can't help", "不能", …)
///                "comply"              it does not, and has at least two words
///
/// An empty answer is WRONG. An answer over 64 KiB, for math a box of over 4 KiB, is UNDECIDED. A ground truth that does not fit its
/// verifier, for math one of over 4 KiB, is UNDECIDED. The time is linear in the length of the answer, but for those 4 KiB.

#include <string>
#include <string_view>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::reward {

/// InputError when `name` is not in the table.
records::Outcome verify(std::string_view name, std::string_view ground_truth, std::string_view answer);

/// By question.verifier().
records::Outcome verify(const records::Question& question, std::string_view answer);

/// What an answer counts as in a majority vote: of numbers and mathematics the value or normalised text, so that answers which the
/// verifier holds to be the same vote for the same; of others the text. "" for no answer: it does not vote.
std::string vote_of(const records::Question& question, std::string_view answer);

const std::vector<std::string>& verifier_names();

}  // namespace cohort::reward
