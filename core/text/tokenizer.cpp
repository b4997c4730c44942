#include "core/text/tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/folder.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/text/bpe/bpe_tokenizer.h"
#include "core/text/utf8.h"

namespace cohort::text {
namespace {

constexpr size_t kByteVocabulary = 272;

std::vector<std::string> byte_pieces() {
  std::vector<std::string> pieces;
  for (int byte = 0; byte < 256; ++byte) pieces.emplace_back(1, static_cast<char>(byte));
  return pieces;
}

std::vector<std::string> byte_specials() {
  std::vector<std::string> names = {kBegin, kEnd, kUser, kAssistant, kThinkOpen, kThinkClose, kAnswerOpen, kAnswerClose, kPad};
  for (int i = 0; names.size() < kByteVocabulary - 256; ++i) names.push_back("<|reserved_" + std::to_string(i) + "|>");
  return names;
}

std::vector<std::string> char_pieces(const std::string& alphabet) {
  if (!TokenizerConfig::valid_alphabet(alphabet))
    throw InputError("tokenizer.alphabet: expected 1 to 94 distinct printable ASCII characters, found \"" + printable(alphabet) + "\"");
  std::vector<std::string> pieces;
  for (const char letter : alphabet) pieces.emplace_back(1, letter);
  return pieces;
}

std::string require_string(const nlohmann::json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string())
    throw InputError(where + ": " + key + ": expected a string, found " + (found == object.end() ? "nothing" : found->type_name()));
  return found->get<std::string>();
}

}  // namespace

bool TokenizerConfig::valid_alphabet(std::string_view alphabet) {
  if (alphabet.empty()) return false;
  for (size_t i = 0; i < alphabet.size(); ++i) {
    const char letter = alphabet[i];
    if (letter <= ' ' || letter > '~' || alphabet.find(letter, i + 1) != std::string_view::npos) return false;
  }
  return true;
}

namespace {

TokenTable table_of(std::vector<std::string> ordinary, const std::vector<std::string>& specials) {
  TokenTable table;
  table.pieces = std::move(ordinary);
  table.kinds.resize(table.pieces.size(), TokenTable::Kind::kOrdinary);
  for (const std::string& name : specials) {
    table.names.emplace_back(name, static_cast<int32_t>(table.pieces.size()));
    table.pieces.push_back(name);
    table.kinds.push_back(TokenTable::Kind::kSkipped);
    if (name == kEnd) table.end_ids.push_back(table.names.back().second);
    if (name == kBegin) table.begin_id = table.names.back().second;
    if (name == kPad) table.pad_id = table.names.back().second;
  }
  return table;
}

}  // namespace

Tokenizer::Tokenizer(std::vector<std::string> ordinary, const std::vector<std::string>& specials)
    : Tokenizer(table_of(std::move(ordinary), specials)) {}

Tokenizer::Tokenizer(TokenTable table) : table_(std::move(table)) {
  std::sort(table_.names.begin(), table_.names.end());
  for (size_t id = 0; id < table_.kinds.size(); ++id)
    if (table_.kinds[id] == TokenTable::Kind::kHole) missing_ids_.push_back(static_cast<int32_t>(id));
}

std::vector<int32_t> Tokenizer::encode_with_added_tokens(std::string_view text, bool) const { return encode(text); }

std::vector<int32_t> Tokenizer::encode_with_tokens_where(std::string_view text, const std::vector<bool>& open) const {
  std::vector<int32_t> ids;
  size_t done = 0;
  const auto encode_until = [&](size_t end) {
    const std::vector<int32_t> part = encode(text.substr(done, end - done));
    ids.insert(ids.end(), part.begin(), part.end());
  };
  const auto is_at = [&](const std::string& name, size_t i) {
    if (!text.substr(i).starts_with(name)) return false;
    const auto first = open.begin() + static_cast<std::ptrdiff_t>(i), last = first + static_cast<std::ptrdiff_t>(name.size());
    return std::find(first, last, false) == last;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (!open[i]) continue;
    const std::pair<std::string, int32_t>* longest = nullptr;
    for (const auto& name : table_.names)
      if (is_at(name.first, i) && (longest == nullptr || name.first.size() > longest->first.size())) longest = &name;
    if (longest == nullptr) continue;
    encode_until(i);
    ids.push_back(longest->second);
    done = i + longest->first.size();
    i = done - 1;
  }
  encode_until(text.size());
  return ids;
}

