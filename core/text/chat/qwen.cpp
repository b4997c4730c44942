// Qwen2.5, Qwen3 and Qwen3-Instruct-2507: ChatML with tools.

#include "core/text/chat/native.h"

namespace cohort::text::chat {
namespace {

constexpr const char* kStart = "<|im_start|>";
constexpr const char* kEnd = "<|im_end|>\n";

constexpr const char* kBeforeTools =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with function signatures within "
    "<tools></tools> XML tags:\n<tools>";
constexpr const char* kBehindTools =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\n"
    "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";

void write_tools(const Value& tools, PartWriter& out) {
  out.own(kBeforeTools);
  for (const Value& tool : tools.items()) out.own("\n").given(tool.to_json());
  out.own(kBehindTools);
}

void write_turn(const Value& message, std::string_view content, PartWriter& out) {
  out.own(kStart).given(message["role"].text()).own("\n").given(content).own(kEnd);
}

/// Outputs of tools that follow each other are one turn of the user.
void write_output(const Conversation& conversation, size_t i, std::string_view content, PartWriter& out) {
  if (i == 0 || !conversation.has_role(i - 1, "tool")) out.own(kStart).own("user");
  out.own("\n<tool_response>\n").given(content).own("\n</tool_response>");
  if (!conversation.has_role(i + 1, "tool")) out.own(kEnd);
}

void write_generation_prompt(const Conversation& conversation, PartWriter& out) {
  if (conversation.options.add_generation_prompt) out.own(kStart).own("assistant\n");
}

/// A turn that is written as it is: of the user, or of the system unless it is the first.
bool is_plain(const Conversation& conversation, size_t i) {
  return conversation.has_role(i, "user") || (i > 0 && conversation.has_role(i, "system"));
}

// Qwen2.5

void write_system_25(const Conversation& conversation, PartWriter& out) {
  constexpr const char* kDefault = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";
  const bool has_system = conversation.first()["role"].is("system");
  const Value tools = conversation.variable("tools"), content = conversation.first()["content"];
  out.own(kStart).own("system\n");
  if (!has_system) out.own(kDefault);
  if (tools.truthy()) {
    if (has_system) out.given(content.printed());
    out.own("\n\n");
    write_tools(tools, out);
  } else {
    if (has_system) out.given(content.text());
    out.own(kEnd);
  }
}

void write_calls_25(const Value& message, PartWriter& out) {
  const Value content = message["content"];
  out.own(kStart).given(message["role"].text());
  if (content.truthy()) out.own("\n").given(content.text());
  for (const Value& each : message["tool_calls"].items()) {
    const Value call = each["function"].defined() ? each["function"] : each;
    out.own("\n<tool_call>\n{\"name\": \"").given(call["name"].printed());
    out.own("\", \"arguments\": ").given(call["arguments"].to_json()).own("}\n</tool_call>");
  }
  out.own(kEnd);
}

void render_qwen25(const Conversation& conversation, PartWriter& out) {
  write_system_25(conversation, out);
  for (size_t i = 0; i < conversation.messages.size(); ++i) {
    const Value& message = conversation.messages[i];
    const bool answers = conversation.has_role(i, "assistant");
    if (answers && message["tool_calls"].truthy()) {
      write_calls_25(message, out);
    } else if (answers || is_plain(conversation, i)) {
      write_turn(message, message["content"].text(), out);
    } else if (conversation.has_role(i, "tool")) {
      write_output(conversation, i, message["content"].printed(), out);
    }
  }
  write_generation_prompt(conversation, out);
}

// Qwen3

enum class Thinking {
  kNone,   // instruct-2507
  kLast,   // kept behind the last query of the user
  kEvery,  // for training
};

void write_system_3(const Conversation& conversation, PartWriter& out) {
  const Value& first = conversation.first();
  const bool has_system = first["role"].is("system"), has_tools = conversation.variable("tools").truthy();
  if (!has_system && !has_tools) return;
  out.own(kStart).own("system\n");
  if (has_system) out.given(first["content"].text()).own(has_tools ? "\n\n" : kEnd);
  if (has_tools) write_tools(conversation.variable("tools"), out);
}

std::string_view text_or_nothing(const Value& value) { return value.is_string() ? std::string_view(value.text()) : std::string_view(); }

/// The last question of the user, which is not the output of a tool in a user's turn; the last message where there is none.
size_t last_query(const std::vector<Value>& messages) {
  for (size_t i = messages.size(); i-- > 0;) {
    if (!messages[i]["role"].is("user") || !messages[i]["content"].is_string()) continue;
    const std::string& content = messages[i]["content"].text();
    if (!content.starts_with("<tool_response>") || !content.ends_with("</tool_response>")) return i;
  }
  return messages.size() - 1;
}

struct Answer {
  std::string_view reasoning, content;
};

/// Of the key reasoning_content, else of the think block in the content.
Answer split_answer(const Value& message) {
  constexpr std::string_view kOpen = "<think>", kClose = "</think>";
  const std::string_view content = text_or_nothing(message["content"]);
  if (message["reasoning_content"].is_string()) return {message["reasoning_content"].text(), content};
  const size_t first_close = content.find(kClose);
  if (first_close == std::string_view::npos) return {"", content};
  std::string_view reasoning = strip_newlines(content.substr(0, first_close), false, true);
  if (const size_t open = reasoning.rfind(kOpen); open != std::string_view::npos) reasoning.remove_prefix(open + kOpen.size());
  const std::string_view behind = content.substr(content.rfind(kClose) + kClose.size());
  return {strip_newlines(reasoning, true, false), strip_newlines(behind, true, false)};
}

void write_calls_3(const Value& calls, bool has_content, PartWriter& out) {
  bool first = true;
  for (const Value& each : calls.items()) {
    const Value call = each["function"].truthy() ? each["function"] : each;
    const Value arguments = call["arguments"];
    out.own(first && !has_content ? "" : "\n").own("<tool_call>\n{\"name\": \"").given(call["name"].printed());
    out.own("\", \"arguments\": ").given(arguments.is_string() ? arguments.text() : arguments.to_json()).own("}\n</tool_call>");
    first = false;
  }
}

void write_answer_3(const Value& message, const Answer& answer, bool thinks, PartWriter& out) {
  out.own(kStart).given(message["role"].text()).own("\n");
  if (thinks) {
    out.own("<think>\n").given(strip_newlines(answer.reasoning, true, true)).own("\n</think>\n\n");
    out.given(strip_newlines(answer.content, true, false));
  } else {
    out.given(answer.content);
  }
  if (message["tool_calls"].truthy()) write_calls_3(message["tool_calls"], !answer.content.empty(), out);
  out.own(kEnd);
}

void render_qwen3(const Conversation& conversation, Thinking thinking, PartWriter& out) {
  write_system_3(conversation, out);
  const auto& messages = conversation.messages;
  const size_t query = last_query(messages);
  for (size_t i = 0; i < messages.size(); ++i) {
    const std::string_view content = text_or_nothing(messages[i]["content"]);
    if (is_plain(conversation, i)) {
      write_turn(messages[i], content, out);
    } else if (conversation.has_role(i, "assistant")) {
      const Answer answer = thinking == Thinking::kNone ? Answer{"", content} : split_answer(messages[i]);
      const bool kept = i > query && (i + 1 == messages.size() || !answer.reasoning.empty());
      write_answer_3(messages[i], answer, thinking == Thinking::kEvery || (thinking == Thinking::kLast && kept), out);
    } else if (conversation.has_role(i, "tool")) {
      write_output(conversation, i, content, out);
    }
  }
  write_generation_prompt(conversation, out);
  const bool closes = thinking != Thinking::kNone && conversation.variable("enable_thinking").is_false();
  if (conversation.options.add_generation_prompt && closes) out.own("<think>\n\n</think>\n\n");
}

}  // namespace

std::vector<NativeTemplate> qwen_templates() {
  return {
      {"qwen2.5", {"e392aa06018503fd2469c9508f79506e", "bf4790988fe77f85e44712543961e79d"}, render_qwen25},
      {"qwen3",
       {"0fab82ce8f4d5175c9e0155c80737cf2"},
       [](const Conversation& c, PartWriter& out) { render_qwen3(c, Thinking::kLast, out); }},
      {"qwen3_training",
       {"a47abe7ce632ea1b81aa0a9f3b5fe3a7"},
       [](const Conversation& c, PartWriter& out) { render_qwen3(c, Thinking::kEvery, out); }},
      {"qwen3_instruct_2507",
       {"cc9ddd5a40bc1c0c8fb5d937b1e8f5d0"},
       [](const Conversation& c, PartWriter& out) { render_qwen3(c, Thinking::kNone, out); }},
  };
}

}  // namespace cohort::text::chat
