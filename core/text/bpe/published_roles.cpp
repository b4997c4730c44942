#include "core/text/bpe/published_roles.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/text_util.h"

namespace cohort::text::bpe {
namespace {

using nlohmann::json;

json read_object(const std::string& text, const std::string& where) {
  json object = parse_json(text, where);
  if (!object.is_object()) throw InputError(fmt::format("{}: expected an object, found {}", where, object.type_name()));
  return object;
}

class Names {
 public:
  Names(const TokenizerFile& tokenizer, const std::string& where) : tokenizer_(tokenizer), where_(where) {
    for (const AddedToken& token : tokenizer.added_tokens) ids_.emplace(token.content, token.id);
  }

  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& found) const {
    throw InputError(fmt::format("{}: {}: expected {}, found {}", where_, key, expected, found));
  }

  std::optional<int32_t> role(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::nullopt;
    const json& content = found->is_object() && found->contains("content") ? found->at("content") : *found;
    if (!content.is_string()) fail(key, "a token or null", found->type_name());
    const auto id = ids_.find(content.get<std::string>());
    if (id == ids_.end()) fail(key, "one of the added_tokens of tokenizer.json", "\"" + printable(content.get<std::string>()) + "\"");
    return id->second;
  }

  std::optional<bool> flag(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::nullopt;
    if (!found->is_boolean()) fail(key, "true or false", found->type_name());
    return found->get<bool>();
  }

  void check_decoder(const json& object) const {
    const auto decoder = object.find("added_tokens_decoder");
    if (decoder == object.end() || decoder->is_null()) return;
    if (!decoder->is_object()) fail("added_tokens_decoder", "an object", decoder->type_name());
    for (const auto& [key, token] : decoder->items()) {
      const std::string name = "added_tokens_decoder." + printable(key);
      if (!token.is_object() || !token.contains("content") || !token["content"].is_string())
        fail(name, "a token with content", token.type_name());
      const std::string content = token["content"].get<std::string>();
      const auto id = ids_.find(content);
      if (id == ids_.end()) fail(name, "one of the added_tokens of tokenizer.json", "\"" + printable(content) + "\"");
      if (key != std::to_string(id->second))
        fail(name, fmt::format("\"{}\" as the token {}, as in tokenizer.json", printable(content), id->second), printable(key));
    }
  }

  void add_end(const json& id, TokenRoles& roles) const {
    const bool known = id.is_number_unsigned() && id.get<uint64_t>() < tokenizer_.exists.size() && tokenizer_.exists[id.get<size_t>()];
    if (!known) fail("eos_token_id", "ids of tokens of tokenizer.json", printable(id.dump()));
    if (std::find(roles.end_ids.begin(), roles.end_ids.end(), id.get<int32_t>()) == roles.end_ids.end())
      roles.end_ids.push_back(id.get<int32_t>());
  }

 private:
  const TokenizerFile& tokenizer_;
  const std::string& where_;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace

TokenRoles read_tokenizer_config(const std::string& text, const TokenizerFile& tokenizer, const std::string& where) {
  TokenRoles roles;
  if (text.empty()) return roles;
  const json object = read_object(text, where);
  const Names names(tokenizer, where);
  roles.begin_id = names.role(object, "bos_token");
  if (const auto end = names.role(object, "eos_token")) roles.end_ids.push_back(*end);
  roles.pad_id = names.role(object, "pad_token");
  roles.adds_begin = names.flag(object, "add_bos_token");
  if (roles.adds_begin.value_or(false) && !roles.begin_id) names.fail("add_bos_token", "a bos_token with it", "true without one");
  names.check_decoder(object);
  return roles;
}

void add_end_ids(const std::string& text, const TokenizerFile& tokenizer, const std::string& where, TokenRoles& roles) {
  if (text.empty()) return;
  const json object = read_object(text, where);
  const auto ids = object.find("eos_token_id");
  if (ids == object.end() || ids->is_null()) return;
  const Names names(tokenizer, where);
  if (!ids->is_array()) return names.add_end(*ids, roles);
  for (const json& id : *ids) names.add_end(id, roles);
}

}  // namespace cohort::text::bpe
