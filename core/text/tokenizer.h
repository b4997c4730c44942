#pragma once
/// Text to token ids and back.
///
/// Ordinary text never becomes a special token: encode("<think>") gives the bytes of that word, so what a user writes cannot open or
/// close a part of the conversation. Special tokens are put in by id (template.h). decode() writes a special token as its name.
///
/// Three kinds: bytes and chars, made from a TokenizerConfig, and that of a published model, read from its tokenizer.json
/// (bpe/bpe_tokenizer.h).

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
    v.choice("type", type, {"bytes", "chars", "model"},
             "bytes: every byte is a token (272 ids with the special tokens); chars: one token per letter of `alphabet`; model: that of "
             "the folder model.path");
    v.text("alphabet", alphabet, "chars only: the letters, distinct printable ASCII");
    v.rule(type != "chars" || valid_alphabet(alphabet), "alphabet", "1 to 94 distinct printable ASCII characters", "\"" + alphabet + "\"");
  }
  static bool valid_alphabet(std::string_view alphabet);
};

/// What a tokenizer knows of its tokens.
struct TokenTable {
  enum class Kind : uint8_t {
    kOrdinary,
    kHole,     ///< no token has the id
    kAdded,    ///< special_id() finds it; decoding writes it
    kSkipped,  ///< the same, but left out where special tokens are skipped
  };
  std::vector<std::string> pieces;                     ///< by id: the bytes that decode() writes
  std::vector<Kind> kinds;                             ///< by id
  std::vector<std::pair<std::string, int32_t>> names;  ///< of the special tokens; sorted by the constructor
  std::vector<int32_t> end_ids;                        ///< end completions; the first is the one that is written
  std::optional<int32_t> begin_id, pad_id;
};

enum class SpecialTokens { kKeep, kSkip };

class ChatTemplate;

/// Immutable and safe to share between threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// How the model writes conversations down; null where the tokenizer comes without. InputError for one that cannot be used.
  virtual const ChatTemplate* chat_template() const { return nullptr; }

  /// Plain text only, see above. InputError when the text holds something that this tokenizer cannot write (chars).
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;

  /// What `tokenizers` makes of the text: names of special tokens in it become those tokens, and with `add_special_tokens` come what the
  /// post-processor of tokenizer.json puts around a text. Tokenizers that were not published do as encode() does.
  virtual std::vector<int32_t> encode_with_added_tokens(std::string_view text, bool add_special_tokens) const;

  /// The same without the post-processor, and a name becomes its token only where all its bytes are `open` (as long as the text): for text
  /// of which a part comes from a user. All is encoded as one text.
  virtual std::vector<int32_t> encode_with_tokens_where(std::string_view text, const std::vector<bool>& open) const;

  /// The result need not be valid UTF-8 (utf8.h: replace_invalid). An id without token gives nothing. Fault for an id outside
  /// [0, vocabulary_size()). kSkip leaves out what `tokenizers` calls special: <|im_end|>, but not <think>.
  std::string decode(std::span<const int32_t> ids, SpecialTokens specials = SpecialTokens::kKeep) const;
  /// The bytes of one token; empty for an id without token.
  const std::string& piece(int32_t id) const;

  /// By name, e.g. kThinkOpen; nullopt where this tokenizer has no such token.
  std::optional<int32_t> special_id(std::string_view name) const;
  /// Ordinary text never becomes it.
  bool is_special(int32_t id) const;
  /// False for ids outside the vocabulary too.
  bool has_token(int32_t id) const;

  int32_t vocabulary_size() const { return static_cast<int32_t>(table_.pieces.size()); }  ///< ids are below it
  const std::vector<int32_t>& missing_ids() const { return missing_ids_; }                ///< of them those without token, ascending

  /// Ends a completion: the one that training writes. InputError where a published tokenizer names none.
  int32_t end_id() const;
  /// All that end a completion: of tokenizer_config.json and generation_config.json. May be empty.
  const std::vector<int32_t>& end_ids() const { return table_.end_ids; }
  bool is_end(int32_t id) const;
  /// Begins a text, where the tokenizer names one.
  std::optional<int32_t> bos_id() const { return table_.begin_id; }
  /// What texts begin with that no chat template writes: nothing, unless a published tokenizer asks for it.
  virtual std::vector<int32_t> begin_ids() const { return {}; }
  int32_t pad_id() const { return table_.pad_id ? *table_.pad_id : end_id(); }  ///< fills batches; the end token where there is no own one

  /// What it is: two tokenizers with equal values are the same.
  virtual nlohmann::json to_json() const = 0;
  /// Writes what load_tokenizer(folder) needs to build it again.
  virtual void save(const std::string& folder) const;

 protected:
  /// `ordinary` pieces take the first ids, `specials` the next ones. kEnd must be among the specials.
  Tokenizer(std::vector<std::string> ordinary, const std::vector<std::string>& specials);
  explicit Tokenizer(TokenTable table);

  const TokenTable& table() const { return table_; }

 private:
  TokenTable table_;
  std::vector<int32_t> missing_ids_;
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

/// For `bytes` and `chars`. `model` needs the folder of a model: InputError.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerConfig& config);

/// Beside the model that was trained with it: FOLDER/cohort_tokenizer.json for bytes and chars, FOLDER/tokenizer.json with its companions
/// for a published one. The first counts where both are there. Reading is strict: InputError for anything unknown.
inline constexpr const char* kTokenizerFile = "cohort_tokenizer.json";
inline constexpr const char* kPublishedTokenizerFile = "tokenizer.json";
void save_tokenizer(const Tokenizer& tokenizer, const std::string& folder);
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& folder);
/// Whether the folder has either file.
bool has_tokenizer(const std::string& folder);

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
