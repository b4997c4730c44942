#pragma once
/// Notices a rank that died or was stopped, in seconds, while the communicator is busy or waits: a TCP connection of every rank to rank 0,
/// served by one thread per rank that sleeps in poll(). MPI is not called from it.
///
/// Every rank sends a beat with what it is doing, rank 0 answers it. Silence of half of timeout_s is a warning; after timeout_s (or a few
/// seconds after a connection that was closed without a goodbye) every other rank prints one line that names rank, host, pid, what it was
/// last known to do and the seconds, and its process ends with exit code 1, upon which the launcher ends the rest. The others watch rank 0
/// in the same way.
///
/// What it does not see: a rank whose main thread waits or loops for ever while its process is alive. That is the communicator's deadline.
///
/// Time is CLOCK_MONOTONIC as far as this thread itself was running (AwakeClock): neither a clock that is set nor a job that is suspended
/// as a whole makes anybody silent.
///
/// It also carries the tickets by which ranks share out work (tickets.h).
///
/// Who connects is a stranger until it has sent the job's token, within 3 s and with the first message; a few strangers are let wait, and
/// the oldest makes room for the next. A rank is watched from its first beat on.

#include <functional>
#include <memory>
#include <string>

#include "core/base/log.h"
#include "distributed/comm/communicator.h"
#include "distributed/control/tickets.h"

namespace cohort::control {

struct ChannelOptions {
  double timeout_s = 25.0;  ///< > 0; a beat is sent every 2 s, or five times in this time where that is less
  double grace_s = 5.0;     ///< for the launcher to end the job itself after a rank died
  double hello_s = 3.0;     ///< for a stranger to say who it is, and for rank 0 to answer
  double connect_s = 10.0;  ///< in which a rank tries all addresses of rank 0 again and again
  /// For rank 0 to end the job with its own exit code after it left while this rank takes tickets. More than the 10 s of MpiSession::leave.
  double leave_s = 12.0;
  /// What the channel has to say, from its thread.
  std::function<void(LogLevel, const std::string&)> say = [](LogLevel level, const std::string& line) { log_line(level, line); };
  /// The end of the process, from the channel's thread, after a rank is lost. `linger_s` is time for the other ranks to print their line
  /// before the launcher sees a process end. The channel does nothing more when it returns.
  std::function<void(double linger_s)> end;  ///< empty: sleep, then _exit(1)
};

class Loop;

class Channel final : public Tickets {
 public:
  /// Collective. At size 1 there is no channel. A rank that cannot reach rank 0 within 10 s is not watched and does not watch: rank 0 says
  /// so in one warning that names rank and reason. Fault when rank 0 cannot listen.
  Channel(comm::Communicator& world, ChannelOptions options);
  /// Says goodbye and ends the thread. Not collective.
  ~Channel() override = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  bool connected() const { return loop_ != nullptr; }  ///< this rank is watched
  bool complete() const { return complete_; }          ///< every rank is, and so may take tickets; the same on all ranks

  /// From one thread at a time. Fault when this rank is not connected, or leave_s after its connection was closed.
  TicketRange take(uint64_t round, uint64_t total, uint64_t most) override;

 private:
  struct Stop {
    void operator()(Loop* loop) const;
  };
  std::unique_ptr<Loop, Stop> loop_;
  bool complete_ = false;
};

/// Seconds in which the caller was running: CLOCK_MONOTONIC, but the time between two calls counts for at most a second.
class AwakeClock {
 public:
  double now();
  /// How long the longest time between two calls was since the last call of this.
  double take_longest_gap();

 private:
  static double monotonic();
  double last_ = monotonic(), awake_ = 0.0, longest_gap_ = 0.0;
};

}  // namespace cohort::control
