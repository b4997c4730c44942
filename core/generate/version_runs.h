#pragma once
/// Which weights sampled which tokens of an answer. An answer that is interrupted goes on with newer weights (partial rollouts), so its
/// tokens form runs. Versions never fall inside an answer, and every run is of a later RL step than the one before.

#include <cstdint>

#include "core/records/records.pb.h"

namespace cohort::generate {

/// Which weights sample.
struct PolicyAge {
  uint64_t version = 0;  ///< optimizer steps they have taken
  uint64_t step = 0;     ///< RL steps the stage has finished
  bool operator==(const PolicyAge&) const = default;
};

PolicyAge age_of(const records::VersionRun& run);
records::VersionRun run_of(const PolicyAge& age);

/// The next tokens of the answer are of these weights: a new run, or the last one goes on. Fault when they are older than the last run's.
void begin_run(const records::Group& group, records::Sample& sample, const PolicyAge& age);

/// Fault naming group and sample unless the runs of every answer ascend and hold as many tokens as it has (response_length in a summary).
void require_version_runs(const records::Group& group);

}  // namespace cohort::generate
