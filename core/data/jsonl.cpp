#include "core/data/jsonl.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/base/json.h"
#include "core/base/text_util.h"
#include "core/text/language.h"
#include "core/text/utf8.h"

namespace cohort::data {
namespace {

using nlohmann::json;

constexpr size_t kProblemsShown = 20;
constexpr size_t kMaxNumberDigits = 64;
/// The names of core/reward/verifier.h, which this folder may not include; a test compares the two lists.
constexpr std::array<std::string_view, 6> kVerifiers = {"number", "exact", "countdown", "list", "instruction", "refusal"};

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const std::string& found) {
  throw InputError(where + ": expected " + expected + ", found " + found);
}

const json& member(const json& object, const char* key, const std::string& where) {
  const auto found = object.find(key);
  if (found == object.end()) refuse(where + ": " + key, "a value", "nothing");
  return *found;
}

std::string string_member(const json& object, const char* key, const std::string& where) {
  const json& value = member(object, key, where);
  if (!value.is_string()) refuse(where + ": " + key, "a string", value.type_name());
  return value.get<std::string>();
}

/// Commas, if any, stand before every third digit of the whole part and nowhere else.
bool commas_group_thousands(std::string_view number) {
  if (number.find(',') == std::string_view::npos) return true;
  if (number.starts_with('-')) number.remove_prefix(1);
  const std::string_view whole = number.substr(0, number.find('.'));
  const size_t first = whole.find(',');
  if (number.find(',', whole.size()) != std::string_view::npos || first == 0 || first > 3) return false;
  for (size_t i = first; i < whole.size(); ++i)
    if ((whole[i] == ',') != ((i - first) % 4 == 0)) return false;
  return (whole.size() - first) % 4 == 0;
}

/// "1,072" → "1072"; nothing but a number is let through.
std::string plain_number(std::string_view text, const std::string& where) {
  const std::string_view trimmed = text::trim(text);
  std::string digits(trimmed);
  std::erase(digits, ',');
  std::string_view rest = digits;
  if (rest.starts_with('-')) rest.remove_prefix(1);
  const size_t point = std::min(rest.find('.'), rest.size());
  const auto all_digits = [](std::string_view part) {
    return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
  };
  const bool good =
      commas_group_thousands(trimmed) && all_digits(rest.substr(0, point)) && (point == rest.size() || all_digits(rest.substr(point + 1)));
  if (!good || rest.size() > kMaxNumberDigits) refuse(where, "a decimal number", "\"" + printable(text) + "\"");
  return digits;
}

/// Without the calculator marks <<48/2=24>>.
std::string without_marks(std::string_view text) {
  std::string result;
  while (true) {
    const size_t open = text.find("<<");
    const size_t close = open == std::string_view::npos ? open : text.find(">>", open);
    if (close == std::string_view::npos) return result.append(text);
    result.append(text.substr(0, open));
    text.remove_prefix(close + 2);
  }
}

/// What stands before and after the last "####" of a GSM8K answer.
void split_worked_answer(std::string_view worked, const std::string& where, std::string& solution, std::string& answer) {
  const size_t mark = worked.rfind("####");
  if (mark == std::string_view::npos) refuse(where, "a line \"#### number\" at the end", "\"" + printable(worked) + "\"");
  answer = text::trim(worked.substr(mark + 4));
  solution = text::trim(without_marks(worked.substr(0, mark)));
}

void set_text(records::Question& question, const std::string& text, const std::string& where) {
  if (text::trim(text).empty()) refuse(where, "a question", "white space");
  question.set_text(text);
  question.set_language(text::dominant_language(text));
  question.set_category(records::REASONING);
}

records::Question gsm8k_question(const json& row, const std::string& where) {
  records::Question question;
  set_text(question, string_member(row, "question", where), where + ": question");
  split_worked_answer(string_member(row, "answer", where), where + ": answer", *question.mutable_solution(), *question.mutable_answer());
  question.set_ground_truth(plain_number(question.answer(), where + ": answer"));
  question.set_verifier("number");
  question.set_source("gsm8k");
  return question;
}

/// The text of a prompt: a string, or [system message,] user message.
std::string prompt_text(const json& prompt, const std::string& where) {
  if (prompt.is_string()) return prompt.get<std::string>();
  if (!prompt.is_array() || prompt.empty() || prompt.size() > 2)
    refuse(where, "a string, or one user message after at most one system message",
           prompt.is_array() ? std::to_string(prompt.size()) + " messages" : prompt.type_name());
  std::string text;
  for (size_t i = 0; i < prompt.size(); ++i) {
    const std::string here = where + "[" + std::to_string(i) + "]";
    if (!prompt[i].is_object()) refuse(here, "a message", prompt[i].type_name());
    const std::string role = string_member(prompt[i], "role", here);
    const std::string expected = i + 1 == prompt.size() ? "user" : "system";
    if (role != expected) refuse(here + ": role", expected, "\"" + printable(role) + "\"");
    text += (text.empty() ? "" : "\n") + string_member(prompt[i], "content", here);
  }
  return text;
}

std::string ground_truth_text(const json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number()) refuse(where, "a string or a number", value.type_name());
  return value.dump();
}

