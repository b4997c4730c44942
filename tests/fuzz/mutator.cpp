#include "tests/fuzz/mutator.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <cstring>
#include <utility>

namespace cohort::fuzz {
namespace {

using Part = std::pair<size_t, size_t>;  // [begin, end)

constexpr std::array<uint64_t, 17> kNumbers = {0,
                                               1,
                                               2,
                                               7,
                                               8,
                                               127,
                                               128,
                                               255,
                                               256,
                                               65535,
                                               65536,
                                               0x7fffffff,
                                               0x80000000,
                                               0xffffffff,
                                               0x100000000,
                                               0x7fffffffffffffff,
                                               0xffffffffffffffff};
constexpr std::array<const char*, 20> kDecimals = {"0",
                                                   "-1",
                                                   "1",
                                                   "-0",
                                                   "01",
                                                   "1.5",
                                                   "1e9",
                                                   "1e400",
                                                   "-1e-400",
                                                   "2147483648",
                                                   "4294967296",
                                                   "1073741824",
                                                   "100000000",
                                                   "0x10",
                                                   "1_000",
                                                   "1e",
                                                   "9223372036854775807",
                                                   "9223372036854775808",
                                                   "18446744073709551615",
                                                   "99999999999999999999999"};

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

/// The ends of all lines' beginnings: [begin, end) with the line feed.
std::vector<Part> lines_of(const std::string& text) {
  std::vector<Part> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t feed = text.find('\n', begin);
    const size_t end = feed == std::string::npos ? text.size() : feed + 1;
    lines.emplace_back(begin, end);
    begin = end;
  }
  return lines;
}

/// Quoted strings, and brackets with what they hold. Brackets in strings are no brackets, as in JSON.
std::vector<Part> parts_of(const std::string& text) {
  std::vector<Part> parts;
  std::vector<size_t> open;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      size_t end = i + 1;
      while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      if (end >= text.size()) break;
      parts.emplace_back(i, end + 1);
      i = end;
    } else if (c == '{' || c == '[') {
      open.push_back(i);
    } else if ((c == '}' || c == ']') && !open.empty()) {
      parts.emplace_back(open.back(), i + 1);
      open.pop_back();
    }
  }
  return parts;
}

}  // namespace

std::string Mutator::mutate(std::string input, const std::string& other) {
  const uint64_t changes = uint64_t{1} << random_.below(4);
  for (uint64_t i = 0; i < changes; ++i) change_once(input, other);
  if (input.size() > max_bytes_) input.resize(max_bytes_);
  return input;
}

void Mutator::change_once(std::string& input, const std::string& other) {
  switch (random_.below(8)) {
    case 0:
      return change_bytes(input);
    case 1:
      return change_binary_number(input);
    case 2:
      return change_decimal_number(input);
    case 3:
      return change_lines(input);
    case 4:
      return insert_word(input);
    case 5:
      return splice(input, other);
    default:
      return change_part(input);
  }
}

void Mutator::change_bytes(std::string& input) {
  const size_t at = position(input);
  const size_t count = std::min(input.size() - at, static_cast<size_t>(1 + random_.below(16)));
  switch (random_.below(6)) {
    case 0:
      input.erase(at, count);
      break;
    case 1:
      input.insert(at, input.substr(at, count));
      break;
    case 2:
      input.insert(at, random_.below(32), static_cast<char>(random_.below(256)));
      break;
    case 3:
      input.resize(at);
      break;
    case 4:
      if (at < input.size()) input[at] = static_cast<char>(random_.below(256));
      break;
    default:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random_.below(8)));
  }
}

/// A little-endian number, at the beginning (where formats keep their lengths) as often as anywhere else.
void Mutator::change_binary_number(std::string& input) {
  const size_t bytes = size_t{1} << random_.below(4);
  if (input.size() < bytes) return;
  const size_t at = random_.below(2) == 0 ? 0 : random_.below(input.size() - bytes + 1);
  uint64_t value = 0;
  std::memcpy(&value, input.data() + at, bytes);
  switch (random_.below(4)) {
    case 0:
      value = one_of(kNumbers);
      break;
    case 1:
      value = input.size() - std::min(input.size(), static_cast<size_t>(random_.below(17)));
      break;
    case 2:
      value <<= random_.below(64);
      break;
    default:
      value += random_.below(33) - 16;  // wraps
  }
  std::memcpy(input.data() + at, &value, bytes);
}

void Mutator::change_decimal_number(std::string& input) {
  const auto digit = std::find_if(input.begin() + static_cast<std::ptrdiff_t>(position(input)), input.end(), is_digit);
  const auto begin = static_cast<size_t>(digit - input.begin());
  const size_t end = std::min(input.find_first_not_of("0123456789", begin), input.size());
  input.replace(begin, end - begin, one_of(kDecimals));
}

void Mutator::change_lines(std::string& input) {
  const std::vector<Part> lines = lines_of(input);
  if (lines.empty()) return;
  const auto [begin, end] = one_of(lines);
  const std::string line = input.substr(begin, end - begin);
  switch (random_.below(4)) {
    case 0:
      input.erase(begin, end - begin);
      break;
    case 1:
      input.insert(one_of(lines).first, line);
      break;
    case 2:
      input.insert(begin, random_.below(8), ' ');
      break;
    default:
      input.replace(begin, std::min(input.find_first_not_of(' ', begin), end) - begin, "");
  }
}

void Mutator::change_part(std::string& input) {
  const std::vector<Part> parts = parts_of(input);
  if (parts.empty()) return change_bytes(input);
  const auto [begin, end] = one_of(parts);
  const std::string part = input.substr(begin, end - begin);
  const auto [from, to] = one_of(parts);
  switch (random_.below(6)) {
    case 0:
      input.erase(begin, end - begin);
      break;
    case 1:
      input.insert(end, "," + part);
      break;
    case 2:
      input.replace(begin, end - begin, input.substr(from, to - from));
      break;
    case 3:
      input.replace(begin, end - begin, one_of(std::array<const char*, 8>{"null", "true", "{}", "[]", "\"\"", "0", "[[]]", "{\"a\":1}"}));
      break;
    case 4: {
      const size_t depth = size_t{1} << random_.below(random_.below(8) == 0 ? 15 : 7);
      input.replace(begin, end - begin, std::string(depth, '[') + part + std::string(depth, ']'));
      break;
    }
    default: {
      std::string many = part;
      while (many.size() < max_bytes_ / 8) many += "," + part;
      input.replace(begin, end - begin, many);
    }
  }
}

void Mutator::insert_word(std::string& input) {
  if (dictionary_.empty()) return change_bytes(input);
  const std::string& word = one_of(dictionary_);
  const size_t at = position(input);
  if (random_.below(2) == 0) input.erase(at, word.size());
  input.insert(at, word);
}

void Mutator::splice(std::string& input, const std::string& other) {
  const size_t from = position(other), at = position(input);
  if (random_.below(2) == 0) input.resize(at);
  input.insert(std::min(at, input.size()), other, from, random_.below(other.size() - from + 1));
}

}  // namespace cohort::fuzz
