#include "core/data/row.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/boxed.h"
#include "core/text/language.h"
#include "core/text/utf8.h"

namespace cohort::data {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t kMaxNumberDigits = 64;
constexpr size_t kMaxTurns = 256;
constexpr uint64_t kMaxLevel = 1000;
/// The names of core/reward/verifier.h, which this folder may not include; a test compares the two lists.
constexpr std::array<std::string_view, 7> kVerifiers = {"number", "exact", "math", "countdown", "list", "instruction", "refusal"};
/// Values of data_source that verl scores as mathematics (default_compute_score in verl/utils/reward_score), beside aime…
constexpr std::array<std::string_view, 13> kMathSources = {"lighteval/MATH",
                                                           "DigitalLearningGmbH/MATH-lighteval",
                                                           "HuggingFaceH4/MATH-500",
                                                           "math",
                                                           "math_dapo",
                                                           "math_dapo_reasoning",
                                                           "numina_aops_forum",
                                                           "numina_synthetic_math",
                                                           "numina_amc_aime",
                                                           "numina_synthetic_amc",
                                                           "numina_cn_k12",
                                                           "numina_olympiads",
                                                           "hiyouga/geometry3k"};
/// Those whose ground truth it runs as tests.
constexpr std::array<std::string_view, 4> kCodeSources = {"codecontests", "apps", "codeforces", "taco"};
constexpr const char* kNeedsSandbox = ", which need a sandbox to run code: this build has none";

[[noreturn]] void refuse(const std::string& where, const std::string& expected, const std::string& found) {
  throw InputError(where + ": expected " + expected + ", found " + found);
}

std::string in_quotes(std::string_view text) { return "\"" + printable(text) + "\""; }

/// The value of a key; nullptr where there is none or null.
const json* find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const json& member(const json& object, const char* key, const std::string& where) {
  const json* value = find(object, key);
  if (value == nullptr) refuse(where + ": " + key, "a value", "nothing");
  return *value;
}

std::string string_member(const json& object, const char* key, const std::string& where) {
  const json& value = member(object, key, where);
  if (!value.is_string()) refuse(where + ": " + key, "a string", value.type_name());
  return value.get<std::string>();
}

// ---- Numbers and worked solutions ----------------------------------------------------------------------------------------------------

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

/// "1,072" → "1072"; none of anything but a number.
std::optional<std::string> as_number(std::string_view text) {
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
  return good && rest.size() <= kMaxNumberDigits ? std::optional(digits) : std::nullopt;
}

std::string plain_number(std::string_view text, const std::string& where) {
  const std::optional<std::string> number = as_number(text);
  if (!number) refuse(where, "a decimal number", in_quotes(text));
  return *number;
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
  if (mark == std::string_view::npos)
    refuse(where, "a line \"#### number\" at the end, as in GSM8K's rows (core/data/row.h has the other forms)", in_quotes(worked));
  answer = text::trim(worked.substr(mark + 4));
  solution = text::trim(without_marks(worked.substr(0, mark)));
}

// ---- Messages ------------------------------------------------------------------------------------------------------------------------

records::Turn turn_of(const json& message, const std::string& where) {
  if (!message.is_object()) refuse(where, "a message", message.type_name());
  const bool spoken = message.contains("from") && !message.contains("role");  // ShareGPT's names
  records::Turn turn;
  turn.set_role(string_member(message, spoken ? "from" : "role", where));
  if (turn.role() == "human") turn.set_role("user");
  if (turn.role() == "gpt") turn.set_role("assistant");
  turn.set_content(string_member(message, spoken ? "value" : "content", where));
  return turn;
}

/// A conversation that ends with a message of `last`: at most one system message first, then user and assistant in turn.
std::vector<records::Turn> turns_of(const json& messages, const std::string& last, const std::string& where) {
  if (!messages.is_array() || messages.empty() || messages.size() > kMaxTurns)
    refuse(where, "1 to " + std::to_string(kMaxTurns) + " messages",
           messages.is_array() ? std::to_string(messages.size()) : std::string(messages.type_name()));
  std::vector<records::Turn> turns;
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string here = where + "[" + std::to_string(i) + "]";
    records::Turn turn = turn_of(messages[i], here);
    const bool system = i == 0 && turn.role() == "system";
    const bool after_user = !turns.empty() && turns.back().role() == "user";
    const std::string expected = after_user ? "assistant" : i == 0 ? "system or user" : "user";
    if (!system && turn.role() != (after_user ? "assistant" : "user")) refuse(here + ": role", expected, in_quotes(turn.role()));
    turns.push_back(std::move(turn));
  }
  if (turns.back().role() != last) refuse(where, "a message of role " + last + " at the end", turns.back().role());
  return turns;
}

