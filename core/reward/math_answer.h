#pragma once
/// Answers in LaTeX, compared as texts after the spelling has been made one: what the benchmark MATH's own grader does (Hendrycks et al.,
/// arXiv 2103.03874, math_equivalence.py), with exact numbers.
///
/// No algebra: x+1 and 1+x, 2\sqrt{3} and \sqrt{12}, or an interval in other brackets are different answers.

#include <string>
#include <string_view>

namespace cohort::reward {

/// One spelling for answers that differ only in it: without white space, \left, \right, \$, %, degrees, units in a trailing \text{}, a
/// leading "x=", $…$ around it; \dfrac and \tfrac as \frac, \frac12 as \frac{1}{2}, a/b of whole numbers as \frac{a}{b}, \sqrt3 as
/// \sqrt{3}, .5 as 0.5, \text{word} and \textbf{word} as word, (25) as 25. A number (whole, decimal, with thousands commas) is without
/// leading and trailing zeros, so that "025" and "25" are one; a fraction of whole numbers is in lowest terms, as is a decimal with a
/// finite one: 0.5 is \frac{1}{2}.
std::string normalised_math(std::string_view answer);

}  // namespace cohort::reward
