#include "core/text/bpe/tokenizer_json.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/bpe/byte_alphabet.h"
#include "core/text/bpe/raw_file.h"

namespace cohort::text::bpe {
namespace {

using nlohmann::json;

constexpr int64_t kSpareIds = 1 << 16;  // ids may go this far beyond the number of tokens

// ---- One object of the document ------------------------------------------------------------------------------------------------------

/// Reads the keys of an object by name; finish() refuses those that nobody has asked for.
class Object {
 public:
  Object(const json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is_object()) throw InputError(fmt::format("{}: expected an object, found {}", where_, found(value)));
  }

  static std::string found(const json& value) {
    if (value.is_structured()) return value.is_array() ? "a list" : "an object";
    return printable(value.dump(-1, ' ', false, json::error_handler_t::replace));
  }
  [[noreturn]] void fail(const std::string& key, const std::string& expected) const {
    const auto at = value_.find(key);
    throw InputError(fmt::format("{}.{}: expected {}, found {}", where_, key, expected, at == value_.end() ? "nothing" : found(*at)));
  }

  const json* find(const std::string& key) {
    seen_.insert(key);
    const auto at = value_.find(key);
    return at == value_.end() ? nullptr : &*at;
  }
  const json& at(const std::string& key, const std::string& expected) {
    const json* value = find(key);
    if (value == nullptr) fail(key, expected);
    return *value;
  }
  std::string text(const std::string& key) {
    const json& value = at(key, "a string");
    if (!value.is_string()) fail(key, "a string");
    return value.get<std::string>();
  }
  bool boolean(const std::string& key, std::optional<bool> fallback = std::nullopt) {
    const json* value = find(key);
    if (value == nullptr && fallback) return *fallback;
    if (value == nullptr || !value->is_boolean()) fail(key, "true or false");
    return value->get<bool>();
  }
  const json& list(const std::string& key) {
    const json& value = at(key, "a list");
    if (!value.is_array()) fail(key, "a list");
    return value;
  }
  /// Null, false, "" or absent: what this reader has no use for.
  void must_be_off(const std::string& key, const std::string& expected = "null, because nothing else is supported") {
    const json* value = find(key);
    const bool off = value == nullptr || value->is_null() || *value == false || *value == "";
    if (!off) fail(key, expected);
  }
  void finish() const {
    for (const auto& [key, value] : value_.items())
      if (!seen_.contains(key))
        throw InputError(fmt::format("{}.{}: expected no such key, found {}", where_, printable(key), found(value)));
  }
  const std::string& where() const { return where_; }

 private:
  const json& value_;
  std::string where_;
  std::unordered_set<std::string> seen_;
};

// ---- The parts -----------------------------------------------------------------------------------------------------------------------

class Reader {
 public:
  Reader(std::string_view text, const std::string& where) : where_(where), raw_(read_raw_file(text, where)) {}

  TokenizerFile read() {
    Object top(raw_.document, where_);
    if (const json* version = top.find("version"); version != nullptr && *version != "1.0") top.fail("version", "\"1.0\"");
    top.must_be_off("truncation"), top.must_be_off("padding");
    read_model(top.at("model", "an object"));
    if (const json* added = top.find("added_tokens"); added != nullptr && !added->is_null()) read_added_tokens(top.list("added_tokens"));
    refuse_merged_specials();
    if (const json* part = top.find("normalizer"); part != nullptr && !part->is_null()) read_normalizer(*part, name("normalizer"));
    read_pre_tokenizer(top.at("pre_tokenizer", "a pre-tokenizer that ends with ByteLevel"));
    if (const json* part = top.find("post_processor"); part != nullptr && !part->is_null())
      read_post_processor(*part, name("post_processor"));
    read_decoder(top.at("decoder", "a decoder of the type ByteLevel"), name("decoder"));
    top.finish();
    return std::move(file_);
  }

 private:
  std::string name(const std::string& key) const { return where_ + ": " + key; }
  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& found) const {
    throw InputError(fmt::format("{}: expected {}, found {}", name(key), expected, found));
  }

