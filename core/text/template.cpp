#include "core/text/template.h"

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "core/base/text_util.h"
#include "core/text/boxed.h"
#include "core/text/chat/chat_prompt.h"
#include "core/text/utf8.h"

namespace cohort::text {
namespace {

using Kind = TemplatePart::Kind;
using Parts = std::vector<TemplatePart>;

constexpr std::array<std::string_view, 4> kTags = {kThinkOpen, kThinkClose, kAnswerOpen, kAnswerClose};

/// R1, Table 1, in other words: it asks for a form and says nothing about how to think.
constexpr const char* kR1ZeroInstructions =
    "This is a conversation between User and Assistant. User asks something and Assistant works it out. Assistant first thinks the "
    "question through in private and then gives User the result. The thinking is written between <think> and </think> and the result "
    "between <answer> and </answer>, that is: <think> thinking </think> <answer> result </answer>.\nUser: ";

std::vector<PromptTemplate> make_templates() {
  const Parts to_assistant = {{Kind::kText, "\nAssistant:"}};
  const Parts chat_before = {{Kind::kSpecial, kBegin}, {Kind::kSpecial, kUser}};
  const Parts chat_after = {{Kind::kSpecial, kAssistant}};
  Parts chat_think_after = chat_after;
  chat_think_after.push_back({Kind::kSpecial, kThinkOpen});
  chat_think_after.push_back({Kind::kText, "\n"});
  return {
      {"r1_zero", {{Kind::kText, kR1ZeroInstructions}}, to_assistant, Structure::kThinkAnswer, false},
      {"r1_zero_brief", {{Kind::kText, "User: "}}, to_assistant, Structure::kThinkAnswer, false},
      {"chat", chat_before, chat_after, Structure::kThinkText, false},
      {"chat_think", chat_before, chat_think_after, Structure::kThinkText, true},
      {"plain", {}, {}, Structure::kText, false},
  };
}

const std::vector<PromptTemplate>& templates() {
  static const std::vector<PromptTemplate> all = make_templates();
  return all;
}

/// The templates that write with a model's own chat template.
struct Conversation {
  std::string_view name;
  Structure structure;
};
constexpr std::array<Conversation, 5> kConversations = {{{"model", Structure::kText},
                                                         {"model_boxed", Structure::kBoxed},
                                                         {"model_gsm8k", Structure::kHashes},
                                                         {"model_think", Structure::kThinkText},
                                                         {"model_r1", Structure::kThinkAnswer}}};

const Conversation* find_conversation(std::string_view name) {
  const auto found = std::find_if(kConversations.begin(), kConversations.end(), [&](const Conversation& c) { return c.name == name; });
  return found == kConversations.end() ? nullptr : &*found;
}

void require_specials(const Parts& parts, const Tokenizer& tokenizer, const std::string& template_name) {
  for (const TemplatePart& part : parts)
    if (part.kind == Kind::kSpecial && !tokenizer.special_id(part.text))
      throw InputError("template: expected a tokenizer with the special token " + part.text + ", found none; template " + template_name +
                       " needs it");
}

size_t count(std::string_view text, std::string_view tag) {
  size_t found = 0;
  for (size_t at = text.find(tag); at != std::string_view::npos; at = text.find(tag, at + tag.size())) ++found;
  return found;
}

std::string_view between(std::string_view text, size_t first, size_t last) { return trim(text.substr(first, last - first)); }

/// The inside of the think block: from its opening tag (or the start, where the prompt has opened it) to what closes it.
std::string_view find_think(std::string_view text, const PromptTemplate& prompt_template) {
  const std::string_view open = kThinkOpen;
  size_t first = text.find(open);
  if (first != std::string_view::npos) first += open.size();
  if (prompt_template.opens_think(text)) first = 0;
  if (first == std::string_view::npos) return {};
  size_t last = text.find(kThinkClose, first);
  if (prompt_template.structure() == Structure::kThinkAnswer) last = std::min(last, text.find(kAnswerOpen, first));
  return between(text, first, std::min(last, text.size()));
}

/// Where an answer stands in a completion: what comes before its form, the answer, and what comes after.
struct Place {
  std::string_view before, answer, after;
};

constexpr std::string_view kHashMarks = "####";

/// The last \boxed{…}; everything is before it where there is none, or its braces do not close.
Place find_box(std::string_view text) {
  constexpr std::string_view kOpen = "\\boxed{";
  const size_t open = text.rfind(kOpen);
  if (open == std::string_view::npos) return {text, {}, {}};
  const size_t first = open + kOpen.size(), end = behind_braces(text, first - 1);
  if (end == std::string_view::npos) return {text, {}, {}};
  return {text.substr(0, open), between(text, first, end - 1), text.substr(end)};
}

/// What follows the last "####" on its line.
Place find_hashes(std::string_view text) {
  const size_t marks = text.rfind(kHashMarks);
  if (marks == std::string_view::npos) return {text, {}, {}};
  const size_t first = marks + kHashMarks.size();
  const size_t last = std::min(text.find('\n', first), text.size());
  return {text.substr(0, marks), between(text, first, last), text.substr(last)};
}

Place find_place(std::string_view text, Structure structure) { return structure == Structure::kBoxed ? find_box(text) : find_hashes(text); }

bool has_place(Structure structure) { return structure == Structure::kBoxed || structure == Structure::kHashes; }

std::string_view find_answer(std::string_view text, const PromptTemplate& prompt_template) {
  constexpr size_t kNone = std::string_view::npos;
  const Structure structure = prompt_template.structure();
  if (structure == Structure::kText) return trim(behind_thought(text, prompt_template.opens_think()));
  if (structure == Structure::kHashes) return find_hashes(text).answer;
  if (structure == Structure::kThinkText) {
    const std::string_view close = kThinkClose;
    const size_t end = text.rfind(close);
    return end == kNone ? std::string_view{} : between(text, end + close.size(), text.size());
  }
  const std::string_view open = kAnswerOpen;
  const size_t last = text.rfind(kAnswerClose);
  const size_t first = last == kNone ? kNone : text.substr(0, last).rfind(open);
  return first == kNone ? std::string_view{} : between(text, first + open.size(), last);
}

/// Whether the text is PART <tag> PART <tag> … with each of `tags` once and in this order, and no other tag anywhere; `parts` receives what
/// stands around them, trimmed.
bool split_by_tags(std::string_view text, const std::vector<std::string_view>& tags, std::vector<std::string_view>& parts) {
  for (const std::string_view tag : kTags) {
    const size_t expected = std::find(tags.begin(), tags.end(), tag) == tags.end() ? 0 : 1;
    if (count(text, tag) != expected) return false;
  }
  size_t first = 0;
  for (const std::string_view tag : tags) {
    const size_t last = text.find(tag, first);
    if (last == std::string_view::npos) return false;
    parts.push_back(between(text, first, last));
    first = last + tag.size();
  }
  parts.push_back(between(text, first, text.size()));
  return true;
}

bool answers_in_place(std::string_view text, Structure structure) {
  const Place place = find_place(text, structure);
  if (place.answer.empty() || trim(place.before).empty()) return false;
  const std::string_view allowed_after = structure == Structure::kBoxed ? " \t\r\n.$\\)]" : " \t\r\n";
  return place.after.find_first_not_of(allowed_after) == std::string_view::npos &&
         count(text, structure == Structure::kBoxed ? "\\boxed" : kHashMarks) == 1;
}

bool is_well_formed(std::string_view text, const PromptTemplate& prompt_template) {
  std::vector<std::string_view> parts;
  switch (prompt_template.structure()) {
    case Structure::kText:
      return split_by_tags(text, {}, parts) && !parts[0].empty();
    case Structure::kThinkText:
      if (prompt_template.opens_think(text)) return split_by_tags(text, {kThinkClose}, parts) && !parts[0].empty() && !parts[1].empty();
      return split_by_tags(text, {kThinkOpen, kThinkClose}, parts) && parts[0].empty() && !parts[1].empty() && !parts[2].empty();
    case Structure::kThinkAnswer:
      if (prompt_template.opens_think(text))
        return split_by_tags(text, {kThinkClose, kAnswerOpen, kAnswerClose}, parts) && !parts[0].empty() && parts[1].empty() &&
               !parts[2].empty() && parts[3].empty();
      return split_by_tags(text, {kThinkOpen, kThinkClose, kAnswerOpen, kAnswerClose}, parts) && parts[0].empty() && !parts[1].empty() &&
             parts[2].empty() && !parts[3].empty() && parts[4].empty();
    case Structure::kBoxed:
    case Structure::kHashes:
      return answers_in_place(text, prompt_template.structure());
  }
  throw Fault("unknown structure of a template");
}

}  // namespace

bool PromptConfig::is_known() const { return is_template(name) || is_conversation(); }

bool PromptConfig::is_conversation() const { return find_conversation(name) != nullptr; }

const std::vector<std::string>& PromptConfig::names() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> result = template_names();
    for (const Conversation& conversation : kConversations) result.emplace_back(conversation.name);
    return result;
  }();
  return all;
}

