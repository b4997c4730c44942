#include "core/text/bpe/byte_alphabet.h"

#include <array>

#include "core/text/utf8.h"

namespace cohort::text::bpe {
namespace {

/// Which byte a letter stands for; -1: none.
std::array<int, 0x144> bytes_of_letters() {
  std::array<int, 0x144> bytes;
  bytes.fill(-1);
  int next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable_byte = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    bytes[static_cast<size_t>(printable_byte ? byte : next++)] = byte;
  }
  return bytes;
}

}  // namespace

std::optional<std::string> bytes_of_token(std::string_view token) {
  static const std::array<int, 0x144> bytes = bytes_of_letters();
  std::string result;
  for (size_t i = 0; i < token.size();) {
    const Character c = character_at(token, i);
    if (!c.valid || c.code >= bytes.size() || bytes[c.code] < 0) return std::nullopt;
    result.push_back(static_cast<char>(bytes[c.code]));
    i += c.length;
  }
  return result;
}

std::string decoded_piece(std::string_view token) { return bytes_of_token(token).value_or(std::string(token)); }

}  // namespace cohort::text::bpe
