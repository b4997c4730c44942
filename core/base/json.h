#pragma once
/// JSON from outside, read strictly.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace cohort {

/// Exactly one JSON value. InputError "WHERE: …" on a syntax error, a duplicate key, invalid UTF-8, anything after the value, an integer
/// that does not fit 64 bits, or nesting deeper than `max_depth`. `where` names the source, for example "train.jsonl:17".
nlohmann::json parse_json(std::string_view text, const std::string& where, int max_depth = 64);

/// The same, with the keys of objects in the order of the text.
nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where, int max_depth = 64);

}  // namespace cohort
