#pragma once
/// From a rendered conversation to token ids.

#include <cstdint>
#include <vector>

#include "core/text/chat/chat_template.h"
#include "core/text/tokenizer.h"

namespace cohort::text {

/// What apply_chat_template(tokenize=True) of transformers gives, as long as no message holds the name of an added token: there that
/// becomes the token, here it stays text. Names are looked for within a part of the template alone, the leftmost and of those the longest
/// first; what is between tokens is encoded as one text, across the borders of parts. Nothing is put before or behind: the template writes
/// the BOS. InputError where Tokenizer::encode() has one.
std::vector<int32_t> encode_chat(const std::vector<ChatPart>& parts, const Tokenizer& tokenizer);

/// The date of this machine's clock and zone, for ChatOptions::today.
std::tm local_date();

/// With the names of the tokenizer's tokens; "" for one that it does not have.
ChatOptions chat_options(const Tokenizer& tokenizer);

}  // namespace cohort::text