/// What may be said in extra_info.
void apply_extra(records::Question& question, const json& extra, const std::string& where) {
  if (!extra.is_object()) refuse(where, "an object", extra.type_name());
  if (extra.contains("verifier")) {
    question.set_verifier(string_member(extra, "verifier", where));
    if (std::find(kVerifiers.begin(), kVerifiers.end(), question.verifier()) == kVerifiers.end())
      refuse(where + ": verifier", join({kVerifiers.begin(), kVerifiers.end()}), "\"" + printable(question.verifier()) + "\"");
  }
  if (extra.contains("language")) {
    question.set_language(string_member(extra, "language", where));
    if (question.language() != "en" && question.language() != "zh")
      refuse(where + ": language", "en or zh", "\"" + printable(question.language()) + "\"");
  }
  if (extra.contains("answer") && extra["answer"].is_string() &&
      extra["answer"].get_ref<const std::string&>().find("####") != std::string::npos)
    split_worked_answer(extra["answer"].get_ref<const std::string&>(), where + ": answer", *question.mutable_solution(),
                        *question.mutable_answer());
}

records::Question verl_question(const json& row, const std::string& where) {
  records::Question question;
  set_text(question, prompt_text(member(row, "prompt", where), where + ": prompt"), where + ": prompt");
  question.set_source(string_member(row, "data_source", where));
  const json& reward_model = member(row, "reward_model", where);
  if (!reward_model.is_object()) refuse(where + ": reward_model", "an object", reward_model.type_name());
  const std::string here = where + ": reward_model.ground_truth";
  if (!reward_model.contains("ground_truth")) refuse(here, "a value", "nothing");
  question.set_ground_truth(ground_truth_text(reward_model["ground_truth"], here));
  question.set_answer(question.ground_truth());
  question.set_verifier(question.source() == "openai/gsm8k" || question.source() == "gsm8k" ? "number" : "exact");
  if (row.contains("extra_info")) apply_extra(question, row["extra_info"], where + ": extra_info");
  if (text::trim(question.ground_truth()).empty()) refuse(here, "an answer to compare with", "white space");
  if (question.verifier() == "number") question.set_ground_truth(plain_number(question.ground_truth(), here));
  return question;
}

std::string keys_of(const json& row) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : row.items()) keys.push_back(printable(key, 20));
  if (keys.size() > 8) keys.resize(8);
  return keys.empty() ? "no keys" : "the keys " + join(keys);
}

/// Lines of a file, never holding more than kMaxLineBytes of one.
class LineReader {
 public:
  explicit LineReader(const std::string& path) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) file_.open(path, std::ios::binary);  // opening a pipe would wait for its writer
    if (!file_.is_open()) throw InputError(path + ": expected a readable JSONL file, found none");
  }

  /// False at the end. `too_long` says that the line went on after what `line` holds.
  bool next(std::string& line, bool& too_long) {
    line.clear();
    too_long = false;
    bool any = false;
    std::streambuf& bytes = *file_.rdbuf();
    for (int byte = bytes.sbumpc(); byte != std::char_traits<char>::eof(); byte = bytes.sbumpc()) {
      any = true;
      if (byte == '\n') break;
      if (line.size() < kMaxLineBytes) {
        line.push_back(static_cast<char>(byte));
      } else {
        too_long = true;
      }
    }
    if (line.ends_with('\r')) line.pop_back();
    return any;
  }

 private:
  std::ifstream file_;
};

}  // namespace

records::Question parse_row(std::string_view line, RowFormat format, const std::string& where) {
  const json row = parse_json(line, where);
  if (!row.is_object()) refuse(where, "an object", row.type_name());
  const bool looks_verl = row.contains("prompt") && row.contains("reward_model");
  const bool looks_gsm8k = row.contains("question") && row.contains("answer");
  if (format == RowFormat::kVerl || (format == RowFormat::kAuto && looks_verl)) return verl_question(row, where);
  if (format == RowFormat::kGsm8k || (format == RowFormat::kAuto && looks_gsm8k)) return gsm8k_question(row, where);
  refuse(where, "question and answer (gsm8k), or prompt, data_source and reward_model (verl)", keys_of(row));
}

Rows read_rows(const std::string& path, RowFormat format, bool skip_bad_rows) {
  LineReader reader(path);
  Rows rows;
  std::string line;
  bool too_long = false;
  for (uint64_t number = 1; reader.next(line, too_long); ++number) {
    std::string_view content = line;
    if (number == 1 && content.starts_with("\xEF\xBB\xBF")) content.remove_prefix(3);
    if (text::trim(content).empty() && !too_long) continue;
    const std::string where = path + ":" + std::to_string(number);
    try {
      if (too_long) refuse(where, "a line of at most 1 MiB", "a longer one");
      records::Question question = parse_row(content, format, where);
      question.set_id(rows.questions.size());
      rows.questions.push_back(std::move(question));
    } catch (const InputError& error) {
      ++rows.bad_rows;
      if (rows.problems.size() < kProblemsShown) rows.problems.push_back(error.problems().front());
    }
  }
  if (rows.bad_rows > 0 && (!skip_bad_rows || rows.questions.empty())) {
    std::vector<std::string> problems = rows.problems;
    if (rows.bad_rows > problems.size())
      problems.push_back(path + ": … and " + std::to_string(rows.bad_rows - problems.size()) + " more bad rows");
    throw InputError(problems);
  }
  if (rows.questions.empty()) throw InputError(path + ": expected at least one row, found none");
  return rows;
}

}  // namespace cohort::data