  void read_model(const json& value);
  void read_vocabulary();
  void read_merges();
  void read_added_tokens(const json& list);
  void refuse_merged_specials() const;
  void require_id(const AddedToken& token, int64_t published) const;
  void set_piece(int32_t id, std::string_view token);
  void read_normalizer(const json& value, const std::string& where);
  void read_pre_tokenizer(const json& value);
  SplitStep read_split(Object& part) const;
  void read_byte_level(Object& part, bool last);
  void read_post_processor(const json& value, const std::string& where);
  void read_template(Object& part);
  void read_decoder(const json& value, const std::string& where) const;

  const std::string& where_;
  RawFile raw_;
  TokenizerFile file_;
  std::unordered_map<std::string_view, int32_t> ids_;  // of the model's vocabulary and the added tokens
  int64_t model_tokens_ = 0;
  int64_t largest_added_ = -1;
  bool has_template_ = false;
};

void Reader::read_model(const json& value) {
  Object model(value, name("model"));
  if (const json* type = model.find("type"); type != nullptr && *type != "BPE") model.fail("type", "\"BPE\"");
  for (const char* key : {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "fuse_unk"})
    model.must_be_off(key);
  file_.ignore_merges = model.boolean("ignore_merges", false);
  if (!model.at("vocab", "an object").is_object()) model.fail("vocab", "an object");
  if (!model.at("merges", "a list").is_array()) model.fail("merges", "a list");
  model.finish();
  read_vocabulary();
  read_merges();
}

void Reader::set_piece(int32_t id, std::string_view token) {
  const auto place = static_cast<size_t>(id);
  if (place >= file_.pieces.size()) file_.pieces.resize(place + 1), file_.exists.resize(place + 1);
  file_.pieces[place] = decoded_piece(token);
  file_.exists[place] = true;
}

void Reader::read_vocabulary() {
  if (raw_.vocabulary.empty()) fail("model.vocab", "at least one token", "none");
  model_tokens_ = static_cast<int64_t>(raw_.vocabulary.size());
  int64_t largest = 0;
  for (const auto& [token, id] : raw_.vocabulary) largest = std::max(largest, id);
  if (largest >= 2 * model_tokens_ + kSpareIds)
    fail("model.vocab", fmt::format("ids below {} for {} tokens", 2 * model_tokens_ + kSpareIds, model_tokens_), std::to_string(largest));
  file_.pieces.resize(static_cast<size_t>(largest) + 1), file_.exists.resize(static_cast<size_t>(largest) + 1);
  file_.byte_ids.fill(-1);
  ids_.reserve(raw_.vocabulary.size());
  for (const auto& [slice, id] : raw_.vocabulary) {
    const std::string_view token = raw_.text(slice);
    if (!ids_.emplace(token, static_cast<int32_t>(id)).second) fail("model.vocab", "each token once", "\"" + printable(token) + "\" again");
    if (file_.exists[static_cast<size_t>(id)])
      fail("model.vocab", "each id once", fmt::format("{} again, for \"{}\"", id, printable(token)));
    set_piece(static_cast<int32_t>(id), token);
    const std::optional<std::string> bytes = bytes_of_token(token);
    if (!bytes || bytes->empty()) continue;
    if (bytes->size() == 1) file_.byte_ids[static_cast<unsigned char>((*bytes)[0])] = static_cast<int32_t>(id);
    if (file_.ignore_merges) file_.whole_words.push_back(static_cast<int32_t>(id));
  }
}

void Reader::read_merges() {
  file_.merges.reserve(raw_.merges.size());
  std::string joined;
  for (const auto& [left, right] : raw_.merges) {
    const auto id_of = [&](std::string_view token) {
      const auto found = ids_.find(token);
      if (found == ids_.end())
        fail(fmt::format("model.merges[{}]", file_.merges.size()), "tokens of the vocabulary", "\"" + printable(token) + "\"");
      return found->second;
    };
    joined.assign(raw_.text(left)).append(raw_.text(right));
    file_.merges.push_back({id_of(raw_.text(left)), id_of(raw_.text(right)), id_of(joined)});
  }
}

/// `tokenizers` gives out the ids again, whatever the file says; a file that says something else is not what it seems.
void Reader::require_id(const AddedToken& token, int64_t published) const {
  const auto known = ids_.find(token.content);
  const int64_t id = known != ids_.end() ? known->second : std::max(model_tokens_, largest_added_ + 1);
  if (id != published)
    fail(fmt::format("added_tokens: \"{}\": id", printable(token.content)), fmt::format("{}, which `tokenizers` gives it", id),
         std::to_string(published));
}

