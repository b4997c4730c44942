#include "core/base/json.h"

#include <fmt/core.h>

#include <nlohmann/json.hpp>
#include <set>
#include <type_traits>
#include <vector>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort {

namespace {

using nlohmann::json;

/// Builds the value from the parser's events and stops at the first thing a strict reader refuses.
template <class Json>
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  using number_integer_t = typename Json::number_integer_t;
  using number_unsigned_t = typename Json::number_unsigned_t;
  using number_float_t = typename Json::number_float_t;
  using string_t = typename Json::string_t;
  using binary_t = typename Json::binary_t;

  StrictBuilder(const std::string& where, int max_depth) : where_(where), max_depth_(static_cast<size_t>(max_depth)) {}

  Json take() { return std::move(root_); }

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    // The parser turns integers over 64 bits into doubles, which silently changes them.
    if (text.find_first_of(".eE") == string_t::npos) fail("expected an integer of 64 bits, found " + printable(text));
    return put(value);
  }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    if (!keys_.back().insert(value).second) fail(fmt::format("expected each key once, found '{}' again", printable(value)));
    key_ = value;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& error) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: …": the part after the number is for people.
    std::string text = error.what();
    const size_t bracket = text.find("] ");
    if (bracket != std::string::npos) text.erase(0, bracket + 2);
    fail(fmt::format("expected JSON, found at byte {}: {}", position, printable(text, 300)));
    return false;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) { throw InputError(where_ + ": " + problem); }

  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    auto& members = parent.template get_ref<typename Json::object_t&>();
    if constexpr (std::is_same_v<Json, nlohmann::ordered_json>)
      return &members.emplace_back(key_, std::move(value)).second;
    else
      return &members.emplace(key_, std::move(value)).first->second;
  }

  bool put(Json value) {
    place(std::move(value));
    return true;
  }

  bool open(Json container) {
    if (open_.size() >= max_depth_) fail(fmt::format("expected nesting up to {} levels, found more", max_depth_));
    open_.push_back(place(std::move(container)));
    keys_.emplace_back();
    return true;
  }

  bool close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  const std::string& where_;
  size_t max_depth_;
  Json root_;
  std::vector<Json*> open_;  // containers being filled, outermost first; none moves while an inner one is open
  // Of each of them. An ordered object would compare every key with every other one, and a hash can be made to collide.
  std::vector<std::set<std::string>> keys_;
  std::string key_;
};

template <class Json>
Json parse_strictly(std::string_view text, const std::string& where, int max_depth) {
  // The parser takes a NUL byte for the end of the text.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw InputError(fmt::format("{}: expected JSON, found a NUL byte at byte {}", where, nul + 1));
  StrictBuilder<Json> builder(where, max_depth);
  if (!Json::sax_parse(text, &builder)) throw InputError(where + ": expected JSON, found something else");
  return builder.take();
}

}  // namespace

json parse_json(std::string_view text, const std::string& where, int max_depth) { return parse_strictly<json>(text, where, max_depth); }

nlohmann::ordered_json parse_ordered_json(std::string_view text, const std::string& where, int max_depth) {
  return parse_strictly<nlohmann::ordered_json>(text, where, max_depth);
}

}  // namespace cohort
