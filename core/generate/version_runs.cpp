#include "core/generate/version_runs.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.h"

namespace cohort::generate {
namespace {

void require_later(const records::Group& group, const records::Sample& sample, const PolicyAge& before, const PolicyAge& after) {
  if (after.step > before.step && after.version >= before.version) return;
  throw Fault(fmt::format("group {}, sample {}: tokens of policy version {} (step {}) come after tokens of version {} (step {})",
                          group.id(), sample.index(), after.version, after.step, before.version, before.step));
}

}  // namespace

PolicyAge age_of(const records::VersionRun& run) { return {run.policy_version(), run.policy_step()}; }

records::VersionRun run_of(const PolicyAge& age) {
  records::VersionRun run;
  run.set_policy_version(age.version), run.set_policy_step(age.step);
  return run;
}

void begin_run(const records::Group& group, records::Sample& sample, const PolicyAge& age) {
  if (sample.runs().empty()) {
    sample.set_policy_version(age.version), sample.set_policy_step(age.step);
  } else {
    const PolicyAge last = age_of(*sample.runs().rbegin());
    if (last == age) return;
    require_later(group, sample, last, age);
  }
  *sample.add_runs() = run_of(age);
}

void require_version_runs(const records::Group& group) {
  for (const records::Sample& s : group.samples()) {
    const uint64_t expected = std::max<uint64_t>(s.response_length(), static_cast<uint64_t>(s.response_ids_size()));
    uint64_t tokens = 0;
    for (int i = 0; i < s.runs_size(); ++i) {
      tokens += s.runs(i).tokens();
      if (s.runs(i).tokens() == 0) throw Fault(fmt::format("group {}, sample {}: a run of no tokens", group.id(), s.index()));
      if (i > 0) require_later(group, s, age_of(s.runs(i - 1)), age_of(s.runs(i)));
    }
    const bool first = !s.runs().empty() && age_of(s.runs(0)) == PolicyAge{s.policy_version(), s.policy_step()};
    if (tokens != expected || !first)
      throw Fault(fmt::format("group {}, sample {}: version runs of {} tokens that begin with version {}, expected {} and version {}",
                              group.id(), s.index(), tokens, s.runs().empty() ? 0 : s.runs(0).policy_version(), expected,
                              s.policy_version()));
  }
}

}  // namespace cohort::generate
