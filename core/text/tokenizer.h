#pragma once
/// Text to token ids and back.
///
/// Ordinary text never becomes a special token: encode("<think>") gives the bytes of that word, so what a user writes cannot open or
/// close a part of the conversation. Special tokens are put in by id (template.h). decode() writes a special token as its name.

#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/config/field.h"

namespace cohort::text {

inline constexpr const char* kBegin = "<|begin|>";
inline constexpr const char* kEnd = "<|end|>";
inline constexpr const char* kUser = "<|User|>";
inline constexpr const char* kAssistant = "<|Assistant|>";
inline constexpr const char* kThinkOpen = "<think>";
inline constexpr const char* kThinkClose = "</think>";
inline constexpr const char* kAnswerOpen = "<answer>";
inline constexpr const char* kAnswerClose = "</answer>";
inline constexpr const char* kPad = "<|pad|>";

struct TokenizerConfig {
  std::string type = "bytes";
  std::string alphabet = "0123456789+=";

  template <class Visitor>
  void visit(Visitor& v) {
    v.choice("type", type, {"bytes", "chars"},
             "bytes: every byte is a token (272 ids with the special tokens); chars: one token per letter of `alphabet`");
    v.text("alphabet", alphabet, "chars only: the letters, distinct printable ASCII");
    v.rule(type != "chars" || valid_alphabet(alphabet), "alphabet", "1 to 94 distinct printable ASCII characters", "\"" + alphabet + "\"");
  }
  static bool valid_alphabet(std::string_view alphabet);
};

/// Immutable and safe to share between threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Plain text only, see above. InputError when the text holds something that this tokenizer cannot write (chars).
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;

  /// Skips nothing. The result need not be valid UTF-8 (utf8.h: replace_invalid). Fault for an id outside [0, vocabulary_size()).
  std::string decode(std::span<const int32_t> ids) const;
  /// The bytes of one token.
  const std::string& piece(int32_t id) const;

  /// By name, e.g. kThinkOpen; nullopt where this tokenizer has no such token.
  std::optional<int32_t> special_id(std::string_view name) const;
  bool is_special(int32_t id) const;

  int32_t vocabulary_size() const { return static_cast<int32_t>(pieces_.size()); }  ///< every id below it is a token
  int32_t end_id() const { return end_id_; }                                        ///< ends a completion
  int32_t pad_id() const { return pad_id_; }  ///< fills batches; the end token where there is no own one

  /// What load_tokenizer() needs to build it again.
  virtual nlohmann::json to_json() const = 0;

 protected:
  /// `ordinary` pieces take the first ids, `specials` the next ones. kEnd must be among the specials.
  Tokenizer(std::vector<std::string> ordinary, const std::vector<std::string>& specials);

 private:
  std::vector<std::string> pieces_;
  size_t ordinary_count_;
  int32_t end_id_;
  int32_t pad_id_;
};

/// Ids 0-255 are the bytes, then the special tokens above in their order, then reserved ones up to 272.
class ByteTokenizer final : public Tokenizer {
 public:
  ByteTokenizer();
  std::vector<int32_t> encode(std::string_view text) const override;
  nlohmann::json to_json() const override;
};

/// One token per letter of an alphabet plus the end token, and nothing else: for the smallest experiments.
class CharTokenizer final : public Tokenizer {
 public:
  explicit CharTokenizer(const std::string& alphabet);  ///< InputError unless valid_alphabet
  std::vector<int32_t> encode(std::string_view text) const override;
  nlohmann::json to_json() const override;

 private:
  std::string alphabet_;
};

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerConfig& config);

/// FOLDER/cohort_tokenizer.json, beside the model that was trained with it. Reading is strict: InputError for anything unknown.
inline constexpr const char* kTokenizerFile = "cohort_tokenizer.json";
void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder);
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder);

/// Turns ids into text as they come, never inside a UTF-8 character. All pieces together are exactly decode() of all ids.
class IncrementalDecoder {
 public:
  explicit IncrementalDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(int32_t id);  ///< what has become complete; bytes that can no longer become a character are passed on as they are
  std::string finish();          ///< what is left

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;  // at most 3 bytes: the beginning of a character
};

}  // namespace cohort::text