void Reader::read_added_tokens(const json& list) {
  std::unordered_set<std::string> seen;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string where = fmt::format("added_tokens[{}]", i);
    Object part(list[i], name(where));
    AddedToken token;
    token.content = part.text("content");
    if (token.content.empty() || token.content.size() > kMaxTokenBytes)
      fail(where + ".content", fmt::format("1 to {} bytes", kMaxTokenBytes), std::to_string(token.content.size()));
    if (!seen.insert(token.content).second) fail(where + ".content", "each token once", "\"" + printable(token.content) + "\" again");
    token.single_word = part.boolean("single_word", false), token.lstrip = part.boolean("lstrip", false);
    token.rstrip = part.boolean("rstrip", false), token.normalized = part.boolean("normalized", true);
    token.special = part.boolean("special", false);
    const json& id = part.at("id", "a number");
    if (!id.is_number_unsigned()) part.fail("id", "a number from 0 on");
    require_id(token, static_cast<int64_t>(std::min<uint64_t>(id.get<uint64_t>(), INT64_MAX)));
    token.id = static_cast<int32_t>(id.get<int64_t>());
    part.finish();
    if (!ids_.contains(token.content) && static_cast<size_t>(token.id) < file_.exists.size() && file_.exists[static_cast<size_t>(token.id)])
      fail(where + ".id", "an id that no other token has", std::to_string(token.id));
    largest_added_ = std::max<int64_t>(largest_added_, token.id);
    set_piece(token.id, token.content);
    file_.added_tokens.push_back(std::move(token));
  }
}

/// Plain text must never become one.
void Reader::refuse_merged_specials() const {
  std::unordered_map<int32_t, std::string_view> specials;
  for (const AddedToken& token : file_.added_tokens)
    if (token.special) specials.emplace(token.id, token.content);
  for (size_t i = 0; i < file_.merges.size(); ++i)
    if (const auto found = specials.find(file_.merges[i].result); found != specials.end())
      fail(fmt::format("model.merges[{}]", i), "no merge that makes a special token",
           "one that makes \"" + printable(found->second) + "\"");
}

void Reader::read_normalizer(const json& value, const std::string& where) {
  Object part(value, where);
  const std::string type = part.text("type");
  if (type == "NFC") {
    file_.nfc = true;
  } else if (type == "Sequence") {
    for (const json& each : part.list("normalizers")) read_normalizer(each, where + ".normalizers");
  } else {
    part.fail("type", "NFC or Sequence");
  }
  part.finish();
}

