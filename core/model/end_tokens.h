#pragma once
/// At which tokens a published model ends an answer.

#include <cstdint>
#include <string>
#include <vector>

namespace cohort::model {

/// eos_token_id of FOLDER/generation_config.json, or where that file has none, of FOLDER/config.json: a number or a list. Empty where
/// neither says. InputError for anything else, and for ids outside [0, vocab_size).
std::vector<int32_t> read_end_tokens(const std::string& folder, int64_t vocab_size);

}  // namespace cohort::model
