#pragma once
/// Counter-based random numbers: a draw is a pure function of its key, never of what was drawn before.
///
/// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11). That is what lets rank count,
/// scheduling, batching, interruption and resume leave every sample as it was (DESIGN: a result is a function of (config, seed)).

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace cohort {

/// Ten rounds of Philox4x32 on (counter, key). Known answers are in tests/core/base/random_test.cpp.
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A named stream of random numbers: (seed, name, coordinates…) → 64-bit key. Streams with different names or coordinates are
/// independent; the same arguments give the same stream on every machine.
class RandomStream {
 public:
  /// `name` says what the numbers are for ("sample", "shuffle", "init/model.embed"); `coordinates` say where (stage, step, question …).
  RandomStream(uint64_t seed, std::string_view name, std::initializer_list<uint64_t> coordinates = {});

  /// The i-th number of the stream, without state.
  uint64_t bits_at(uint64_t i) const;
  double uniform_at(uint64_t i) const;  ///< in [0, 1), 53 bits

  /// The next number; equal to *_at(0), *_at(1), …
  uint64_t bits() { return bits_at(next_++); }
  double uniform() { return uniform_at(next_++); }
  /// Uniform in [0, n) without modulo bias; n > 0.
  uint64_t below(uint64_t n);
  /// Uniform in [low, high], both included.
  int64_t between(int64_t low, int64_t high) { return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1)); }
  /// Standard normal (Box–Muller; computed in double).
  double normal();

 private:
  uint64_t key_;
  uint64_t next_ = 0;
};

/// A permutation of 0 … n-1 (Fisher–Yates).
std::vector<int64_t> shuffled(int64_t n, RandomStream stream);

}  // namespace cohort
