#pragma once
/// What travels over the control channel: messages of one fixed size. Everything that arrives is hostile until check() has passed it.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

namespace cohort::control {

/// 128 random bits that rank 0 makes for a job and gives to the others through the communicator. Who knows them belongs to the job. They
/// keep out strangers and other jobs; they are not a cipher, and travel in the clear like everything between ranks.
using Token = std::array<uint8_t, 16>;

Token random_token();

enum class Kind : uint16_t {
  kHello = 1,  ///< first from a rank to rank 0
  kWelcome,    ///< rank 0's answer
  kBeat,       ///< from a rank
  kAnswer,     ///< rank 0's answer to a beat, with what rank 0 is doing
  kLost,       ///< from rank 0: `rank` is lost, the job ends
  kGoodbye,    ///< the sender leaves in order: do not miss me
  kTake,       ///< from a rank: tickets of a round, please (tickets.h)
  kDealt,      ///< rank 0's answer
  kLast = kDealt
};

/// Plain bytes: all ranks of a job run the same program on the same kind of machine. The token comes first, so that nothing else of a
/// stranger's message is looked at.
struct Message {
  Token token{};
  uint32_t magic = kMagic;
  uint16_t version = kVersion;
  uint16_t kind = 0;
  uint32_t rank = 0;  ///< the sender; kLost: who is lost
  uint32_t pid = 0;   ///< of `rank`
  uint32_t silent_ms = 0;
  uint32_t closed = 0;            ///< kLost: 1, the connection was closed; 0, nothing came
  uint64_t round = 0, total = 0;  ///< kTake, kDealt
  uint64_t first = 0, count = 0;  ///< kDealt; kTake: at most `count`
  char host[64] = {};             ///< of `rank`, ends with 0
  char doing[184] = {};           ///< of `rank`, core/base/activity.h, ends with 0

  static constexpr uint32_t kMagic = 0x54434843;
  static constexpr uint16_t kVersion = 1;
};
static_assert(std::is_trivially_copyable_v<Message> && sizeof(Message) == 320);

/// What is wrong with a message, or "": another token, magic or version, an unknown kind, a rank not below `ranks`, text without an end.
std::string problem_of(const Message& message, const Token& token, int ranks);

/// Cut where it does not fit.
void set_text(char* field, size_t size, std::string_view text);

}  // namespace cohort::control