/// The last of `turns`, which is the user's, as the question, and those before it.
void set_text(records::Question& question, std::vector<records::Turn> turns, const std::string& where) {
  if (text::trim(turns.back().content()).empty()) refuse(where, "a question", "white space");
  question.set_text(turns.back().content());
  turns.pop_back();
  for (records::Turn& turn : turns) *question.add_turns() = std::move(turn);
  question.set_language(text::dominant_language(whole_text(question)));
  question.set_category(records::REASONING);
}

/// A prompt: a string, or messages of which the last is the user's.
void set_prompt(records::Question& question, const json& prompt, const std::string& where) {
  std::vector<records::Turn> turns;
  if (prompt.is_string()) {
    turns.emplace_back().set_content(prompt.get<std::string>());
  } else if (prompt.is_array()) {
    turns = turns_of(prompt, "user", where);
  } else {
    refuse(where, "a string or messages", prompt.type_name());
  }
  set_text(question, std::move(turns), where);
}

/// What is learned: a thought, if it begins with one, and the answer. The opening tag may be in the prompt, where DeepSeek-R1's template of
/// February 2025 has it.
void set_completion(records::Question& question, std::string_view completion, const std::string& where) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  completion = text::trim(completion);
  const size_t close = completion.find(kClose);
  const size_t first = completion.starts_with(kOpen) ? kOpen.size() : 0;
  if (close != std::string_view::npos && (first > 0 || completion.find(kOpen) > close)) {
    question.set_solution(std::string(text::trim(completion.substr(first, close - first))));
    completion = text::trim(completion.substr(close + kClose.size()));
  }
  if (completion.empty()) refuse(where, "an answer", "white space");
  question.set_answer(std::string(completion));
}

// ---- The forms -----------------------------------------------------------------------------------------------------------------------

std::string ground_truth_text(const json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number()) refuse(where, "a string or a number", value.type_name());
  return value.dump();
}

void set_source(records::Question& question, const json& row, const char* otherwise) {
  const json* source = find(row, "data_source");
  question.set_source(source != nullptr && source->is_string() && !source->get_ref<const std::string&>().empty()
                          ? source->get<std::string>()
                          : std::string(otherwise));
}

records::Question gsm8k_question(const json& row, const std::string& where) {
  records::Question question;
  set_prompt(question, string_member(row, "question", where), where + ": question");
  split_worked_answer(string_member(row, "answer", where), where + ": answer", *question.mutable_solution(), *question.mutable_answer());
  question.set_ground_truth(plain_number(question.answer(), where + ": answer"));
  question.set_verifier("number");
  question.set_source("gsm8k");
  return question;
}

std::string verifier_by_source(const std::string& source, const std::string& where) {
  const auto is_one_of = [&](const auto& sources) { return std::find(sources.begin(), sources.end(), source) != sources.end(); };
  if (is_one_of(kCodeSources))
    refuse(where + ": data_source", "an answer that can be compared", in_quotes(source) + ", whose ground truth is tests" + kNeedsSandbox);
  if (source == "openai/gsm8k" || source == "gsm8k") return "number";
  return source.starts_with("aime") || is_one_of(kMathSources) ? "math" : "exact";
}

