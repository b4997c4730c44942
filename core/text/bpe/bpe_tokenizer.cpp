#include "core/text/bpe/bpe_tokenizer.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/folder.h"
#include "core/base/hash.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "core/text/bpe/published_roles.h"
#include "core/text/bpe/unicode_tables.h"
#include "core/text/utf8.h"

namespace cohort::text::bpe {
namespace {

constexpr uint64_t kMaxTokenizerBytes = uint64_t{1} << 27;
constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 24;
constexpr const char* kConfigName = "tokenizer_config.json";
constexpr const char* kGenerationName = "generation_config.json";
constexpr const char* kChatName = "chat_template.jinja";

/// What a token with `normalized` is looked for as, and decoded to.
std::string normalized_content(const AddedToken& token, bool use_nfc) {
  return use_nfc && !is_quickly_nfc(token.content) ? nfc(token.content, nullptr) : token.content;
}

TokenTable table_of(TokenizerFile& file, const TokenRoles& roles) {
  TokenTable table;
  table.pieces = std::move(file.pieces);
  for (const bool exists : file.exists) table.kinds.push_back(exists ? TokenTable::Kind::kOrdinary : TokenTable::Kind::kHole);
  for (const AddedToken& token : file.added_tokens) {
    table.kinds[static_cast<size_t>(token.id)] = token.special ? TokenTable::Kind::kSkipped : TokenTable::Kind::kAdded;
    table.names.emplace_back(token.content, token.id);
    if (token.normalized) table.pieces[static_cast<size_t>(token.id)] = decoded_piece(normalized_content(token, file.nfc));
  }
  table.end_ids = roles.end_ids;
  table.begin_id = roles.begin_id, table.pad_id = roles.pad_id;
  return table;
}

std::vector<int32_t> begin_ids_of(const TokenRoles& roles, const std::vector<int32_t>& before) {
  if (!roles.adds_begin) return before;
  return *roles.adds_begin ? std::vector<int32_t>{roles.begin_id.value()} : std::vector<int32_t>{};
}

uint64_t hash_of(std::string_view bytes) {
  uint64_t hash = bytes.size();
  for (const char byte : bytes) hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3u;
  return hash ^ hash >> 31;
}

/// The whole characters that the bytes [begin, end) belong to.
Span characters_around(std::string_view text, uint32_t begin, uint32_t end) {
  const auto continues = [&](uint32_t i) { return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0u) == 0x80u; };
  while (begin > 0 && continues(begin)) --begin;
  while (continues(end)) ++end;
  return {begin, end};
}

/// Byte offsets of a text to offsets in characters.
void count_characters(std::string_view text, std::vector<Span>& spans) {
  std::vector<uint32_t> characters(text.size() + 1);
  uint32_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    const size_t length = character_at(text, i).length;
    for (size_t k = 0; k < length; ++k) characters[i + k] = count;
    i += length;
  }
  characters[text.size()] = count;
  for (Span& span : spans) span = {characters[span.begin], characters[span.end]};
}

/// For the bytes of a normalised segment, of which `alignment`, null where it is unchanged, says where they come from: whether all of that
/// is open.
std::vector<bool> open_bytes(const std::vector<bool>& open, uint32_t shift, size_t size, const std::vector<Span>* alignment) {
  std::vector<bool> result(size);
  for (uint32_t i = 0; i < size; ++i) {
    const Span from = alignment == nullptr ? Span{i, i + 1} : (*alignment)[i];
    const auto begin = open.begin() + from.begin + shift, end = open.begin() + from.end + shift;
    result[i] = std::find(begin, end, false) == end;
  }
  return result;
}

/// White space at both ends of a token, as `tokenizers` counts it.
struct Edges {
  uint32_t leading = 0, trailing = 0;
};

Edges edges_of(std::string_view text, bool bytes_of_model) {
  std::vector<bool> spaces;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    const bool space = bytes_of_model ? c.code == ' ' : c.code == 0x120 || (c.valid && (code_flags()[c.code] & kSpace) != 0);
    spaces.push_back(space);
    i += c.length;
  }
  const auto leading = std::find(spaces.begin(), spaces.end(), false) - spaces.begin();
  const auto trailing = std::find(spaces.rbegin(), spaces.rend(), false) - spaces.rbegin();
  return {static_cast<uint32_t>(leading), static_cast<uint32_t>(trailing)};
}