std::string PromptConfig::known_names() { return join(names()); }

nlohmann::json prompt_to_json(const PromptConfig& config) {
  nlohmann::json object = {{"template", config.name}};
  if (!config.system_prompt.empty()) object["system_prompt"] = config.system_prompt;
  if (!config.examples.empty()) object["prompt_examples"] = config.examples;
  return object;
}

PromptConfig prompt_from_json(const nlohmann::json& object, const std::string& where) {
  const auto text_under = [&](const nlohmann::json& value, const char* key) {
    if (!value.is_string()) throw InputError(where + ": " + key + ": expected a string, found " + printable(value.dump()));
    return value.get<std::string>();
  };
  PromptConfig config;
  if (!object.is_object() || !object.contains("template") || !object["template"].is_string())
    throw InputError(where + ": template: expected the name of a prompt template, found none");
  config.name = object["template"].get<std::string>();
  if (object.contains("system_prompt")) config.system_prompt = text_under(object["system_prompt"], "system_prompt");
  if (object.contains("prompt_examples")) {
    if (!object["prompt_examples"].is_array() || object["prompt_examples"].size() % 2 != 0)
      throw InputError(where + ": prompt_examples: expected a list of questions and answers in turn, found something else");
    for (const nlohmann::json& example : object["prompt_examples"]) config.examples.push_back(text_under(example, "prompt_examples"));
  }
  if (!config.is_known())
    throw InputError(where + ": template: expected one of " + PromptConfig::known_names() + ", found \"" + printable(config.name) + "\"");
  return config;
}

