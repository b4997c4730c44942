// ChatML, plain and that of SmolLM2.

#include "core/text/chat/native.h"

namespace cohort::text::chat {
namespace {

constexpr const char* kStart = "<|im_start|>";
constexpr const char* kEnd = "<|im_end|>\n";

void render_chatml(const Conversation& conversation, PartWriter& out) {
  for (const Value& message : conversation.messages)
    out.own(kStart).given(message["role"].text()).own("\n").given(message["content"].text()).own(kEnd);
  if (conversation.options.add_generation_prompt) out.own(kStart).own("assistant\n");
}

void render_smollm2(const Conversation& conversation, PartWriter& out) {
  if (!conversation.messages.empty() && !conversation.has_role(0, "system"))
    out.own(kStart).own("system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face").own(kEnd);
  render_chatml(conversation, out);
}

}  // namespace

std::vector<NativeTemplate> chatml_templates() {
  return {
      {"chatml", {"f0a6a8278439fdb056191e205a440263", "30929d41e0bdb4da91d765bb5713a87b"}, render_chatml},
      {"smollm2", {"98f63cc3d421d28f99ab995e9629dacd"}, render_smollm2},
  };
}

}  // namespace cohort::text::chat
