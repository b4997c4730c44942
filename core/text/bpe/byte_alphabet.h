#pragma once
/// GPT-2's alphabet: a letter for each byte, in which byte-level tokenizers write their tokens down. Printable bytes of ASCII and Latin-1
/// stand for themselves, the others for U+0100 and on in order.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cohort::text::bpe {

/// The bytes of a token written in the alphabet; nullopt where it is not.
std::optional<std::string> bytes_of_token(std::string_view token);

/// What the decoder ByteLevel makes of a token: the bytes of its letters where all are of the alphabet, else the token itself.
std::string decoded_piece(std::string_view token);

/// How many bytes of UTF-8 the letter of a byte has.
inline uint32_t letter_length(char byte) { return byte >= 0x21 && byte <= 0x7E ? 1 : 2; }

}  // namespace cohort::text::bpe
