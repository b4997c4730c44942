#pragma once
/// Sums of buffers of ranks that run on one host, through memory that they share. Compiled only with MPI.
///
/// A message copies every byte into the library and out of it again; here a rank adds up what the others have left in their part of an
/// MPI-3 shared-memory window. Measured against MPI_Allreduce by `cohort bench collectives`.
///
/// The window has, per rank, a board with the call the rank is in, and two buffers that take turns. A piece of a sum is
///   1. copy the other ranks' slices of my values into my buffer
///   2. all have arrived?
///   3. add up my slice: mine from my values, theirs from their buffers, by the tree of Communicator::sum; leave the result in my buffer
///   4. all have arrived?
///   5. copy the other ranks' results into my values
/// A rank that is one piece ahead writes into the other buffer, and cannot be two ahead.

#include <mpi.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "distributed/comm/transport.h"

namespace cohort::comm {

class MpiSharedWindow {
 public:
  /// Collective over comm, without a deadline. Null on all ranks when they are on several hosts, or when one of them cannot get the
  /// memory (2 MiB per rank).
  static std::unique_ptr<MpiSharedWindow> open(MPI_Comm comm);
  /// The window itself stays until MPI ends: to free it is collective, and a rank that fails leaves alone.
  ~MpiSharedWindow() = default;
  MpiSharedWindow(const MpiSharedWindow&) = delete;
  MpiSharedWindow& operator=(const MpiSharedWindow&) = delete;

  /// What went wrong in a sum: `what` for a mismatch, `missing` ranks when nobody came for the deadline.
  struct Problem {
    std::string what;
    std::vector<int> missing;
  };

  /// Tells the other ranks which call this rank has entered; before every collective, so that a rank in a sum sees who went elsewhere.
  void announce(const Header& header);

  /// In place. The header is that of the call, with the size of values in bytes. Nothing: it is done.
  std::optional<Problem> sum(const Header& header, std::span<float> values, double deadline_s);

 private:
  struct Board;

  MpiSharedWindow() = default;
  std::optional<Problem> sum_piece(const Header& header, std::span<float> piece, double deadline_s);
  std::optional<Problem> meet(const Header& header, double deadline_s);
  std::optional<Problem> strayed(const Header& header, int peer) const;
  float* buffer_of(int rank) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  MPI_Win window_ = MPI_WIN_NULL;
  int rank_ = 0, size_ = 1;
  std::vector<Board*> boards_;  // of each rank, in the window; the buffers follow it
  uint64_t meetings_ = 0;
  uint64_t pieces_ = 0;
};

}  // namespace cohort::comm
