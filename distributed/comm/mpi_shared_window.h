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
///
/// Values that lie in a SharedBlock need no copies: when all have arrived, a rank adds up its slice where it lies and leaves the result in
/// every rank's block; when all have arrived again, that is the sum.

#include <mpi.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "distributed/comm/shared_block.h"
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

  /// sum() of the beginning of this block works in place. The same number > 0 on all ranks.
  void adopt(const std::shared_ptr<SharedBlock>& block, uint64_t number);

  /// In place; announces itself. The header is that of the call, with the size of values in bytes. Nothing: it is done.
  std::optional<Problem> sum(const Header& header, std::span<float> values, double deadline_s);

 private:
  struct Board;
  struct Adopted {
    uint64_t number;
    std::weak_ptr<SharedBlock> block;
  };

  MpiSharedWindow() = default;
  void enter(const Header& header, uint64_t block);
  /// The adopted block that begins with these values: null and 0 when there is none.
  std::pair<std::shared_ptr<SharedBlock>, uint64_t> block_of(std::span<float> values);
  std::optional<Problem> sum_in_place(const Header& header, const SharedBlock& block, size_t length, double deadline_s);
  std::optional<Problem> sum_piece(const Header& header, std::span<float> piece, double deadline_s);
  std::optional<Problem> meet(const Header& header, double deadline_s);
  /// meet(), and all are in this call.
  std::optional<Problem> meet_in_call(const Header& header, double deadline_s);
  std::optional<Problem> strayed(const Header& header, int peer) const;
  float* buffer_of(int rank) const;

  MPI_Comm comm_ = MPI_COMM_NULL;
  MPI_Win window_ = MPI_WIN_NULL;
  int rank_ = 0, size_ = 1;
  std::vector<Board*> boards_;  // of each rank, in the window; the buffers follow it
  std::vector<Adopted> adopted_;
  uint64_t block_ = 0;  // of the call this rank is in; 0: none
  uint64_t meetings_ = 0;
  uint64_t pieces_ = 0;
};

}  // namespace cohort::comm
