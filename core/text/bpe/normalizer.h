#pragma once
/// Normalisation form NFC (UAX #15), with the way back to the text it was made of, as `tokenizers` does it: its tables are those of
/// Unicode 9 (unicode_tables.h), and a composed character points at the first of the characters that it replaces.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cohort::text::bpe {

/// A stretch of the text, in bytes.
struct Span {
  uint32_t begin = 0, end = 0;
  bool operator==(const Span&) const = default;
};

/// Whether `text` is surely NFC already. Bytes that are not UTF-8 are left as they are.
bool is_quickly_nfc(std::string_view text);

/// `alignment`, when not null, receives for each byte of the result the character of `text` that it stands for.
std::string nfc(std::string_view text, std::vector<Span>* alignment);

}  // namespace cohort::text::bpe