/// Where the object names one.
void set_verifier(records::Question& question, const json& object, const std::string& where) {
  if (find(object, "verifier") == nullptr) return;
  question.set_verifier(string_member(object, "verifier", where));
  if (std::find(kVerifiers.begin(), kVerifiers.end(), question.verifier()) == kVerifiers.end())
    refuse(where + ": verifier", join({kVerifiers.begin(), kVerifiers.end()}), in_quotes(question.verifier()));
}

/// What may be said in extra_info.
void apply_extra(records::Question& question, const json& extra, const std::string& where) {
  if (!extra.is_object()) refuse(where, "an object", extra.type_name());
  set_verifier(question, extra, where);
  if (find(extra, "language") != nullptr) {
    question.set_language(string_member(extra, "language", where));
    if (question.language() != "en" && question.language() != "zh")
      refuse(where + ": language", "en or zh", in_quotes(question.language()));
  }
  const json* answer = find(extra, "answer");
  if (answer != nullptr && answer->is_string() && answer->get_ref<const std::string&>().find("####") != std::string::npos)
    split_worked_answer(answer->get_ref<const std::string&>(), where + ": answer", *question.mutable_solution(),
                        *question.mutable_answer());
}

records::Question verl_question(const json& row, const std::string& where) {
  records::Question question;
  set_prompt(question, member(row, "prompt", where), where + ": prompt");
  question.set_source(string_member(row, "data_source", where));
  const json& reward_model = member(row, "reward_model", where);
  if (!reward_model.is_object()) refuse(where + ": reward_model", "an object", reward_model.type_name());
  const std::string here = where + ": reward_model.ground_truth";
  const json* truth = find(reward_model, "ground_truth");
  if (truth == nullptr) refuse(here, "a value", "nothing");
  question.set_ground_truth(ground_truth_text(*truth, here));
  question.set_answer(question.ground_truth());
  if (const json* extra = find(row, "extra_info")) apply_extra(question, *extra, where + ": extra_info");
  if (question.verifier().empty()) question.set_verifier(verifier_by_source(question.source(), where));
  if (text::trim(question.ground_truth()).empty()) refuse(here, "an answer to compare with", "white space");
  if (question.verifier() == "number") question.set_ground_truth(plain_number(question.ground_truth(), here));
  return question;
}

/// What a worked solution ends in.
struct FinalAnswer {
  std::string text;
  bool marked = false;  ///< by #### or \boxed{}; otherwise it is the whole text
  std::string before;   ///< the solution without a line of ####
};

/// The line behind the last ####, which may be a headline where there is a \boxed{} too.
FinalAnswer final_answer(const std::string& text) {
  const std::string whole(text::trim(text));
  const size_t mark = text.rfind("####");
  const size_t begin = mark == std::string::npos ? text.size() : mark + 4;
  const std::string line(text::trim(std::string_view(text).substr(begin, text.find('\n', begin) - begin)));
  const std::optional<std::string> box = text::last_boxed(text);
  if (!line.empty() && (!box || as_number(line))) return {line, true, std::string(text::trim(std::string_view(text).substr(0, mark)))};
  return {box.value_or(whole), box.has_value(), whole};
}

void set_math_truth(records::Question& question, const std::string& answer, const std::string& where) {
  if (text::trim(answer).empty()) refuse(where, "an answer to compare with", "white space");
  question.set_ground_truth(std::string(text::trim(answer)));
  question.set_answer(question.ground_truth());
  question.set_verifier("math");
}

/// "Level 3" or 3; anything else is unknown.
uint32_t level_of(const json* level) {
  if (level == nullptr) return 0;
  if (level->is_number_unsigned() && level->get<uint64_t>() <= kMaxLevel) return level->get<uint32_t>();
  if (!level->is_string()) return 0;
  const std::string& text = level->get_ref<const std::string&>();
  return text.size() == 7 && text.starts_with("Level ") && text[6] >= '1' && text[6] <= '9' ? static_cast<uint32_t>(text[6] - '0') : 0;
}

