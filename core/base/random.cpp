#include "core/base/random.h"

#include <cmath>
#include <numbers>
#include <utility>

#include "core/base/error.h"

namespace cohort {

namespace {

using Counter = std::array<uint32_t, 4>;
using Key = std::array<uint32_t, 2>;

uint32_t low_half(uint64_t x) { return static_cast<uint32_t>(x); }
uint32_t high_half(uint64_t x) { return static_cast<uint32_t>(x >> 32); }
Key key_of(uint64_t x) { return {low_half(x), high_half(x)}; }
uint64_t first_64_bits(const Counter& block) { return uint64_t{block[1]} << 32 | block[0]; }

// What a block is for, in the counter's last word, so that keys and numbers never come from the same block.
enum Purpose : uint32_t { kNumbers = 0, kNameLength = 1, kNameBytes = 2, kCoordinates = 3 };

/// A new key that depends on every bit of the old one and of `word`.
uint64_t absorb(uint64_t key, uint64_t word, uint32_t position, Purpose purpose) {
  return first_64_bits(philox4x32({low_half(word), high_half(word), position, purpose}, key_of(key)));
}

/// Eight bytes of the name, little-endian on every machine, zeros beyond its end (the length is absorbed before).
uint64_t name_word(std::string_view name, size_t begin) {
  uint64_t word = 0;
  for (size_t i = 0; i < 8 && begin + i < name.size(); ++i) {
    word |= uint64_t{static_cast<unsigned char>(name[begin + i])} << (8 * i);
  }
  return word;
}

}  // namespace

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kMultiply0 = 0xD2511F53;
  constexpr uint64_t kMultiply1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9;  // golden ratio
  constexpr uint32_t kWeyl1 = 0xBB67AE85;  // sqrt(3) - 1
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiply0 * counter[0];
    const uint64_t product1 = kMultiply1 * counter[2];
    counter = {high_half(product1) ^ counter[1] ^ key[0], low_half(product1), high_half(product0) ^ counter[3] ^ key[1],
               low_half(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

RandomStream::RandomStream(uint64_t seed, std::string_view name, std::initializer_list<uint64_t> coordinates) : key_(seed) {
  key_ = absorb(key_, name.size(), 0, kNameLength);
  for (size_t i = 0; i < name.size(); i += 8) key_ = absorb(key_, name_word(name, i), static_cast<uint32_t>(i / 8), kNameBytes);
  uint32_t position = 0;
  for (const uint64_t coordinate : coordinates) key_ = absorb(key_, coordinate, position++, kCoordinates);
}

uint64_t RandomStream::bits_at(uint64_t i) const {
  return first_64_bits(philox4x32({low_half(i), high_half(i), 0, kNumbers}, key_of(key_)));
}

double RandomStream::uniform_at(uint64_t i) const { return static_cast<double>(bits_at(i) >> 11) * 0x1.0p-53; }

uint64_t RandomStream::below(uint64_t n) {
  if (n == 0) throw Fault("RandomStream::below(0)");
  // The 2^64 mod n smallest numbers are drawn again; what remains is a whole number of turns.
  const uint64_t rejected = (0 - n) % n;
  uint64_t drawn = bits();
  while (drawn < rejected) drawn = bits();
  return drawn % n;
}

double RandomStream::normal() {
  const double radius = std::sqrt(-2.0 * std::log1p(-uniform()));  // 1 - u is in (0, 1]: the logarithm is finite
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

std::vector<int64_t> shuffled(int64_t n, RandomStream stream) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[stream.below(i)]);
  return order;
}

}  // namespace cohort
