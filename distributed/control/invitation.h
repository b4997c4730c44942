#pragma once
/// How the other ranks find rank 0's end of the control channel; travels once through the communicator.

#include <string>
#include <vector>

#include "distributed/control/connection.h"

namespace cohort::control {

struct Invitation {
  Token token{};
  uint16_t port = 0;
  std::string host;                    ///< rank 0's, as the communicator knows it
  std::vector<std::string> addresses;  ///< numeric, of rank 0's interfaces

  std::string to_bytes() const;
  /// Fault when it is not one.
  static Invitation from_bytes(const std::string& bytes);

  /// Where a rank on `from_host` tries to connect, in order: on rank 0's own host through the loopback interface first.
  std::vector<std::string> targets(const std::string& from_host) const;
};

}  // namespace cohort::control
