#include "core/text/bpe/bpe_model.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <functional>

#include "core/text/bpe/byte_alphabet.h"

namespace cohort::text::bpe {

/// A token of a word under way, linked to its neighbours.
struct BpeModel::Symbol {
  int32_t id;
  int32_t previous, next;  // -1: none
  uint32_t bytes;          // 0: it was merged into the one before
};

namespace {

struct Candidate {
  uint64_t order;  // rank, then place: the smallest is next
  int32_t result;
  bool operator>(const Candidate& other) const { return order > other.order; }
};

/// Words of one thread, each in the one slot that its hash gives. Fixed memory; a collision replaces.
class WordMemory {
 public:
  static constexpr size_t kMaxBytes = 26, kMaxTokens = 8;
  struct Word {
    uint64_t model = 0;
    uint8_t bytes = 0, tokens = 0;
    char text[kMaxBytes];
    uint8_t ends[kMaxTokens];
    int32_t ids[kMaxTokens];
  };

  static bool fits(std::string_view piece) { return piece.size() <= kMaxBytes; }
  Word& slot(uint64_t model, std::string_view piece) { return words_[hash(model, piece) & (kWords - 1)]; }
  static bool holds(const Word& word, uint64_t model, std::string_view piece) {
    return word.model == model && word.bytes == piece.size() && std::memcmp(word.text, piece.data(), piece.size()) == 0;
  }

 private:
  static constexpr size_t kWords = 1 << 15;
  static uint64_t hash(uint64_t model, std::string_view piece) {
    uint64_t h = model ^ piece.size() * 0x9E3779B97F4A7C15u;
    for (size_t i = 0; i < piece.size(); i += 8) {
      uint64_t part = 0;
      std::memcpy(&part, piece.data() + i, std::min<size_t>(8, piece.size() - i));
      h = (h ^ part) * 0xD6E8FEB86659FD93u;
      h ^= h >> 32;
    }
    return h;
  }
  std::vector<Word> words_ = std::vector<Word>(kWords);
};

WordMemory& word_memory() {
  thread_local WordMemory memory;
  return memory;
}

/// Places the tokens from `first` on, which lie in the bytes that have a token, `kept`, by the rule of `tokenizers`: as if what was left
/// out had stood at the end of the piece, and counted in letters of the alphabet.
void place_as_published(std::string_view piece, std::string_view kept, std::vector<PlacedToken>& tokens, size_t first) {
  std::vector<uint32_t> byte_at;
  for (uint32_t i = 0; i < piece.size(); ++i) byte_at.insert(byte_at.end(), letter_length(piece[i]), i);
  uint32_t position = 0;
  for (size_t t = first; t < tokens.size(); ++t) {
    const uint32_t begin = position;
    for (uint32_t i = tokens[t].begin; i < tokens[t].end; ++i) position += letter_length(kept[i]);
    tokens[t].begin = byte_at[begin], tokens[t].end = byte_at[position - 1] + 1;
  }
}

}  // namespace

struct BpeModel::Scratch {
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

BpeModel::BpeModel(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges) : byte_ids_(byte_ids) {
  static std::atomic<uint64_t> models = 0;
  serial_ = ++models;
  slots_.resize(std::bit_ceil(2 * merges.size() + 2));
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t pair = pair_of(merges[rank].left, merges[rank].right);
    slots_[place_of(pair)] = {pair, static_cast<uint32_t>(rank), merges[rank].result};
  }
}

/// Where the pair is, or where it would be put.
size_t BpeModel::place_of(uint64_t pair) const {
  uint64_t hash = pair * 0x9E3779B97F4A7C15u;
  hash ^= hash >> 29;
  size_t place = hash & (slots_.size() - 1);
  while (slots_[place].pair != pair && slots_[place].pair != kNoPair) place = (place + 1) & (slots_.size() - 1);
  return place;
}

const BpeModel::Slot* BpeModel::find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[place_of(pair_of(left, right))];
  return slot.pair == kNoPair ? nullptr : &slot;
}

