#pragma once
/// A tokenizer.json as published, read strictly: what is not byte-level BPE is refused by name, and no size in the file is believed.
///
/// What is read: model BPE (merges as "a b" or ["a","b"], ignore_merges); normalizer null, NFC, Sequence of them; pre_tokenizer Split,
/// Digits, ByteLevel, Sequence of them with one ByteLevel at the end; post_processor null, ByteLevel, TemplateProcessing, Sequence of
/// them; decoder ByteLevel or a Sequence of one; truncation and padding null.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/text/bpe/added_tokens.h"
#include "core/text/bpe/bpe_model.h"
#include "core/text/bpe/splitter.h"

namespace cohort::text::bpe {

struct TokenizerFile {
  std::vector<std::string> pieces;  ///< by id: the bytes that the decoder writes; empty where no token has the id
  std::vector<bool> exists;         ///< by id
  std::array<int32_t, 256> byte_ids{};
  std::vector<Merge> merges;
  bool ignore_merges = false;
  std::vector<int32_t> whole_words;  ///< ids of the model's vocabulary that a piece can be: for ignore_merges

  std::vector<AddedToken> added_tokens;  ///< in the order of the file
  bool nfc = false;
  PreTokenizer pre_tokenizer;
  std::vector<int32_t> before, behind;  ///< what TemplateProcessing puts around a text
  bool trims_offsets = false;           ///< of the post-processor ByteLevel: without white space at the ends
  bool keeps_prefix_space = false;      ///< but with the one that add_prefix_space has put there
};

/// InputError "WHERE: key: expected …, found …", where `where` is the path of the file.
TokenizerFile parse_tokenizer_json(std::string_view text, const std::string& where);

}  // namespace cohort::text::bpe
