#pragma once
/// The life of MPI in this process. Built without MPI, the same names give a world of one rank (no_mpi.cpp).

#include "distributed/comm/communicator.h"

namespace cohort::comm {

/// Construct once, at the start of main. Use:
///
///   MpiSession session(&argc, &argv);
///   int code = …work with session.world()…;   // errors caught, reported and turned into an exit code
///   return session.leave(code);
///
/// A session that is destroyed without leave(), because an exception passes through, aborts the job: MPI_Finalize would wait for ranks that
/// in turn wait for this one. The exception is not printed then: catch inside the session's scope.
class MpiSession {
 public:
  /// Collective. Throws InputError, with the fix, when the launcher started several processes and MPI sees only one each (srun without
  /// PMIx, another MPI's mpirun, or a build without MPI).
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// A fresh group of all ranks of the job, with its own count of calls. Collective. A group of one when MPI is not in use.
  static Communicator world(const CommOptions& options = {});

  /// In place sum by MPI_Allreduce itself, for comparison in benchmarks; its order of additions is MPI's own. Collective, no deadline.
  /// InputError without MPI.
  static void mpi_allreduce(std::span<float> values);

  /// Collective at the end of main: waits for the other ranks, ends MPI and returns the largest of the ranks' codes.
  /// A Fault (kExitFault) does not wait: the job is aborted with it at once, on all ranks. With another code than 0, ranks that do not
  /// come to the same end within 10 s are aborted with this code.
  int leave(int code) noexcept;

  /// Ends every rank of the job with this exit code. Not collective.
  [[noreturn]] static void abort(int code) noexcept;

 private:
  bool left_ = false;
};

/// Whether this build talks MPI.
bool built_with_mpi();

}  // namespace cohort::comm
