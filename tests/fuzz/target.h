#pragma once
/// A parser that is fuzzed.
///
/// The contract: of any input, `run` either returns or throws InputError. Another exception, a report of a sanitizer, more than a second
/// of processor time or more than 256 MiB of memory is a finding. To add a parser, add a row to targets.cpp.

#include <functional>
#include <string>
#include <vector>

namespace cohort::fuzz {

class Mutator;

struct Target {
  std::string name;
  std::function<void(const std::string& input)> run;
  std::function<std::vector<std::string>()> seeds;  ///< good inputs to start from; each has to be accepted
  std::vector<std::string> dictionary;
  /// Where random changes alone would not get past a first check (a length in front, a checksum). Empty: Mutator::mutate.
  std::function<std::string(Mutator&, const std::string& input, const std::string& other)> mutate = {};
};

std::vector<Target> targets();
/// Parsers with planted errors, one per kind of finding, by which the fuzzer itself is tested (self_test.sh).
std::vector<Target> planted_targets();

}  // namespace cohort::fuzz
