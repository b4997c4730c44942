#pragma once
/// The tokenizer of a published model: tokenizer.json with tokenizer_config.json and generation_config.json, in the folder of the model.
///
/// encode_with_added_tokens() gives the ids of the Python package `tokenizers` 0.23, Tokenizer.encode(). encode() leaves out its first
/// step, the search for added tokens in the text. Bytes that are not UTF-8, which `tokenizers` cannot be given, belong to no class of
/// characters. Of the folder only files inside it are read (core/base/folder.h).
///
/// With special tokens, what comes around a text is what the post-processor of tokenizer.json says, and add_bos_token and add_eos_token of
/// tokenizer_config.json say nothing. So does AutoTokenizer of `transformers` 5.24, which drops both where there is a tokenizer.json; but
/// of the class GPTNeoXTokenizer, which is that of no family here, it drops the post-processor too.

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/bpe/added_tokens.h"
#include "core/text/bpe/bpe_model.h"
#include "core/text/bpe/normalizer.h"
#include "core/text/bpe/tokenizer_json.h"
#include "core/text/chat/chat_template.h"
#include "core/text/tokenizer.h"

namespace cohort::text::bpe {

/// Ids with the stretches of the text, in characters (not bytes), that they stand for; 0 to 0 for what the post-processor adds.
struct Encoding {
  std::vector<int32_t> ids;
  std::vector<Span> offsets;
};

/// The companions of tokenizer.json as far as they say something about tokens.
struct TokenRoles {
  std::vector<int32_t> end_ids;
  std::optional<int32_t> begin_id, pad_id;
  std::optional<bool> adds_begin;  ///< add_bos_token; then there is a begin_id
};

/// The bytes of the files; empty where there is none.
struct PublishedFiles {
  std::string tokenizer, tokenizer_config, generation_config, chat_template;
};

/// The model's chat template: neither where there is none; `problem` says why it cannot be used, which matters only to who wants to.
struct ChatSource {
  std::unique_ptr<ChatTemplate> chat_template;
  std::string problem;
};

class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(PublishedFiles files, TokenizerFile parsed, const TokenRoles& roles, ChatSource chat);

  const ChatTemplate* chat_template() const override;

  std::vector<int32_t> encode(std::string_view text) const override;
  std::vector<int32_t> encode_with_added_tokens(std::string_view text, bool add_special_tokens) const override;
  std::vector<int32_t> encode_with_tokens_where(std::string_view text, const std::vector<bool>& open) const override;
  Encoding encode_with_offsets(std::string_view text, bool add_special_tokens) const;

  /// bos_id() or nothing, as add_bos_token of tokenizer_config.json says; where it does not say, what the post-processor of tokenizer.json
  /// puts before a text.
  std::vector<int32_t> begin_ids() const override { return begin_ids_; }

  nlohmann::json to_json() const override;
  /// Writes the files as they were read, byte for byte.
  void save(const std::string& folder) const override;

 private:
  struct Sink;
  void encode_all(std::string_view text, bool add_special_tokens, Sink& sink) const;
  void encode_segment(std::string_view text, uint32_t shift, bool plain, Sink& sink) const;
  void encode_words(std::string_view text, bool plain, Sink& sink) const;
  void encode_piece(std::string_view text, const Piece& piece, bool plain, Sink& sink) const;
  int32_t whole_word(std::string_view piece, bool plain) const;
  void index_whole_words(const std::vector<int32_t>& ids);

  PublishedFiles files_;
  ChatSource chat_;
  bool nfc_;
  PreTokenizer pre_tokenizer_;
  BpeModel model_;
  TokenFinder raw_finder_, normalized_finder_;
  std::vector<int32_t> before_, behind_;
  bool trims_offsets_, keeps_prefix_space_;
  std::vector<int32_t> begin_ids_;
  std::vector<int32_t> whole_words_;  // ids by the hash of their bytes, -1 where there is none; empty without ignore_merges
};

/// InputError that names file and key for whatever is wrong in the folder.
std::unique_ptr<BpeTokenizer> load_bpe_tokenizer(const std::string& folder);

}  // namespace cohort::text::bpe
