#pragma once
/// Which tokens begin, end and fill: from the files beside tokenizer.json. BOS comes from the tokenizer, never from config.json, whose
/// bos_token_id some published models have wrong.

#include <string>

#include "core/text/bpe/bpe_tokenizer.h"

namespace cohort::text::bpe {

/// tokenizer_config.json: bos_token, eos_token, pad_token (a string or an object), add_bos_token, add_eos_token; added_tokens_decoder must
/// not contradict tokenizer.json. `text` is empty where there is no such file. InputError "WHERE: key: …".
TokenRoles read_tokenizer_config(const std::string& text, const TokenizerFile& tokenizer, const std::string& where);

/// eos_token_id, a number or a list, of generation_config.json (or config.json): appends those that are not there yet.
void add_end_ids(const std::string& text, const TokenizerFile& tokenizer, const std::string& where, TokenRoles& roles);

}  // namespace cohort::text::bpe
