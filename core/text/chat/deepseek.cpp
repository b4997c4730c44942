// DeepSeek-V3, R1 and R1's distilled models: one text without line ends between the turns; calls of tools and their outputs in tokens of
// their own. The flags that the templates keep through the whole conversation (first_call, first_output) are never set back by them.

#include "core/text/chat/native.h"

namespace cohort::text::chat {
namespace {

constexpr const char* kUser = "<｜User｜>";
constexpr const char* kAssistant = "<｜Assistant｜>";
constexpr const char* kEnd = "<｜end▁of▁sentence｜>";
constexpr const char* kCallsBegin = "<｜tool▁calls▁begin｜>";
constexpr const char* kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr const char* kOutputsBegin = "<｜tool▁outputs▁begin｜>";
constexpr const char* kOutputsEnd = "<｜tool▁outputs▁end｜>";

struct Variant {
  bool opens_thinking;        // February 2025: the generation prompt opens the think block
  bool keeps_reasoning;       // in earlier turns
  bool dumps_arguments;       // through tojson
  const char* before_output;  // of a tool, but the first
};

struct State {
  bool in_tool = false, first_call = true, first_output = true;
};

std::string_view without_reasoning(std::string_view content) {
  constexpr std::string_view kClose = "</think>";
  const size_t last = content.rfind(kClose);
  return last == std::string_view::npos ? content : content.substr(last + kClose.size());
}

void write_call(const Value& call, const Variant& variant, PartWriter& out) {
  const Value function = call["function"];
  const Value arguments = function["arguments"];
  out.own("<｜tool▁call▁begin｜>").given(call["type"].text()).own("<｜tool▁sep｜>").given(function["name"].text());
  out.own("\n```json\n").given(variant.dumps_arguments ? arguments.to_json() : arguments.text()).own("\n```<｜tool▁call▁end｜>");
}

void write_answer(const Value& message, const Variant& variant, State& state, PartWriter& out) {
  const std::string& content = message["content"].text();
  if (state.in_tool) {
    out.own(kOutputsEnd).given(content).own(kEnd);
    state.in_tool = false;
    return;
  }
  out.own(kAssistant).given(variant.keeps_reasoning ? content : without_reasoning(content)).own(kEnd);
}

void write_output(const Value& message, const Variant& variant, State& state, PartWriter& out) {
  state.in_tool = true;
  out.own(state.first_output ? kOutputsBegin : variant.before_output);
  out.own("<｜tool▁output▁begin｜>").given(message["content"].text()).own("<｜tool▁output▁end｜>");
  state.first_output = false;
}

void write_end(const Conversation& conversation, const Variant& variant, const State& state, PartWriter& out) {
  if (state.in_tool) {
    out.own(kOutputsEnd);
  } else if (conversation.options.add_generation_prompt) {
    out.own(kAssistant).own(variant.opens_thinking ? "<think>\n" : "");
  }
}

/// Every call ends the list of calls but the first, as the template has it.
void write_calls_of_distill(const Value& message, const Variant& variant, State& state, PartWriter& out) {
  state.in_tool = false;
  for (const Value& call : message["tool_calls"].items()) {
    const bool first = state.first_call;
    out.own(first ? std::string(kAssistant) + kCallsBegin : "\n");
    write_call(call, variant, out);
    if (!first) out.own(kCallsEnd).own(kEnd);
    state.first_call = false;
  }
}

void render_distill(const Conversation& conversation, const Variant& variant, PartWriter& out) {
  std::string system;
  for (const Value& message : conversation.messages)
    if (message["role"].is("system")) system = message["content"].printed();
  out.own(conversation.options.bos_token).given(system);
  State state;
  for (const Value& message : conversation.messages) {
    const Value role = message["role"];
    if (role.is("user")) {
      state.in_tool = false;
      out.own(kUser).given(message["content"].text());
    } else if (role.is("assistant")) {
      message["content"].is_null() ? write_calls_of_distill(message, variant, state, out) : write_answer(message, variant, state, out);
    } else if (role.is("tool")) {
      write_output(message, variant, state, out);
    }
  }
  write_end(conversation, variant, state, out);
}

void write_calls(const Value& message, const Variant& variant, State& state, PartWriter& out) {
  state.in_tool = false;
  const Value content = message["content"];
  for (const Value& call : message["tool_calls"].items()) {
    if (state.first_call) {
      out.own(kAssistant).given(content.is_null() ? "" : content.text()).own(kCallsBegin);
    } else {
      out.own("\n");
    }
    write_call(call, variant, out);
    state.first_call = false;
  }
  out.own(kCallsEnd).own(kEnd);
}

void render_v3(const Conversation& conversation, const Variant& variant, PartWriter& out) {
  out.own(conversation.options.bos_token);
  bool first = true;
  for (const Value& message : conversation.messages)
    if (message["role"].is("system")) {
      out.own(first ? "" : "\n\n").given(message["content"].text());
      first = false;
    }
  State state;
  for (const Value& message : conversation.messages) {
    const Value role = message["role"];
    if (role.is("user")) {
      state.in_tool = false;
      out.own(kUser).given(message["content"].text());
    } else if (role.is("assistant")) {
      message.has("tool_calls") ? write_calls(message, variant, state, out) : write_answer(message, variant, state, out);
    } else if (role.is("tool")) {
      write_output(message, variant, state, out);
    }
  }
  write_end(conversation, variant, state, out);
}

constexpr Variant kV3{.opens_thinking = true, .keeps_reasoning = false, .dumps_arguments = false, .before_output = ""};
constexpr Variant kV3January{.opens_thinking = false, .keeps_reasoning = false, .dumps_arguments = false, .before_output = ""};
constexpr Variant kV3Training{.opens_thinking = true, .keeps_reasoning = false, .dumps_arguments = true, .before_output = ""};
constexpr Variant kDistill{.opens_thinking = true, .keeps_reasoning = false, .dumps_arguments = false, .before_output = "\n"};
constexpr Variant kDistillTraining{.opens_thinking = true, .keeps_reasoning = true, .dumps_arguments = false, .before_output = "\n"};

}  // namespace

std::vector<NativeTemplate> deepseek_templates() {
  return {
      {"deepseek_v3", {"fc60798d3b3a231256a138c31521e7c8"}, [](const Conversation& c, PartWriter& out) { render_v3(c, kV3, out); }},
      {"deepseek_v3_january",
       {"ad7b49225b980e366d68488b86e2e184"},
       [](const Conversation& c, PartWriter& out) { render_v3(c, kV3January, out); }},
      {"deepseek_v3_training",
       {"4f789f0919f2062daf2c8cb532101e4d"},
       [](const Conversation& c, PartWriter& out) { render_v3(c, kV3Training, out); }},
      {"deepseek_r1_distill",
       {"b59c4fde1d06da0055b25ceb4910aa64"},
       [](const Conversation& c, PartWriter& out) { render_distill(c, kDistill, out); }},
      {"deepseek_r1_distill_training",
       {"32b828e5c4fd76656ab7f362eb165b94"},
       [](const Conversation& c, PartWriter& out) { render_distill(c, kDistillTraining, out); }},
  };
}

}  // namespace cohort::text::chat