const std::string& Tokenizer::piece(int32_t id) const {
  if (id < 0 || id >= vocabulary_size())
    throw Fault("token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocabulary_size()));
  return table_.pieces[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const int32_t> ids, SpecialTokens specials) const {
  std::string text;
  for (const int32_t id : ids) {
    const std::string& bytes = piece(id);
    if (specials == SpecialTokens::kKeep || table_.kinds[static_cast<size_t>(id)] != TokenTable::Kind::kSkipped) text += bytes;
  }
  return text;
}

std::optional<int32_t> Tokenizer::special_id(std::string_view name) const {
  const auto found = std::partition_point(table_.names.begin(), table_.names.end(), [name](const auto& each) { return each.first < name; });
  if (found == table_.names.end() || found->first != name) return std::nullopt;
  return found->second;
}

bool Tokenizer::is_special(int32_t id) const {
  if (id < 0 || id >= vocabulary_size()) return false;
  const TokenTable::Kind kind = table_.kinds[static_cast<size_t>(id)];
  return kind == TokenTable::Kind::kAdded || kind == TokenTable::Kind::kSkipped;
}

bool Tokenizer::has_token(int32_t id) const {
  return id >= 0 && id < vocabulary_size() && table_.kinds[static_cast<size_t>(id)] != TokenTable::Kind::kHole;
}

int32_t Tokenizer::end_id() const {
  if (table_.end_ids.empty())
    throw InputError(
        "tokenizer: expected a token that ends an answer, eos_token in tokenizer_config.json or eos_token_id in "
        "generation_config.json, found none");
  return table_.end_ids.front();
}

bool Tokenizer::is_end(int32_t id) const { return std::find(table_.end_ids.begin(), table_.end_ids.end(), id) != table_.end_ids.end(); }

void Tokenizer::save(const std::string& folder) const { write_file_atomic(folder + "/" + kTokenizerFile, to_json().dump(1) + "\n"); }

ByteTokenizer::ByteTokenizer() : Tokenizer(byte_pieces(), byte_specials()) {}

std::vector<int32_t> ByteTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char byte : text) ids.push_back(static_cast<unsigned char>(byte));
  return ids;
}

nlohmann::json ByteTokenizer::to_json() const { return {{"type", "bytes"}, {"vocabulary_size", vocabulary_size()}}; }

CharTokenizer::CharTokenizer(const std::string& alphabet) : Tokenizer(char_pieces(alphabet), {kEnd}), alphabet_(alphabet) {}

std::vector<int32_t> CharTokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  ids.reserve(text.size());
  for (const char letter : text) {
    const size_t id = alphabet_.find(letter);
    if (id == std::string::npos)
      throw InputError("tokenizer.alphabet: expected letters of \"" + alphabet_ + "\", found \"" + printable(text) + "\"");
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

nlohmann::json CharTokenizer::to_json() const {
  return {{"type", "chars"}, {"alphabet", alphabet_}, {"vocabulary_size", vocabulary_size()}};
}

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerConfig& config) {
  if (config.type == "bytes") return std::make_unique<ByteTokenizer>();
  if (config.type == "chars") return std::make_unique<CharTokenizer>(config.alphabet);
  throw InputError("tokenizer.type: expected bytes or chars where no model.path is set, found " + printable(config.type));
}

void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder) { tokenizer.save(folder); }

bool has_tokenizer(const std::string& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder + "/" + kTokenizerFile, ignored) ||
         std::filesystem::exists(folder + "/" + kPublishedTokenizerFile, ignored);
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string path = folder + "/" + kTokenizerFile;
  const Folder files(folder);
  if (!has_tokenizer(folder))
    throw InputError(fmt::format("{}: expected {} or {}, found neither", folder, kPublishedTokenizerFile, kTokenizerFile));
  if (!files.has(kTokenizerFile)) return bpe::load_bpe_tokenizer(folder);
  const nlohmann::json object = parse_json(files.read(kTokenizerFile, 1 << 16), path);
  if (!object.is_object()) throw InputError(path + ": expected an object, found " + object.type_name());
  TokenizerConfig config;
  config.type = require_string(object, "type", path);
  if (config.type == "model") throw InputError(path + ": type: expected bytes or chars, found \"model\"");
  if (config.type == "chars") config.alphabet = require_string(object, "alphabet", path);
  std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(config);
  // Whatever differs from what we would have written is not ours: an unknown key, another size of vocabulary, an unused alphabet.
  if (tokenizer->to_json() != object)
    throw InputError(path + ": expected " + tokenizer->to_json().dump() + ", found " + printable(object.dump(), 200));
  return tokenizer;
}

std::string IncrementalDecoder::push(int32_t id) {
  pending_ += tokenizer_.piece(id);
  const size_t keep = incomplete_tail(pending_);
  std::string ready = pending_.substr(0, pending_.size() - keep);
  pending_.erase(0, pending_.size() - keep);
  return ready;
}

std::string IncrementalDecoder::finish() { return std::exchange(pending_, {}); }

}  // namespace cohort::text