records::Question math_question(const json& row, const std::string& where) {
  records::Question question;
  set_prompt(question, string_member(row, "problem", where), where + ": problem");
  const json* solution = find(row, "solution");
  if (solution != nullptr && solution->is_string()) question.set_solution(std::string(text::trim(solution->get_ref<const std::string&>())));
  const json* answer = find(row, "answer");
  if (answer != nullptr) {
    set_math_truth(question, ground_truth_text(*answer, where + ": answer"), where + ": answer");
  } else {
    if (question.solution().empty()) refuse(where, "an answer, or a solution with \\boxed{…}", "neither");
    const std::string boxed = text::last_boxed(question.solution()).value_or("");
    if (boxed.empty()) refuse(where + ": solution", "a \\boxed{…} whose braces close", in_quotes(question.solution()));
    set_math_truth(question, boxed, where + ": solution");
  }
  question.set_level(level_of(find(row, "level")));
  set_source(question, row, "math");
  return question;
}

std::string completion_text(const json& completion, const std::string& where) {
  if (completion.is_string()) return completion.get<std::string>();
  if (!completion.is_array() || completion.size() != 1) refuse(where, "a string or one message", completion.type_name());
  const records::Turn turn = turn_of(completion[0], where + "[0]");
  if (turn.role() != "assistant") refuse(where + "[0]: role", "assistant", in_quotes(turn.role()));
  return turn.content();
}

/// Of a row whose ground truth stands in the column `truth_key`.
std::string worked_solution(const json& row, std::string_view truth_key) {
  for (const char* key : {"solution", "answer", "ground_truth"}) {
    const json* text = find(row, key);
    if (text == nullptr || !text->is_string()) continue;
    const FinalAnswer final = final_answer(text->get_ref<const std::string&>());
    const bool names_itself = std::string_view(key) == "solution" && key != truth_key;
    if (final.marked || names_itself) return without_marks(final.before);
  }
  return "";
}

records::Question trl_question(const json& row, const std::string& where) {
  records::Question question;
  const char* asked = find(row, "prompt") != nullptr ? "prompt" : "question";
  set_prompt(question, member(row, asked, where), where + ": " + asked);
  set_source(question, row, "trl");
  for (const char* key : {"ground_truth", "answer", "solution"}) {
    const json* truth = find(row, key);
    if (truth == nullptr) continue;
    const std::string here = where + ": " + key;
    set_math_truth(question, final_answer(ground_truth_text(*truth, here)).text, here);
    set_verifier(question, row, where);
    if (question.verifier() == "number") question.set_ground_truth(plain_number(question.ground_truth(), here));
    question.set_solution(worked_solution(row, key));
    return question;
  }
  const json* completion = find(row, "completion");
  if (completion == nullptr) refuse(where, "ground_truth, answer, solution or completion beside the prompt", "none of them");
  set_completion(question, completion_text(*completion, where + ": completion"), where + ": completion");
  return question;
}

records::Question conversation(const json& row, const std::string& where) {
  const char* key = find(row, "messages") != nullptr ? "messages" : "conversations";
  const std::string here = where + ": " + key;
  std::vector<records::Turn> turns = turns_of(member(row, key, where), "assistant", here);
  records::Question question;
  const records::Turn reply = turns.back();
  turns.pop_back();
  set_text(question, std::move(turns), here);
  set_completion(question, reply.content(), here);
  set_source(question, row, "messages");
  return question;
}

std::string keys_of(const json& row) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : row.items()) keys.push_back(printable(key, 20));
  if (keys.size() > 8) keys.resize(8);
  return keys.empty() ? "no keys" : "the keys " + join(keys);
}

