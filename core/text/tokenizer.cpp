#include "core/text/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
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

Tokenizer::Tokenizer(std::vector<std::string> ordinary, const std::vector<std::string>& specials)
    : pieces_(std::move(ordinary)), ordinary_count_(pieces_.size()) {
  pieces_.insert(pieces_.end(), specials.begin(), specials.end());
  end_id_ = special_id(kEnd).value();
  pad_id_ = special_id(kPad).value_or(end_id_);
}

const std::string& Tokenizer::piece(int32_t id) const {
  if (id < 0 || id >= vocabulary_size())
    throw Fault("token id " + std::to_string(id) + " is outside the vocabulary of " + std::to_string(vocabulary_size()));
  return pieces_[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  for (const int32_t id : ids) text += piece(id);
  return text;
}

std::optional<int32_t> Tokenizer::special_id(std::string_view name) const {
  const auto found = std::find(pieces_.begin() + static_cast<std::ptrdiff_t>(ordinary_count_), pieces_.end(), name);
  if (found == pieces_.end()) return std::nullopt;
  return static_cast<int32_t>(found - pieces_.begin());
}

bool Tokenizer::is_special(int32_t id) const { return id >= static_cast<int32_t>(ordinary_count_) && id < vocabulary_size(); }

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
  throw InputError("tokenizer.type: expected bytes or chars, found " + printable(config.type));
}

void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder) {
  write_file_atomic(folder + "/" + kTokenizerFile, tokenizer.to_json().dump(1) + "\n");
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder) {
  const std::string path = folder + "/" + kTokenizerFile;
  const nlohmann::json object = parse_json(read_file(path, 1 << 16), path);
  if (!object.is_object()) throw InputError(path + ": expected an object, found " + object.type_name());
  TokenizerConfig config;
  config.type = require_string(object, "type", path);
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