/// What the post-processor ByteLevel does with trim_offsets.
void trim(std::vector<Span>& spans, const std::vector<Edges>& edges, bool keeps_prefix_space) {
  for (size_t i = 0; i < spans.size(); ++i) {
    Span& span = spans[i];
    uint32_t leading = edges[i].leading;
    if (keeps_prefix_space && leading == 1 && (i == 0 || span.begin == 0)) leading = 0;
    span.begin = std::min(span.begin + leading, span.end);
    if (span.end >= edges[i].trailing) span.end = std::max(span.end - edges[i].trailing, span.begin);
  }
}

}  // namespace

/// Where tokens go, and from which text they come now.
struct BpeTokenizer::Sink {
  std::vector<int32_t> ids;
  bool wants_offsets = false;
  const std::vector<bool>* open = nullptr;       // of the whole text: bytes that may be of an added token's name; null: all
  std::vector<Span> spans = {};                  // in bytes of the whole text
  std::vector<Edges> edges = {};                 // filled where spans are
  std::string_view text = {};                    // the normalised segment
  const std::vector<Span>* alignment = nullptr;  // of its bytes; null: it is the segment itself
  uint32_t shift = 0;                            // where the segment begins in the whole text

  /// A token that stands for the bytes [begin, end) of `text`, which are not none.
  void place(uint32_t begin, uint32_t end, Edges token_edges) {
    const bool straight = alignment == nullptr;
    const Span span = straight ? characters_around(text, begin, end) : Span{(*alignment)[begin].begin, (*alignment)[end - 1].end};
    spans.push_back({span.begin + shift, span.end + shift});
    edges.push_back(token_edges);
  }
};

BpeTokenizer::BpeTokenizer(PublishedFiles files, TokenizerFile parsed, const TokenRoles& roles, ChatSource chat)
    : Tokenizer(table_of(parsed, roles)),
      files_(std::move(files)),
      chat_(std::move(chat)),
      nfc_(parsed.nfc),
      pre_tokenizer_(std::move(parsed.pre_tokenizer)),
      model_(parsed.byte_ids, parsed.merges),
      before_(std::move(parsed.before)),
      behind_(std::move(parsed.behind)),
      trims_offsets_(parsed.trims_offsets),
      keeps_prefix_space_(parsed.keeps_prefix_space),
      begin_ids_(begin_ids_of(roles, before_)) {
  for (const bool special : {true, false})  // of two with the same text, `tokenizers` takes the special one
    for (const AddedToken& token : parsed.added_tokens) {
      if (token.special != special) continue;
      if (token.normalized) {
        normalized_finder_.add(normalized_content(token, nfc_), token);
      } else {
        raw_finder_.add(token.content, token);
      }
    }
  raw_finder_.finish(), normalized_finder_.finish();
  if (parsed.ignore_merges) index_whole_words(parsed.whole_words);
}

void BpeTokenizer::index_whole_words(const std::vector<int32_t>& ids) {
  whole_words_.assign(std::bit_ceil(2 * ids.size() + 2), -1);
  for (const int32_t id : ids) {
    size_t place = hash_of(piece(id)) & (whole_words_.size() - 1);
    while (whole_words_[place] >= 0) place = (place + 1) & (whole_words_.size() - 1);
    whole_words_[place] = id;
  }
}

/// The token that a piece is by itself, -1 where there is none. Plain text is no special token.
int32_t BpeTokenizer::whole_word(std::string_view bytes, bool plain) const {
  if (whole_words_.empty()) return -1;
  size_t place = hash_of(bytes) & (whole_words_.size() - 1);
  while (whole_words_[place] >= 0 && piece(whole_words_[place]) != bytes) place = (place + 1) & (whole_words_.size() - 1);
  const int32_t id = whole_words_[place];
  return plain && is_special(id) ? -1 : id;
}

