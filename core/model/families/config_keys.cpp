#include "core/model/families/config_keys.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort::model {
namespace {

constexpr size_t kShownBytes = 200;  // of a value from outside

std::string shown(const nlohmann::json& value) {
  const std::string text = value.dump();
  return text.size() <= kShownBytes ? text : printable(text, kShownBytes);
}

}  // namespace

void ConfigKeys::integer(const char* key, int64_t& out, Need need) {
  const auto* value = find(key, need);
  if (!value) return;
  if (value->is_number_integer())
    out = value->get<int64_t>();
  else
    bad(key, "an integer", *value);
}

void ConfigKeys::number(const char* key, double& out, Need need) {
  const auto* value = find(key, need);
  if (!value) return;
  if (value->is_number())
    out = value->get<double>();
  else
    bad(key, "a number", *value);
}

void ConfigKeys::flag(const char* key, bool& out, Need need) {
  const auto* value = find(key, need);
  if (!value) return;
  if (value->is_boolean())
    out = value->get<bool>();
  else
    bad(key, "true or false", *value);
}

void ConfigKeys::integers(const char* key, std::vector<int64_t>& out) {
  const auto* value = find(key, Need::kOptional);
  if (!value) return;
  if (!value->is_array() || !std::all_of(value->begin(), value->end(), [](const auto& x) { return x.is_number_integer(); }))
    return bad(key, "a list of integers", *value);
  out = value->get<std::vector<int64_t>>();
}

void ConfigKeys::only(const char* key, const nlohmann::json& supported) {
  if (has(key) && at(key) != supported) bad(key, supported.dump() + " (nothing else is supported)", at(key));
}

void ConfigKeys::agrees(const char* key, int64_t value, const char* with) {
  if (has(key) && at(key) != value) bad(key, fmt::format("{}, as {}", value, with), at(key));
}

bool ConfigKeys::has(const char* key) {
  known_.insert(key);
  return object_.contains(key) && !object_.at(key).is_null();
}

const nlohmann::json& ConfigKeys::at(const char* key) {
  known_.insert(key);
  return object_.at(key);
}

void ConfigKeys::ignore(const std::vector<const char*>& keys) { known_.insert(keys.begin(), keys.end()); }

void ConfigKeys::bad(const char* key, const std::string& expected, const nlohmann::json& found) {
  problems_.push_back(fmt::format("{}: {}: expected {}, found {}", where_, key, expected, shown(found)));
}

void ConfigKeys::refuse_unknown(const std::string& reader) {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object_.items())
    if (!value.is_null() && !known_.count(key)) unknown.push_back("\"" + printable(key) + "\"");
  if (!unknown.empty())
    problems_.push_back(
        fmt::format("{}: expected keys whose meaning {} knows, found {}", where_, reader, printable(join(unknown), kShownBytes * 5)));
}

void ConfigKeys::add_problems_of(const ConfigKeys& part) {
  problems_.insert(problems_.end(), part.problems_.begin(), part.problems_.end());
}

void ConfigKeys::finish() const {
  if (!problems_.empty()) throw InputError(problems_);
}

const nlohmann::json* ConfigKeys::find(const char* key, Need need) {
  if (has(key)) return &object_.at(key);
  if (need == Need::kRequired) problems_.push_back(fmt::format("{}: {}: expected a value, found none", where_, key));
  return nullptr;
}

}  // namespace cohort::model
