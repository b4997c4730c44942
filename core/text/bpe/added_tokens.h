#pragma once
/// Tokens that are looked for in the text itself, before it is split: <|im_start|>, <think>, …

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text::bpe {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool single_word = false;  ///< not beside a word character (\w)
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
  bool normalized = true;    ///< looked for in the normalised text, as its own normalised content
  bool special = false;      ///< left out by decoding where special tokens are skipped
};

/// A stretch of the text, in bytes: an added token or, with id -1, text between them.
struct Segment {
  int32_t id;
  uint32_t begin, end;
};

/// Finds the leftmost of all tokens, of those that begin there the longest, and goes on behind it. Immutable after finish() and safe to
/// share between threads. Time is linear in the text, however long the tokens are (Aho and Corasick, CACM 18/6, 1975, over the reversed
/// text: there all tokens that begin at a byte end at it).
class TokenFinder {
 public:
  TokenFinder() : nodes_(1) {}
  /// `text` is what is looked for, which is not empty; of two tokens with the same text the first counts.
  void add(std::string_view text, const AddedToken& token);
  /// After the last add(), before find().
  void finish();
  bool empty() const { return flags_.empty(); }

  /// The whole text in order; segments of text are not empty. A token that takes white space may overlap the one before it. With `open`, as
  /// long as the text, only names of which all bytes are open count; white space that they take need not be.
  std::vector<Segment> find(std::string_view text, const std::vector<bool>* open = nullptr) const;

 private:
  struct Node {
    uint32_t first_child = 0, next_sibling = 0;  // 0: none, as the root is neither
    uint8_t byte = 0;
    int32_t token = -1;     // index into flags_: the longest that ends here; -1: none
    uint32_t fallback = 0;  // the node of the longest proper suffix that is one
  };
  struct Flags {
    int32_t id;
    uint32_t length;
    bool single_word, lstrip, rstrip;
  };

  uint32_t child(uint32_t node, uint8_t byte) const;
  uint32_t step(uint32_t node, uint8_t byte) const;

  std::vector<Node> nodes_;  // of the tokens written backwards
  std::vector<Flags> flags_;
  uint32_t root_children_[256] = {};
};

}  // namespace cohort::text::bpe
