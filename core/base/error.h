#pragma once
/// Errors, split by whose they are.
///
/// InputError  the user's: config, data, model files, command line. Exit code 2, one line per problem, nothing written.
/// Fault       ours or the machine's. Exit code 1.
/// Stopped     asked to stop (signal, walltime) after a checkpoint was committed. Exit code 75: safe to requeue.

#include <stdexcept>
#include <string>
#include <vector>

namespace cohort {

/// Bad input. Holds every problem found, each one line: "file:line: key: expected …, found …".
class InputError : public std::runtime_error {
 public:
  explicit InputError(const std::string& problem);
  explicit InputError(std::vector<std::string> problems);
  const std::vector<std::string>& problems() const { return problems_; }

 private:
  std::vector<std::string> problems_;
};

/// A broken invariant or a failing machine.
class Fault : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The run was asked to stop and has saved what it needs to go on.
class Stopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

enum ExitCode : int { kExitDone = 0, kExitFault = 1, kExitBadInput = 2, kExitStopped = 75 };

}  // namespace cohort
