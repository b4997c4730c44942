#include "distributed/control/message.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.h"

namespace cohort::control {

Token random_token() {
  Token token{};
  if (getrandom(token.data(), token.size(), 0) != static_cast<ssize_t>(token.size())) throw Fault("getrandom failed");
  return token;
}

std::string problem_of(const Message& message, const Token& token, int ranks) {
  uint8_t difference = 0;  // takes the same time wherever they differ
  for (size_t i = 0; i < token.size(); ++i) difference = static_cast<uint8_t>(difference | (token[i] ^ message.token[i]));
  if (difference != 0) return "it does not know the job's token";
  if (message.magic != Message::kMagic) return "it sent something else than a control message";
  if (message.version != Message::kVersion)
    return fmt::format("it speaks version {} of the control protocol, expected {}", message.version, Message::kVersion);
  if (message.kind < static_cast<uint16_t>(Kind::kHello) || message.kind > static_cast<uint16_t>(Kind::kLast))
    return fmt::format("it sent a control message of unknown kind {}", message.kind);
  if (message.rank >= static_cast<uint32_t>(ranks)) return fmt::format("it speaks of rank {} of {}", message.rank, ranks);
  if (std::memchr(message.host, 0, sizeof message.host) == nullptr || std::memchr(message.doing, 0, sizeof message.doing) == nullptr)
    return "it sent text without an end";
  return "";
}

void set_text(char* field, size_t size, std::string_view text) {
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(field, text.data(), length);
  std::memset(field + length, 0, size - length);
}

}  // namespace cohort::control
