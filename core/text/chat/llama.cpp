// Llama 3, 3.1 and 3.2. From 3.1 on a system turn with two dates comes first, also where the conversation has none.

#include <ctime>

#include "core/base/error.h"
#include "core/text/chat/native.h"
#include "core/text/python.h"

namespace cohort::text::chat {
namespace {

constexpr const char* kEnd = "<|eot_id|>";
constexpr const char* kBeforeRole = "<|start_header_id|>";
constexpr const char* kBehindRole = "<|end_header_id|>\n\n";

PartWriter& open_turn(std::string_view role, PartWriter& out) { return out.own(kBeforeRole).own(role).own(kBehindRole); }

void write_trimmed(const Value& content, PartWriter& out) {
  const std::string text = content.printed();
  out.given(python_strip(text));
}

void write_turn(const Value& message, PartWriter& out) {
  out.own(kBeforeRole).given(message["role"].text()).own(kBehindRole);
  write_trimmed(message["content"], out);
  out.own(kEnd);
}

void write_generation_prompt(const Conversation& conversation, PartWriter& out) {
  if (conversation.options.add_generation_prompt) open_turn("assistant", out);
}

void render_llama3(const Conversation& conversation, PartWriter& out) {
  if (!conversation.messages.empty()) out.own(conversation.options.bos_token);
  for (const Value& message : conversation.messages) write_turn(message, out);
  write_generation_prompt(conversation, out);
}

/// strftime_now("%d %b %Y").
std::string date_of(const std::tm& day) {
  char text[32];
  return {text, std::strftime(text, sizeof text, "%d %b %Y", &day)};
}

/// What the two templates read beside the messages.
struct Llama31 {
  bool has_builtin_tools;  // 3.1 alone: the mode ipython
  std::string default_date;
  const Conversation& conversation;

  Value tools() const {
    const Value custom = conversation.variable("custom_tools");
    return custom.defined() ? custom : conversation.variable("tools");
  }
  bool has_tools() const { return tools().defined() && !tools().is_null(); }
  bool tools_in_user_message() const {
    const Value asked = conversation.variable("tools_in_user_message");
    return !asked.defined() || asked.truthy();
  }
  Value builtin_tools() const { return has_builtin_tools ? conversation.variable("builtin_tools") : Value(nullptr, ""); }
};

constexpr const char* kToolFormat =
    "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}.Do not use variables.\n\n";

void write_tools(const Llama31& input, PartWriter& out) {
  for (const Value& tool : input.tools().items()) out.given(tool.to_json(4)).own("\n\n");
}

void write_builtin_tools(const Value& tools, PartWriter& out) {
  out.own("Tools: ");
  bool first = true;
  for (const Value& tool : tools.items()) {
    if (tool.is("code_interpreter")) continue;
    out.own(first ? "" : ", ").given(tool.printed());
    first = false;
  }
  out.own("\n\n");
}

void write_system(const Llama31& input, const Value* system, PartWriter& out) {
  open_turn("system", out);
  const Value builtin = input.builtin_tools(), date = input.conversation.variable("date_string");
  if (builtin.is_null()) builtin.refuse("a list");
  if (builtin.defined() || input.has_tools()) out.own("Environment: ipython\n");
  if (builtin.defined()) write_builtin_tools(builtin, out);
  out.own("Cutting Knowledge Date: December 2023\nToday Date: ");
  date.defined() ? out.given(date.text()) : out.own(input.default_date);
  out.own("\n\n");
  if (input.has_tools() && !input.tools_in_user_message()) {
    out.own("You have access to the following functions. To call a function, please respond with JSON for a function call.");
    out.own(kToolFormat);
    write_tools(input, out);
  }
  if (system != nullptr) write_trimmed((*system)["content"], out);
  out.own(kEnd);
}

void write_user_with_tools(const Llama31& input, const Value& message, PartWriter& out) {
  open_turn("user", out).own("Given the following functions, please respond with a JSON for a function call ");
  out.own("with its proper arguments that best answers the given prompt.\n\n").own(kToolFormat);
  write_tools(input, out);
  write_trimmed(message["content"], out);
  out.own(kEnd);
}

void write_builtin_call(const Value& call, PartWriter& out) {
  out.own("<|python_tag|>").given(call["name"].text()).own(".call(");
  bool first = true;
  for (const auto& [name, value] : call["arguments"].members()) {
    out.own(first ? "" : ", ").given(name).own("=\"").given(value.text()).own("\"");
    first = false;
  }
  out.own(")");
}

void write_call(const Llama31& input, const Value& message, PartWriter& out) {
  const Value calls = message["tool_calls"], builtin = input.builtin_tools();
  if (calls.size() != 1) calls.refuse("a list of one call, as this template supports single calls of tools only");
  const Value call = calls.at(0)["function"];
  const Value name = call["name"];
  bool is_builtin = false;
  for (const Value& tool : builtin.items()) is_builtin = is_builtin || (tool.is_string() && name.is(tool.text()));
  open_turn("assistant", out);
  if (is_builtin) {
    write_builtin_call(call, out);
  } else {
    out.own("{\"name\": \"").given(name.text()).own("\", \"parameters\": ").given(call["arguments"].to_json()).own("}");
  }
  out.own(builtin.defined() ? "<|eom_id|>" : kEnd);
}

/// Also strings go through tojson: they are iterable.
void write_output(const Value& content, PartWriter& out) {
  open_turn("ipython", out).given(content.is_scalar() ? content.printed() : content.to_json()).own(kEnd);
}

void render_llama31(const Llama31& input, PartWriter& out) {
  const Conversation& conversation = input.conversation;
  out.own(conversation.options.bos_token);
  const Value& first = conversation.first();
  size_t next = conversation.has_role(0, "system") ? 1 : 0;
  write_system(input, next == 1 ? &first : nullptr, out);
  if (input.has_tools() && input.tools_in_user_message()) {
    if (next == conversation.messages.size()) first.refuse("a message of the user, to put the tools into");
    write_user_with_tools(input, conversation.messages[next++], out);
  }
  for (; next < conversation.messages.size(); ++next) {
    const Value& message = conversation.messages[next];
    const bool is_output = message["role"].is("tool") || message["role"].is("ipython");
    if (message.has("tool_calls")) {
      write_call(input, message, out);
    } else if (is_output) {
      write_output(message["content"], out);
    } else {
      write_turn(message, out);
    }
  }
  write_generation_prompt(conversation, out);
}

}  // namespace

std::vector<NativeTemplate> llama_templates() {
  return {
      {"llama3", {"09facc0e4aa943189799ad6e2dea0594", "532eb21cf48abd2694713d122b6c7113"}, render_llama3},
      {"llama3.1",
       {"9ddcd6cd71f96dd76ca7779b7730196a"},
       [](const Conversation& c, PartWriter& out) {
         render_llama31({true, date_of(usual_date()), c}, out);
       }},
      {"llama3.2",
       {"573e1bcc8c56f178c3d57e38f5ff0756"},
       [](const Conversation& c, PartWriter& out) {
         render_llama31({false, date_of(c.options.today), c}, out);
       }},
  };
}

}  // namespace cohort::text::chat