void BpeModel::start(std::string_view piece, std::vector<Symbol>& symbols) const {
  symbols.clear();
  for (const char byte : piece) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
    const auto place = static_cast<int32_t>(symbols.size());
    if (id >= 0) symbols.push_back({id, place - 1, place + 1, 1});
  }
  if (!symbols.empty()) symbols.back().next = -1;
}

void BpeModel::merge(Scratch& scratch) const {
  std::vector<Symbol>& symbols = scratch.symbols;
  std::vector<Candidate>& heap = scratch.heap;
  heap.clear();
  const auto consider = [&](int32_t left, int32_t right) {
    if (const Slot* slot = find(symbols[static_cast<size_t>(left)].id, symbols[static_cast<size_t>(right)].id))
      heap.push_back({static_cast<uint64_t>(slot->rank) << 32 | static_cast<uint32_t>(left), slot->result});
  };
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) consider(i, i + 1);
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](int32_t left, int32_t right) {
    const size_t before = heap.size();
    consider(left, right);
    if (heap.size() != before) std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const Candidate top = heap.back();
    heap.pop_back();
    const auto place = static_cast<int32_t>(top.order & 0xFFFFFFFFu);
    Symbol& left = symbols[static_cast<size_t>(place)];
    if (left.bytes == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<size_t>(left.next)];
    // A neighbour may have changed since. Like `tokenizers`, only the result is compared, not the rank.
    if (const Slot* slot = find(left.id, right.id); slot == nullptr || slot->result != top.result) continue;
    left.id = top.result;
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = place;
    if (left.previous >= 0) push(left.previous, place);
    if (left.next >= 0) push(place, left.next);
  }
}

void BpeModel::encode(std::string_view piece, std::vector<int32_t>& ids) const {
  thread_local std::vector<PlacedToken> tokens;
  if (WordMemory::fits(piece)) {
    const WordMemory::Word& word = word_memory().slot(serial_, piece);
    if (WordMemory::holds(word, serial_, piece)) {
      ids.insert(ids.end(), word.ids, word.ids + word.tokens);
      return;
    }
  }
  tokens.clear();
  encode(piece, tokens);
  for (const PlacedToken& token : tokens) ids.push_back(token.id);
}

void BpeModel::encode(std::string_view piece, std::vector<PlacedToken>& tokens) const {
  thread_local Scratch scratch;
  const size_t first = tokens.size();
  WordMemory::Word* memory = WordMemory::fits(piece) ? &word_memory().slot(serial_, piece) : nullptr;
  if (memory != nullptr && WordMemory::holds(*memory, serial_, piece)) {
    for (uint32_t t = 0, begin = 0; t < memory->tokens; begin = memory->ends[t++])
      tokens.push_back({memory->ids[t], begin, memory->ends[t]});
    return;
  }
  start(piece, scratch.symbols);
  const bool whole = scratch.symbols.size() == piece.size();
  merge(scratch);
  uint32_t begin = 0;
  for (const Symbol& symbol : scratch.symbols) {
    if (symbol.bytes == 0) continue;
    tokens.push_back({symbol.id, begin, begin + symbol.bytes});
    begin += symbol.bytes;
  }
  if (!whole) {
    std::string kept;
    std::copy_if(piece.begin(), piece.end(), std::back_inserter(kept),
                 [&](char c) { return byte_ids_[static_cast<unsigned char>(c)] >= 0; });
    return place_as_published(piece, kept, tokens, first);
  }
  if (memory == nullptr || tokens.size() - first > WordMemory::kMaxTokens) return;
  memory->model = serial_;
  memory->bytes = static_cast<uint8_t>(piece.size()), memory->tokens = static_cast<uint8_t>(tokens.size() - first);
  std::copy(piece.begin(), piece.end(), memory->text);
  for (size_t t = first; t < tokens.size(); ++t)
    memory->ids[t - first] = tokens[t].id, memory->ends[t - first] = static_cast<uint8_t>(tokens[t].end);
}

}  // namespace cohort::text::bpe
