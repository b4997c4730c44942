#pragma once
/// Token sequences from a JSONL file that a user gives to a model. Not trusted.
///
///   {"ids": [1, 2, 3]}     token ids as they stand: needs no tokenizer
///   {"text": "…"}          text as `tokenizers` reads it: names of special tokens are those tokens
///   {"messages": […]}      a conversation, written by the folder's chat template up to the beginning of an answer;
///                          beside it "chat_template_kwargs"
///   {"question": "…"}      put into the prompt template of the folder, or the one of --template
///
/// A row has exactly one of these keys; other keys are left alone, so that files may carry their own marks.

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launcher/model_folder.h"

namespace cohort::launcher {

struct PromptRow {
  std::string where;  ///< "FILE:LINE"
  nlohmann::ordered_json value;

  /// Whether it takes the folder's tokenizer to read it.
  bool needs_tokenizer() const { return !value.contains("ids"); }
};

/// Rows in file order, of which each has exactly one of `keys`, or text beside ids, as tokenize and generate write: then the ids count.
/// Empty lines are skipped. SharedInputError with every line that is wrong, and for a file without a row.
std::vector<PromptRow> read_prompt_rows(const std::string& path, const std::vector<std::string>& keys);

/// At least one id, all of them the model's. InputError "FILE:LINE: …".
std::vector<int32_t> ids_of(const PromptRow& row, const ModelFolder& folder);

/// ids_of of all rows. `check` throws InputError for a sequence that will not do. SharedInputError with every row that is wrong.
std::vector<std::vector<int32_t>> ids_of_rows(const std::vector<PromptRow>& rows, const ModelFolder& folder,
                                              const std::function<void(const std::vector<int32_t>& ids)>& check);

/// [begin, end) of `count` rows, the share of one of `size` ranks.
struct Share {
  size_t begin, end;
};
Share share_of(size_t count, int rank, int size);

}  // namespace cohort::launcher
