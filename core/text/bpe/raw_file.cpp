#include "core/text/bpe/raw_file.h"

#include <fmt/core.h>

#include "core/base/error.h"
#include "core/base/text_util.h"

namespace cohort::text::bpe {
namespace {

using nlohmann::json;

constexpr size_t kMaxDepth = 32;
constexpr size_t kMaxValues = 1 << 20;  // beside vocabulary and merges
constexpr int64_t kMaxTokens = int64_t{1} << 24;

class Builder : public nlohmann::json_sax<json> {
 public:
  explicit Builder(const std::string& where) : where_(where) {}
  RawFile take() { return std::move(raw_); }

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool binary(binary_t&) override { return false; }

  bool number_unsigned(number_unsigned_t value) override {
    if (part_ != Part::kVocabulary) return scalar(value);
    if (value >= static_cast<uint64_t>(kMaxTokens)) fail("model.vocab", fmt::format("ids below {}", kMaxTokens), std::to_string(value));
    raw_.vocabulary.emplace_back(token_, static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (part_ != Part::kMerges) return scalar(value);
    if (depth_ == kInPair) {
      if (pair_.size() == 2) fail(merge_name(), "two tokens", "more");
      pair_.push_back(keep(value));
      return true;
    }
    if (value.starts_with("#version")) return true;
    const size_t space = value.find(' ');
    if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos)
      fail(merge_name(), "two tokens with one space between", "\"" + printable(value) + "\"");
    add_merge(Spelling::kString, keep(value.substr(0, space)), keep(value.substr(space + 1)));
    return true;
  }

  bool key(string_t& value) override {
    if (part_ == Part::kVocabulary) {
      token_ = keep(value);
      return true;
    }
    if (open_.back()->contains(value)) fail(printable(value), "each key once", "it again");
    key_ = value;
    return true;
  }

  bool start_object(std::size_t) override {
    if (part_ == Part::kNone && depth_ == 2 && in_model_ && key_ == "vocab") {
      part_ = Part::kVocabulary;
      open(json::object());
      return true;
    }
    refuse_in_part();
    if (depth_ == 1 && key_ == "model") in_model_ = true;
    open(json::object());
    return true;
  }
  bool end_object() override { return close(); }

  bool start_array(std::size_t) override {
    if (part_ == Part::kMerges && depth_ == kInMerges) {
      ++depth_;
      pair_.clear();
      return true;
    }
    if (part_ == Part::kNone && depth_ == 2 && in_model_ && key_ == "merges") {
      open(json::array());
      part_ = Part::kMerges;
      return true;
    }
    refuse_in_part();
    open(json::array());
    return true;
  }
  bool end_array() override {
    if (part_ == Part::kMerges && depth_ == kInPair) {
      --depth_;
      if (pair_.size() != 2) fail(merge_name(), "two tokens", std::to_string(pair_.size()));
      add_merge(Spelling::kPair, pair_[0], pair_[1]);
      return true;
    }
    return close();
  }

  bool parse_error(std::size_t position, const std::string&, const json::exception& error) override {
    std::string text = error.what();
    if (const size_t bracket = text.find("] "); bracket != std::string::npos) text.erase(0, bracket + 2);
    throw InputError(fmt::format("{}: expected JSON, found at byte {}: {}", where_, position, printable(text, 300)));
  }

 private:
  enum class Part { kNone, kVocabulary, kMerges };
  enum class Spelling { kUnknown, kString, kPair };
  static constexpr size_t kInMerges = 3, kInPair = 4;  // depths

  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& found) const {
    throw InputError(fmt::format("{}: {}: expected {}, found {}", where_, key, expected, found));
  }
  std::string merge_name() const { return fmt::format("model.merges[{}]", raw_.merges.size()); }

  Slice keep(std::string_view text) {
    if (text.size() > kMaxTokenBytes) fail("model", fmt::format("tokens of at most {} bytes", kMaxTokenBytes), std::to_string(text.size()));
    const Slice slice{static_cast<uint32_t>(raw_.bytes.size()), static_cast<uint32_t>(text.size())};
    raw_.bytes += text;
    return slice;
  }

  void add_merge(Spelling spelling, Slice left, Slice right) {
    if (spelling_ != Spelling::kUnknown && spelling_ != spelling) fail(merge_name(), "all merges as strings or all as pairs", "both");
    spelling_ = spelling;
    raw_.merges.emplace_back(left, right);
  }

  void refuse_in_part() const {
    if (part_ == Part::kVocabulary)
      fail("model.vocab", "an id for each token", "something else for \"" + printable(raw_.text(token_)) + "\"");
    if (part_ == Part::kMerges) fail(merge_name(), "\"a b\" or [\"a\", \"b\"]", "something else");
  }

  json* place(json value) {
    if (++values_ > kMaxValues) fail("the file", fmt::format("at most {} values beside vocabulary and merges", kMaxValues), "more");
    if (open_.empty()) {
      raw_.document = std::move(value);
      return &raw_.document;
    }
    json& parent = *open_.back();
    if (!parent.is_array()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  template <class Value>
  bool scalar(Value&& value) {
    refuse_in_part();
    place(std::forward<Value>(value));
    return true;
  }

  void open(json container) {
    if (open_.size() >= kMaxDepth) fail("the file", fmt::format("nesting up to {} levels", kMaxDepth), "more");
    open_.push_back(place(std::move(container)));
    ++depth_;
  }
  bool close() {
    open_.pop_back();
    --depth_;
    if (depth_ < 3) part_ = Part::kNone;
    if (depth_ < 2) in_model_ = false;
    return true;
  }

  const std::string& where_;
  RawFile raw_;
  std::vector<json*> open_;
  std::string key_;
  size_t depth_ = 0, values_ = 0;
  bool in_model_ = false;
  Part part_ = Part::kNone;
  Spelling spelling_ = Spelling::kUnknown;
  Slice token_{};
  std::vector<Slice> pair_;
};

}  // namespace

RawFile read_raw_file(std::string_view text, const std::string& where) {
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)  // the parser takes it for the end
    throw InputError(fmt::format("{}: expected JSON, found a NUL byte at byte {}", where, nul + 1));
  Builder builder(where);
  if (!json::sax_parse(text, &builder)) throw InputError(where + ": expected JSON, found something else");
  return builder.take();
}

}  // namespace cohort::text::bpe
