#include "core/text/chat/chat_prompt.h"

#include "core/base/error.h"

namespace cohort::text {

std::vector<int32_t> encode_chat(const std::vector<ChatPart>& parts, const Tokenizer& tokenizer) {
  std::vector<bool> open;
  for (const ChatPart& part : parts) open.insert(open.end(), part.text.size(), !part.from_message);
  return tokenizer.encode_with_tokens_where(text_of(parts), open);
}

std::tm local_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  if (localtime_r(&now, &parts) == nullptr) throw Fault("the clock of this machine gives no date");
  return parts;
}

ChatOptions chat_options(const Tokenizer& tokenizer) {
  ChatOptions options;
  if (const auto begin = tokenizer.bos_id()) options.bos_token = tokenizer.piece(*begin);
  if (!tokenizer.end_ids().empty()) options.eos_token = tokenizer.piece(tokenizer.end_id());
  return options;
}

}  // namespace cohort::text