void BpeTokenizer::encode_piece(std::string_view text, const Piece& part, bool plain, Sink& sink) const {
  std::string with_space;
  std::string_view bytes = text.substr(part.begin, part.end - part.begin);
  if (part.space_before) bytes = with_space = " " + std::string(bytes);
  const int32_t word = whole_word(bytes, plain);
  if (!sink.wants_offsets) {
    if (word >= 0) return sink.ids.push_back(word);
    return model_.encode(bytes, sink.ids);
  }
  std::vector<PlacedToken> tokens;
  if (word >= 0) {
    tokens.push_back({word, 0, static_cast<uint32_t>(bytes.size())});
  } else {
    model_.encode(bytes, tokens);
  }
  const auto first = static_cast<uint32_t>(text.data() - sink.text.data()) + part.begin;
  // A space that was put before stands for the first character.
  const auto begin_of = [&](uint32_t i) { return first + (part.space_before && i > 0 ? i - 1 : i); };
  for (const PlacedToken& token : tokens) {
    sink.ids.push_back(token.id);
    sink.place(begin_of(token.begin), std::max(begin_of(token.end - 1), first) + 1, edges_of(piece(token.id), true));
  }
}

/// Text without added tokens.
void BpeTokenizer::encode_words(std::string_view text, bool plain, Sink& sink) const {
  for (const Piece& part : pre_tokenizer_.split(text)) encode_piece(text, part, plain, sink);
}

/// Text between the added tokens that are looked for in the raw text.
void BpeTokenizer::encode_segment(std::string_view text, uint32_t shift, bool plain, Sink& sink) const {
  std::string normalized;
  std::vector<Span> alignment;
  const bool changes = nfc_ && !is_quickly_nfc(text);
  if (changes) text = normalized = nfc(text, sink.wants_offsets || sink.open != nullptr ? &alignment : nullptr);
  sink.text = text, sink.shift = shift, sink.alignment = changes ? &alignment : nullptr;
  if (plain || normalized_finder_.empty()) return encode_words(text, plain || sink.open != nullptr, sink);
  std::vector<bool> open;
  if (sink.open != nullptr) open = open_bytes(*sink.open, shift, text.size(), sink.alignment);
  for (const Segment& segment : normalized_finder_.find(text, sink.open != nullptr ? &open : nullptr)) {
    const std::string_view part = text.substr(segment.begin, segment.end - segment.begin);
    if (segment.id < 0) {
      encode_words(part, sink.open != nullptr, sink);
      continue;
    }
    sink.ids.push_back(segment.id);
    if (sink.wants_offsets) sink.place(segment.begin, segment.end, edges_of(part, false));
  }
}

void BpeTokenizer::encode_all(std::string_view text, bool add_special_tokens, Sink& sink) const {
  if (add_special_tokens) sink.ids = before_;
  const auto raw =
      raw_finder_.empty() ? std::vector<Segment>{{-1, 0, static_cast<uint32_t>(text.size())}} : raw_finder_.find(text, sink.open);
  for (const Segment& segment : raw) {
    const std::string_view part = text.substr(segment.begin, segment.end - segment.begin);
    if (segment.id < 0) {
      encode_segment(part, segment.begin, false, sink);
      continue;
    }
    sink.ids.push_back(segment.id);
    sink.text = text, sink.shift = 0, sink.alignment = nullptr;
    if (sink.wants_offsets) sink.place(segment.begin, segment.end, edges_of(part, false));
  }
  if (add_special_tokens) sink.ids.insert(sink.ids.end(), behind_.begin(), behind_.end());
}

namespace {

void require_length(std::string_view text) {
  if (text.size() > INT32_MAX) throw InputError(fmt::format("text: expected less than 2 GiB, found {} bytes", text.size()));
}

}  // namespace

std::vector<int32_t> BpeTokenizer::encode(std::string_view text) const {
  require_length(text);
  Sink sink;
  sink.ids.reserve(text.size() / 4);
  encode_segment(text, 0, true, sink);
  return std::move(sink.ids);
}