/// By the keys that are there. The first form that fits.
RowFormat format_of(const json& row, const std::string& where) {
  const auto has = [&row](const char* key) { return find(row, key) != nullptr; };
  if (has("prompt") && has("test") && has("entry_point"))
    refuse(where, "an answer that can be compared", std::string("hidden tests (test, entry_point)") + kNeedsSandbox);
  if (has("prompt") && has("reward_model")) return RowFormat::kVerl;
  if (has("problem")) return RowFormat::kMath;
  if (has("question") && has("ground_truth")) return RowFormat::kTrl;
  if (has("question") && has("answer")) return RowFormat::kGsm8k;
  if (has("messages") || has("conversations")) return RowFormat::kMessages;
  if (has("prompt")) return RowFormat::kTrl;
  refuse(where,
         "question and answer (gsm8k), prompt, data_source and reward_model (verl), problem and answer (math), prompt or question and "
         "ground_truth, "
         "answer, solution or completion (trl), or messages",
         keys_of(row));
}

ordered_json messages_of(const records::Question& question) {
  ordered_json messages = ordered_json::array();
  for (const records::Turn& turn : question.turns()) messages.push_back({{"role", turn.role()}, {"content", turn.content()}});
  messages.push_back({{"role", "user"}, {"content", question.text()}});
  return messages;
}

}  // namespace

const std::vector<std::string>& row_format_names() {
  static const std::vector<std::string> names = {"auto", "verl", "gsm8k", "trl", "math", "messages"};
  return names;
}

RowFormat row_format(std::string_view name) {
  const auto& names = row_format_names();
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? RowFormat::kAuto : static_cast<RowFormat>(found - names.begin());
}

records::Question question_of(const json& row, RowFormat format, const std::string& where) {
  if (!row.is_object()) refuse(where, "an object", row.type_name());
  switch (format == RowFormat::kAuto ? format_of(row, where) : format) {
    case RowFormat::kVerl:
      return verl_question(row, where);
    case RowFormat::kGsm8k:
      return gsm8k_question(row, where);
    case RowFormat::kMath:
      return math_question(row, where);
    case RowFormat::kTrl:
      return trl_question(row, where);
    case RowFormat::kMessages:
      return conversation(row, where);
    case RowFormat::kAuto:
      break;
  }
  throw Fault("a row without a form");
}

bool is_exact_unasked(const json& row, const records::Question& question) {
  const auto asks = [](const json& object) {
    const json* verifier = object.is_object() ? find(object, "verifier") : nullptr;
    return verifier != nullptr && *verifier == "exact";
  };
  const json* extra = find(row, "extra_info");
  return question.verifier() == "exact" && !asks(row) && (extra == nullptr || !asks(*extra));
}

ordered_json row_of(const records::Question& question) {
  ordered_json messages = messages_of(question);
  if (question.verifier().empty()) {
    // An answer with a closing tag needs an empty thought before it, or what precedes the tag is read as one.
    const bool thinks = !question.solution().empty() || question.answer().find("</think>") != std::string::npos;
    const std::string thought = thinks ? "<think>\n" + question.solution() + "\n</think>\n" : "";
    messages.push_back({{"role", "assistant"}, {"content", thought + question.answer()}});
    return {{"data_source", question.source()}, {"messages", std::move(messages)}};
  }
  ordered_json extra = {{"verifier", question.verifier()}, {"language", question.language()}};
  if (!question.solution().empty()) extra["answer"] = question.solution() + "\n#### " + question.answer();
  return {{"data_source", question.source()},
          {"prompt", std::move(messages)},
          {"reward_model", {{"style", "rule"}, {"ground_truth", question.ground_truth()}}},
          {"extra_info", std::move(extra)}};
}

std::string whole_text(const records::Question& question) {
  std::string text;
  for (const records::Turn& turn : question.turns()) text += turn.content() + "\n";
  return text + question.text();
}

}  // namespace cohort::data
