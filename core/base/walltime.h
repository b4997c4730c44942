#pragma once
/// When the scheduler will end this job.

#include <optional>

namespace cohort {

/// Seconds from now until the job is ended: the sooner of `slurm_end` (the value of SLURM_JOB_END_TIME, Unix seconds; null where it is not
/// set) and `walltime_s` from now (0: not known). nullopt when neither is known. InputError when `slurm_end` is no number. Pure.
std::optional<double> seconds_to_walltime(const char* slurm_end, double unix_now, double walltime_s);

/// The system clock.
double unix_seconds();

}  // namespace cohort
