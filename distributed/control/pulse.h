#pragma once
/// Who was heard when: decides who is slow, who is back and who is lost. Times are given, so that it is a function of its calls.

#include <cstdint>
#include <string>
#include <vector>

namespace cohort::control {

struct Peer {
  int rank = 0;
  std::string host;
  uint32_t pid = 0;
  std::string doing;  ///< last known
  /// "rank 2 (host a, pid 17)"
  std::string name() const;
};

struct Finding {
  enum class What { kLate, kBack, kLost };
  What what;
  Peer peer;
  double silent_s;  ///< how long nothing came; kBack: how long it had been silent
  bool closed;      ///< kLost: its connection was closed without a goodbye
  /// One line for the log.
  std::string words() const;
};

class Pulse {
 public:
  /// Lost after `timeout_s` without a word, late after half of it. A connection that is closed without a goodbye is lost after `grace_s`:
  /// a launcher that sees a rank die ends the job sooner than that, with that rank's own exit code.
  Pulse(double timeout_s, double grace_s) : timeout_s_(timeout_s), grace_s_(grace_s) {}

  /// Watched from now on, as if it had not been here before.
  void joined(Peer peer, double now);
  void heard(int rank, std::string doing, double now);
  void closed(int rank, double now);
  /// It said goodbye, or was found to be lost: not watched any more.
  void left(int rank);

  /// What is new since the last call. Each silence gives one kLate, then one kBack or one kLost.
  std::vector<Finding> look(double now);

 private:
  struct Watched {
    Peer peer;
    double heard_at;
    double closed_at = -1.0;
    double silence = 0.0;  // that ended with the word that came last
    bool late = false, back = false;
  };
  Watched* find(int rank);

  double timeout_s_, grace_s_;
  std::vector<Watched> watched_;
};

}  // namespace cohort::control
