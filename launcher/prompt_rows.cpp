#include "launcher/prompt_rows.h"

#include <fmt/format.h>

#include <sstream>

#include "core/base/error.h"
#include "core/base/file.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/text/chat/chat_prompt.h"
#include "launcher/run_config.h"

namespace cohort::launcher {
namespace {

constexpr uint64_t kMaxFileBytes = uint64_t{1} << 30;
constexpr size_t kMaxProblems = 20;

/// The problems of many rows, each beginning with where it is.
class Problems {
 public:
  void add(const InputError& error, const std::string& where) {
    const std::string& problem = error.problems().front();
    if (problems_.size() < kMaxProblems) problems_.push_back(problem.starts_with(where) ? problem : where + ": " + problem);
  }
  void add(const std::string& problem) { problems_.push_back(problem); }
  bool none() const { return problems_.empty(); }
  void finish() const {
    if (!problems_.empty()) throw SharedInputError(problems_);
  }

 private:
  std::vector<std::string> problems_;
};

PromptRow parse_row(const std::string& line, const std::string& where, const std::vector<std::string>& keys) {
  PromptRow row{where, parse_ordered_json(line, where)};
  const auto has = [&](const char* key) { return row.value.is_object() && row.value.contains(key); };
  size_t found = 0;
  for (const std::string& key : keys) found += has(key.c_str()) && !(key == "text" && has("ids")) ? 1 : 0;
  if (found != 1)
    throw InputError(fmt::format("{}: expected one of the keys {}, found {}", where, join(keys), found == 0 ? "none" : "several"));
  return row;
}

std::string text_under(const PromptRow& row, const char* key) {
  const nlohmann::ordered_json& value = row.value.at(key);
  if (!value.is_string()) throw InputError(fmt::format("{}: {}: expected a string, found {}", row.where, key, printable(value.dump())));
  return value.get<std::string>();
}

const text::Tokenizer& tokenizer_for(const PromptRow& row, const char* key, const ModelFolder& folder) {
  if (!folder.tokenizer)
    throw InputError(fmt::format("{}: {}: expected \"ids\", as the model folder has no tokenizer, found text", row.where, key));
  return *folder.tokenizer;
}

std::vector<int32_t> given_ids(const PromptRow& row, int64_t vocabulary) {
  const nlohmann::ordered_json& list = row.value.at("ids");
  if (!list.is_array()) throw InputError(fmt::format("{}: ids: expected a list of token ids, found {}", row.where, printable(list.dump())));
  std::vector<int32_t> ids;
  for (const nlohmann::ordered_json& id : list) {
    if (!id.is_number_integer() || id < 0 || id >= vocabulary)
      throw InputError(fmt::format("{}: ids: expected token ids from 0 to {}, found {}", row.where, vocabulary - 1, printable(id.dump())));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

std::vector<int32_t> conversation_ids(const PromptRow& row, const ModelFolder& folder) {
  const text::Tokenizer& tokenizer = tokenizer_for(row, "messages", folder);
  const text::ChatTemplate* chat = tokenizer.chat_template();
  if (chat == nullptr) throw InputError(row.where + ": messages: expected a model folder with a chat template, found none");
  text::ChatOptions options = text::chat_options(tokenizer);
  options.add_generation_prompt = true;
  options.today = text::local_date();
  if (const auto kwargs = row.value.find("chat_template_kwargs"); kwargs != row.value.end()) options.variables = *kwargs;
  try {
    return text::encode_chat(chat->render(row.value.at("messages"), options), tokenizer);
  } catch (const InputError& error) {
    const std::string& problem = error.problems().front();
    throw InputError(row.where + (problem.starts_with("messages") ? ": " : ": messages: ") + problem);
  }
}

std::vector<int32_t> question_ids(const PromptRow& row, const ModelFolder& folder) {
  const text::Tokenizer& tokenizer = tokenizer_for(row, "question", folder);
  if (!folder.prompt_template)
    throw InputError(row.where +
                     ": question: expected a prompt template (--template, or cohort_model.json in the model folder), found none");
  return folder.prompt_template->render(text_under(row, "question"), tokenizer);
}

}  // namespace

std::vector<PromptRow> read_prompt_rows(const std::string& path, const std::vector<std::string>& keys) {
  std::istringstream lines(read_file(path, kMaxFileBytes));
  std::vector<PromptRow> rows;
  Problems problems;
  std::string line;
  for (uint64_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    try {
      rows.push_back(parse_row(line, where, keys));
    } catch (const InputError& error) {
      problems.add(error, where);
    }
  }
  if (rows.empty() && problems.none()) problems.add(path + ": expected at least one line, found none");
  problems.finish();
  return rows;
}

std::vector<int32_t> ids_of(const PromptRow& row, const ModelFolder& folder) {
  std::vector<int32_t> ids;
  if (row.value.contains("ids"))
    ids = given_ids(row, folder.model->architecture().vocab_size);
  else if (row.value.contains("text"))
    ids = tokenizer_for(row, "text", folder).encode_with_added_tokens(text_under(row, "text"), true);
  else if (row.value.contains("messages"))
    ids = conversation_ids(row, folder);
  else
    ids = question_ids(row, folder);
  if (ids.empty()) throw InputError(row.where + ": expected at least one token, found none");
  return ids;
}

std::vector<std::vector<int32_t>> ids_of_rows(const std::vector<PromptRow>& rows, const ModelFolder& folder,
                                              const std::function<void(const std::vector<int32_t>& ids)>& check) {
  std::vector<std::vector<int32_t>> all;
  Problems problems;
  for (const PromptRow& row : rows) {
    try {
      all.push_back(ids_of(row, folder));
      check(all.back());
    } catch (const InputError& error) {
      problems.add(error, row.where);
    }
  }
  problems.finish();
  return all;
}

Share share_of(size_t count, int rank, int size) {
  const auto n = static_cast<size_t>(size), r = static_cast<size_t>(rank);
  return {count * r / n, count * (r + 1) / n};
}

}  // namespace cohort::launcher