Behavior behavior_of(Object& part) {
  const std::string behavior = part.text("behavior");
  if (behavior == "Isolated") return Behavior::kIsolated;
  if (behavior == "Removed") return Behavior::kRemoved;
  if (behavior == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (behavior == "MergedWithNext") return Behavior::kMergedWithNext;
  if (behavior == "Contiguous") return Behavior::kContiguous;
  part.fail("behavior", "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
}

SplitStep Reader::read_split(Object& part) const {
  SplitStep step;
  step.behavior = behavior_of(part);
  step.invert = part.boolean("invert", false);
  Object pattern(part.at("pattern", "an object"), part.where() + ".pattern");
  if (pattern.find("Regex") != nullptr) {
    step.matcher = make_pattern_matcher(pattern.text("Regex"), pattern.where() + ".Regex");
  } else {
    const std::string literal = pattern.text("String");
    if (literal.empty()) pattern.fail("String", "a text that is not empty");
    step.matcher = make_literal_matcher(literal);
  }
  pattern.finish();
  return step;
}

void Reader::read_byte_level(Object& part, bool last) {
  if (!last) throw InputError(part.where() + ": expected ByteLevel as the last pre-tokenizer, found it before others");
  file_.pre_tokenizer.add_prefix_space = part.boolean("add_prefix_space");
  file_.pre_tokenizer.use_gpt2_pattern = part.boolean("use_regex", true);
  part.boolean("trim_offsets", true);
}

void Reader::read_pre_tokenizer(const json& value) {
  // Sequences inside sequences are one sequence.
  std::vector<std::pair<const json*, std::string>> open = {{&value, name("pre_tokenizer")}}, flat;
  while (!open.empty()) {
    const auto [each, where] = open.back();
    open.pop_back();
    const bool sequence = each->is_object() && each->value("type", json()) == "Sequence";
    if (!sequence) {
      flat.emplace_back(each, where);
      continue;
    }
    Object part(*each, where);
    part.find("type");
    const json& list = part.list("pretokenizers");
    for (size_t i = list.size(); i-- > 0;) open.emplace_back(&list[i], fmt::format("{}.pretokenizers[{}]", where, i));
    part.finish();
  }
  bool byte_level = false;
  for (const auto& [each, where] : flat) {
    Object part(*each, where);
    const std::string type = part.text("type");
    if (type == "Split") {
      file_.pre_tokenizer.steps.push_back(read_split(part));
    } else if (type == "Digits") {
      const bool single = part.boolean("individual_digits");
      file_.pre_tokenizer.steps.push_back({make_digit_matcher(), single ? Behavior::kIsolated : Behavior::kContiguous, false});
    } else if (type == "ByteLevel") {
      byte_level = true;
      read_byte_level(part, each == flat.back().first);
    } else {
      part.fail("type", "Split, Digits, ByteLevel or Sequence");
    }
    part.finish();
  }
  if (!byte_level) fail("pre_tokenizer", "ByteLevel at the end", "none: this is no byte-level tokenizer");
}

void Reader::read_post_processor(const json& value, const std::string& where) {
  Object part(value, where);
  const std::string type = part.text("type");
  if (type == "ByteLevel") {
    file_.trims_offsets = file_.trims_offsets || part.boolean("trim_offsets", true);
    file_.keeps_prefix_space = part.boolean("add_prefix_space", true);
    part.boolean("use_regex", true), part.find("trim_offsets");
  } else if (type == "TemplateProcessing") {
    read_template(part);
  } else if (type == "Sequence") {
    const json& list = part.list("processors");
    for (size_t i = 0; i < list.size(); ++i) read_post_processor(list[i], fmt::format("{}.processors[{}]", where, i));
  } else {
    part.fail("type", "ByteLevel, TemplateProcessing or Sequence");
  }
  part.finish();
}

/// single: [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, …] with special_tokens that say which
/// ids a name stands for. `pair` is for two texts and is not used.
void Reader::read_template(Object& part) {
  if (has_template_) throw InputError(part.where() + ": expected one TemplateProcessing, found another");
  has_template_ = true;
  part.find("pair");
  const json& names = part.at("special_tokens", "an object");
  bool behind = false;
  const json& single = part.list("single");
  for (size_t i = 0; i < single.size(); ++i) {
    const std::string where = fmt::format("{}.single[{}]", part.where(), i);
    Object item(single[i], where);
    if (item.find("Sequence") != nullptr) {
      if (behind) throw InputError(where + ": expected the text once, found it again");
      behind = true;
      Object text(item.at("Sequence", "an object"), where + ".Sequence");
      if (text.text("id") != "A") text.fail("id", "\"A\", the only text");
    } else {
      Object special(item.at("SpecialToken", "an object"), where + ".SpecialToken");
      const std::string id = special.text("id");
      if (!names.is_object() || !names.contains(id)) special.fail("id", "a name of special_tokens");
      Object token(names[id], part.where() + ".special_tokens." + printable(id));
      for (const json& each : token.list("ids")) {
        const bool exists = each.is_number_unsigned() && each.get<uint64_t>() < file_.exists.size() && file_.exists[each.get<size_t>()];
        if (!exists) token.fail("ids", "ids of tokens");
        (behind ? file_.behind : file_.before).push_back(each.get<int32_t>());
      }
    }
    item.finish();
  }
  if (!behind) throw InputError(part.where() + ".single: expected the text {\"Sequence\": {\"id\": \"A\", …}}, found none");
}

void Reader::read_decoder(const json& value, const std::string& where) const {
  Object part(value, where);
  const std::string type = part.text("type");
  if (type == "Sequence") {
    const json& list = part.list("decoders");
    if (list.size() != 1) part.fail("decoders", "one decoder, ByteLevel");
    read_decoder(list[0], where + ".decoders[0]");
  } else if (type == "ByteLevel") {
    for (const char* key : {"add_prefix_space", "trim_offsets", "use_regex"}) part.boolean(key, true);  // have no effect here
  } else {
    part.fail("type", "ByteLevel");
  }
  part.finish();
}

}  // namespace

TokenizerFile parse_tokenizer_json(std::string_view text, const std::string& where) { return Reader(text, where).read(); }

}  // namespace cohort::text::bpe
