#pragma once
/// Decimal numbers as digits: exact, without a limit from any machine type.

#include <string>
#include <string_view>

namespace cohort::reward {

struct Decimal {
  bool negative = false;
  std::string whole;     ///< without leading zeros; "" is 0
  std::string fraction;  ///< without trailing zeros
  bool operator==(const Decimal&) const = default;
};

enum class NumberStatus { kFound, kNone, kTooLong };

inline constexpr size_t kMaxNumberDigits = 64;

/// The whole text, apart from white space, as [-]digits[.digits] with or without thousands commas.
NumberStatus parse_decimal(std::string_view text, Decimal& number);

/// The last number of a text. kNone when there is none or when it is an operand: it follows an operator that has an operand before it
/// ("8-3", "8 - 3", "1/2", "2^{3}", "1e-5"), or stands right behind a letter or a closing bracket ("x2", "1e5", "(2)3").
NumberStatus last_decimal(std::string_view text, Decimal& number);

}  // namespace cohort::reward
