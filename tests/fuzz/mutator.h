#pragma once
/// Changes inputs at random, the same way for the same stream of random numbers: bytes, words of a dictionary, numbers in binary and in
/// decimal, lines, quoted strings and bracketed parts, and pieces of other inputs.

#include <string>
#include <vector>

#include "core/base/random.h"

namespace cohort::fuzz {

class Mutator {
 public:
  /// `dictionary`: words that mean something to the parser.
  Mutator(RandomStream random, std::vector<std::string> dictionary, size_t max_bytes)
      : random_(random), dictionary_(std::move(dictionary)), max_bytes_(max_bytes) {}

  /// One to eight changes of `input`; `other` is another input to take pieces from. At most max_bytes long.
  std::string mutate(std::string input, const std::string& other);

  RandomStream& random() { return random_; }

 private:
  void change_once(std::string& input, const std::string& other);
  void change_bytes(std::string& input);
  void change_binary_number(std::string& input);
  void change_decimal_number(std::string& input);
  void change_lines(std::string& input);
  void change_part(std::string& input);
  void insert_word(std::string& input);
  void splice(std::string& input, const std::string& other);

  size_t position(const std::string& input) { return random_.below(input.size() + 1); }
  template <class List>
  const auto& one_of(const List& list) {
    return list[random_.below(std::size(list))];
  }

  RandomStream random_;
  std::vector<std::string> dictionary_;
  size_t max_bytes_;
};

}  // namespace cohort::fuzz
