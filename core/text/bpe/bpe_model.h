#pragma once
/// Byte-level byte pair encoding (Sennrich et al., ACL 2016; GPT-2): the bytes of a piece, joined by the merge of lowest rank, the leftmost
/// of equals, until no two neighbours merge.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text::bpe {

/// Two tokens become one. The rank is the place in the list of merges.
struct Merge {
  int32_t left, right, result;
};

/// A token and the bytes of the piece that it stands for.
struct PlacedToken {
  int32_t id;
  uint32_t begin, end;
};

/// Immutable and safe to share between threads; each thread remembers words that it has seen.
class BpeModel {
 public:
  /// byte_ids: the token of each byte, -1 where there is none: such a byte is left out, as `tokenizers` does. Of two merges of the same
  /// pair the later counts.
  BpeModel(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges);

  /// Appends the tokens of a piece.
  void encode(std::string_view piece, std::vector<int32_t>& ids) const;
  void encode(std::string_view piece, std::vector<PlacedToken>& tokens) const;

 private:
  struct Slot {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    int32_t result = 0;
  };
  struct Symbol;
  struct Scratch;
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static uint64_t pair_of(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  size_t place_of(uint64_t pair) const;
  const Slot* find(int32_t left, int32_t right) const;
  void start(std::string_view piece, std::vector<Symbol>& symbols) const;
  void merge(Scratch& scratch) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
  uint64_t serial_;          // of this model in this process: what threads remember belongs to one model
};

}  // namespace cohort::text::bpe