PromptTemplate::PromptTemplate(PromptConfig config, Structure structure, const ChatTemplate& chat, const Tokenizer& tokenizer)
    : name_(config.name), structure_(structure), opens_think_(false), config_(std::move(config)), chat_(&chat) {
  opens_think_ = trim(text_of(conversation({}, "?", tokenizer))).ends_with(kThinkOpen);
}

std::vector<ChatPart> PromptTemplate::conversation(const std::vector<Turn>& turns, std::string_view question,
                                                   const Tokenizer& tokenizer) const {
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  const auto add = [&](std::string_view role, std::string_view content) {
    messages.push_back({{"role", role}, {"content", replace_invalid(content)}});
  };
  auto turn = turns.begin();
  if (turn != turns.end() && turn->role == "system")
    add("system", (turn++)->content);
  else if (!config_.system_prompt.empty())
    add("system", config_.system_prompt);
  for (size_t i = 0; i < config_.examples.size(); ++i) add(i % 2 == 0 ? "user" : "assistant", config_.examples[i]);
  for (; turn != turns.end(); ++turn) add(turn->role, turn->content);
  add("user", question);
  ChatOptions options = chat_options(tokenizer);
  options.add_generation_prompt = true;
  return chat_->render(messages, options);
}

bool PromptTemplate::opens_think(std::string_view completion) const {
  return opens_think_ || (may_open_think_ && completion.find(kThinkClose) < completion.find(kThinkOpen));
}

std::vector<int32_t> PromptTemplate::render(const std::vector<Turn>& turns, std::string_view question, const Tokenizer& tokenizer) const {
  if (chat_ == nullptr) throw Fault("the template " + name_ + " writes no conversations");
  return encode_chat(conversation(turns, question, tokenizer), tokenizer);
}

std::vector<int32_t> PromptTemplate::render(std::string_view question, const Tokenizer& tokenizer) const {
  if (chat_ != nullptr) return render({}, question, tokenizer);
  require_specials(before_, tokenizer, name_);
  require_specials(after_, tokenizer, name_);
  std::vector<ChatPart> parts;
  for (const TemplatePart& part : before_) parts.push_back({part.text, false});
  parts.push_back({std::string(question), true});
  for (const TemplatePart& part : after_) parts.push_back({part.text, false});
  std::vector<int32_t> ids;
  const bool writes_begin = !before_.empty() && before_.front().kind == Kind::kSpecial;
  if (!writes_begin) ids = tokenizer.begin_ids();
  const std::vector<int32_t> text = encode_chat(parts, tokenizer);
  ids.insert(ids.end(), text.begin(), text.end());
  return ids;
}