std::vector<int32_t> BpeTokenizer::encode_with_added_tokens(std::string_view text, bool add_special_tokens) const {
  require_length(text);
  Sink sink;
  sink.ids.reserve(text.size() / 4);
  encode_all(text, add_special_tokens, sink);
  return std::move(sink.ids);
}

std::vector<int32_t> BpeTokenizer::encode_with_tokens_where(std::string_view text, const std::vector<bool>& open) const {
  require_length(text);
  Sink sink;
  sink.ids.reserve(text.size() / 4);
  sink.open = &open;
  encode_all(text, false, sink);
  return std::move(sink.ids);
}

Encoding BpeTokenizer::encode_with_offsets(std::string_view text, bool add_special_tokens) const {
  require_length(text);
  Sink sink;
  sink.wants_offsets = true;
  encode_all(text, add_special_tokens, sink);
  count_characters(text, sink.spans);
  if (trims_offsets_) trim(sink.spans, sink.edges, keeps_prefix_space_);
  if (add_special_tokens) {
    sink.spans.insert(sink.spans.begin(), before_.size(), Span{});
    sink.spans.insert(sink.spans.end(), behind_.size(), Span{});
  }
  return {std::move(sink.ids), std::move(sink.spans)};
}

nlohmann::json BpeTokenizer::to_json() const {
  Hasher hasher;
  hasher.update(files_.tokenizer);
  Hasher companions;  // chat template, first and filling tokens
  companions.update(files_.tokenizer_config);
  companions.update(files_.chat_template);
  return {{"type", "model"},
          {"tokenizer.json", "xxh3:" + hasher.hex()},
          {"companions", "xxh3:" + companions.hex()},
          {"vocabulary_size", vocabulary_size()},
          {"end_ids", end_ids()}};
}

void BpeTokenizer::save(const std::string& folder) const {
  write_file_atomic(folder + "/" + kPublishedTokenizerFile, files_.tokenizer);
  if (!files_.tokenizer_config.empty()) write_file_atomic(folder + "/" + kConfigName, files_.tokenizer_config);
  if (!files_.generation_config.empty()) write_file_atomic(folder + "/" + kGenerationName, files_.generation_config);
  if (!files_.chat_template.empty()) write_file_atomic(folder + "/" + kChatName, files_.chat_template);
}

const ChatTemplate* BpeTokenizer::chat_template() const {
  if (!chat_.problem.empty()) throw InputError(chat_.problem);
  return chat_.chat_template.get();
}

namespace {

ChatSource load_chat(const std::string& folder) {
  ChatSource chat;
  try {
    chat.chat_template = load_chat_template(folder);
  } catch (const InputError& error) {
    chat.problem = error.what();
  }
  return chat;
}

}  // namespace

std::unique_ptr<BpeTokenizer> load_bpe_tokenizer(const std::string& folder) {
  const Folder opened(folder);
  const auto optional_file = [&](const char* name) { return opened.has(name) ? opened.read(name, kMaxConfigBytes) : std::string(); };
  const std::string path = opened.place(kPublishedTokenizerFile);
  PublishedFiles files;
  files.tokenizer = opened.read(kPublishedTokenizerFile, kMaxTokenizerBytes);
  files.tokenizer_config = optional_file(kConfigName);
  files.generation_config = optional_file(kGenerationName);
  files.chat_template = optional_file(kChatName);
  TokenizerFile parsed = parse_tokenizer_json(files.tokenizer, path);
  TokenRoles roles = read_tokenizer_config(files.tokenizer_config, parsed, folder + "/" + kConfigName);
  add_end_ids(files.generation_config, parsed, folder + "/" + kGenerationName, roles);
  if (roles.end_ids.empty()) add_end_ids(optional_file("config.json"), parsed, folder + "/config.json", roles);
  const auto lacking = std::count(parsed.byte_ids.begin(), parsed.byte_ids.end(), -1);
  if (lacking > 0) log_warn("{}: {} of the 256 bytes have no token; text loses them, as it does in `tokenizers`", path, lacking);
  return std::make_unique<BpeTokenizer>(std::move(files), std::move(parsed), roles, load_chat(folder));
}

}  // namespace cohort::text::bpe
