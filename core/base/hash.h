#pragma once
/// XXH3-128 of bytes, as 32 hex digits (the canonical, big-endian form that `xxhsum -H2` prints). Finds damage, not forgery.

#include <memory>
#include <string>
#include <string_view>

struct XXH3_state_s;

namespace cohort {

std::string xxh3_128_hex(std::string_view bytes);

/// The same over pieces: update(a), update(b), hex() equals xxh3_128_hex(a + b).
class Hasher {
 public:
  Hasher();
  void update(std::string_view bytes);
  std::string hex() const;  ///< of everything so far; more may follow

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace cohort