const PromptTemplate& find_template(std::string_view name) {
  for (const PromptTemplate& candidate : templates())
    if (candidate.name() == name) return candidate;
  throw InputError("template: expected one of " + join(template_names()) + ", found \"" + printable(name) + "\"");
}

const std::vector<std::string>& template_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const PromptTemplate& candidate : templates()) result.push_back(candidate.name());
    return result;
  }();
  return names;
}

bool is_template(std::string_view name) {
  return std::find(template_names().begin(), template_names().end(), name) != template_names().end();
}

PromptTemplate completion_form(const std::string& name) {
  const Conversation* conversation = find_conversation(name);
  if (conversation == nullptr) return find_template(name);
  PromptTemplate form(name, {}, {}, conversation->structure, false);
  form.may_open_think_ = true;
  return form;
}

PromptTemplate make_prompt_template(const PromptConfig& config, const Tokenizer& tokenizer) {
  const Conversation* conversation = find_conversation(config.name);
  if (conversation == nullptr) {
    if (!is_template(config.name))
      throw InputError("template: expected one of " + PromptConfig::known_names() + ", found \"" + printable(config.name) + "\"");
    return find_template(config.name);
  }
  const ChatTemplate* chat = tokenizer.chat_template();
  if (chat == nullptr)
    throw InputError("template: expected a tokenizer with a chat template, found none; template " + config.name + " needs it");
  return PromptTemplate(config, conversation->structure, *chat, tokenizer);
}

std::string_view behind_thought(std::string_view completion, bool opens_think) {
  constexpr size_t kNone = std::string_view::npos;
  const std::string_view closing = kThinkClose;
  const size_t open = completion.rfind(kThinkOpen), close = completion.rfind(closing);
  if (open != kNone && (close == kNone || close < open)) return {};
  if (close != kNone) return completion.substr(close + closing.size());
  return opens_think ? std::string_view{} : completion;
}

Parsed parse_completion(const PromptTemplate& prompt_template, std::string_view completion) {
  Parsed parsed;
  parsed.well_formed = is_well_formed(completion, prompt_template);
  if (has_place(prompt_template.structure()))
    parsed.think = trim(find_place(completion, prompt_template.structure()).before);
  else if (prompt_template.structure() != Structure::kText)
    parsed.think = find_think(completion, prompt_template);
  if (prompt_template.structure() == Structure::kBoxed)
    parsed.answer = last_boxed(completion).value_or("");  // as a ground truth is read
  else
    parsed.answer = find_answer(completion, prompt_template);
  return parsed;
}

Parsed parse_completion(const PromptTemplate& prompt_template, const Tokenizer& tokenizer, std::span<const int32_t> completion_ids) {
  if (!completion_ids.empty() && tokenizer.is_end(completion_ids.back())) completion_ids = completion_ids.first(completion_ids.size() - 1);
  const auto is_stray = [&](int32_t id) {
    return tokenizer.is_special(id) && std::find(kTags.begin(), kTags.end(), tokenizer.piece(id)) == kTags.end();
  };
  Parsed parsed = parse_completion(prompt_template, tokenizer.decode(completion_ids));
  if (std::any_of(completion_ids.begin(), completion_ids.end(), is_stray)) parsed.well_formed = false;
  return parsed;
}

std::vector<int32_t> render_completion(const PromptTemplate& prompt_template, const Tokenizer& tokenizer, std::string_view think,
                                       std::string_view answer) {
  const Structure structure = prompt_template.structure();
  const bool opens = !prompt_template.opens_think();
  std::vector<ChatPart> parts;
  const auto own = [&](std::string_view text) { parts.push_back({std::string(text), false}); };
  const auto given = [&](std::string_view text) { parts.push_back({std::string(text), true}); };
  if (structure == Structure::kThinkAnswer) {
    own(opens ? "<think>" : ""), given(think), own("</think><answer>"), given(answer), own("</answer>");
  } else if (structure == Structure::kThinkText) {
    own(opens ? "<think>\n" : ""), given(think), own("\n</think>\n"), given(answer);
  } else if (structure == Structure::kBoxed) {
    given(think), own("\n\\boxed{"), given(answer), own("}");
  } else if (structure == Structure::kHashes) {
    given(think), own("\n#### "), given(answer);
  } else {
    given(answer);
  }
  std::vector<int32_t> ids = encode_chat(parts, tokenizer);
  ids.push_back(tokenizer.end_id());
  return ids;
}

}  // namespace cohort::text
