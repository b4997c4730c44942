#include "distributed/comm/mpi_shared_window.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/text_util.h"
#include "distributed/comm/back_off.h"
#include "distributed/comm/communicator.h"

namespace cohort::comm {
namespace {

constexpr size_t kPieceFloats = size_t{1} << 18;  // 1 MiB: two buffers of two ranks stay in the cache of their cores
constexpr size_t kPlaceFloats = size_t{1} << 15;  // 128 KiB of each rank, added and copied while they are in a core's cache
constexpr int kLookEvery = 64;                    // polls between two looks at the clock and at the others' boards

}  // namespace

/// Written by its rank, read by all. The header of call `sequence` is in slot sequence % 2.
struct MpiSharedWindow::Board {
  alignas(64) std::atomic<uint64_t> arrived;
  alignas(64) std::atomic<uint64_t> sequence;
  Header calls[2];
  uint64_t blocks[2];
  alignas(64) char end;
};

std::unique_ptr<MpiSharedWindow> MpiSharedWindow::open(MPI_Comm comm) {
  static_assert(std::atomic<uint64_t>::is_always_lock_free);
  std::unique_ptr<MpiSharedWindow> w(new MpiSharedWindow());
  int world = 0, here = 0;
  MPI_Comm_size(comm, &world);
  MPI_Comm_rank(comm, &w->rank_);
  if (MPI_Comm_split_type(comm, MPI_COMM_TYPE_SHARED, w->rank_, MPI_INFO_NULL, &w->comm_) != MPI_SUCCESS)
    throw Fault("MPI_Comm_split_type failed");
  MPI_Comm_set_errhandler(w->comm_, MPI_ERRORS_RETURN);
  MPI_Comm_size(w->comm_, &here);
  w->size_ = world;
  int good = here == world ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, comm);
  if (good == 0) return nullptr;
  const MPI_Aint bytes = static_cast<MPI_Aint>(sizeof(Board) + 2 * kPieceFloats * sizeof(float));
  void* mine = nullptr;
  good = MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, w->comm_, &mine, &w->window_) == MPI_SUCCESS ? 1 : 0;
  MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, comm);
  if (good == 0) {
    if (w->rank_ == 0) log_warn("no memory can be shared between the ranks of this host (/dev/shm?): sums go through messages, slower");
    return nullptr;
  }
  for (int r = 0; r < world; ++r) {
    MPI_Aint size = 0;
    int unit = 0;
    void* base = nullptr;
    MPI_Win_shared_query(w->window_, r, &size, &unit, &base);
    w->boards_.push_back(static_cast<Board*>(base));
  }
  new (mine) Board{};
  MPI_Barrier(comm);
  return w;
}

float* MpiSharedWindow::buffer_of(int rank) const {
  auto* first = reinterpret_cast<float*>(boards_[static_cast<size_t>(rank)] + 1);
  return first + (pieces_ % 2) * kPieceFloats;
}

void MpiSharedWindow::announce(const Header& header) { enter(header, 0); }

void MpiSharedWindow::enter(const Header& header, uint64_t block) {
  block_ = block;
  Board& mine = *boards_[static_cast<size_t>(rank_)];
  mine.calls[header.sequence % 2] = header;
  mine.blocks[header.sequence % 2] = block;
  mine.sequence.store(header.sequence, std::memory_order_release);
}

std::optional<MpiSharedWindow::Problem> MpiSharedWindow::strayed(const Header& header, int peer) const {
  const Board& board = *boards_[static_cast<size_t>(peer)];
  const uint64_t sequence = board.sequence.load(std::memory_order_acquire);
  if (sequence < header.sequence) return std::nullopt;  // not here yet
  const Header theirs = board.calls[sequence % 2];
  const uint64_t block = board.blocks[sequence % 2];
  if (board.sequence.load(std::memory_order_acquire) != sequence) return std::nullopt;  // look again later
  if (theirs == header && block == block_) return std::nullopt;
  if (theirs == header) return Problem{fmt::format("rank {} sums other memory: one of us has left its shared block", peer), {}};
  if (const std::string problem = version_problem(theirs, fmt::format("rank {}", peer)); !problem.empty()) return Problem{problem, {}};
  const std::string label(theirs.label, strnlen(theirs.label, kMaxLabel));
  if (theirs.sequence == header.sequence && theirs.operation == header.operation && label == header.label)
    return Problem{fmt::format("rank {} sends {} bytes where {} are expected", peer, theirs.bytes, header.bytes), {}};
  return Problem{fmt::format("rank {} is at {} \"{}\" #{}: the ranks do not make the same calls", peer,
                             operation_name(static_cast<Operation>(theirs.operation)), printable(label, kMaxLabel), theirs.sequence),
                 {}};
}

std::optional<MpiSharedWindow::Problem> MpiSharedWindow::meet(const Header& header, double deadline_s) {
  using Clock = std::chrono::steady_clock;
  boards_[static_cast<size_t>(rank_)]->arrived.store(++meetings_, std::memory_order_release);
  auto last_move = Clock::now();
  int peer = 0;
  for (int idle = 0; peer < size_;) {
    if (boards_[static_cast<size_t>(peer)]->arrived.load(std::memory_order_acquire) >= meetings_) {
      ++peer, idle = 0;
      continue;
    }
    if (idle == 0) last_move = Clock::now();
    if (++idle % kLookEvery == 0) {
      auto problem = strayed(header, peer);
      if (boards_[static_cast<size_t>(peer)]->arrived.load(std::memory_order_acquire) >= meetings_) continue;  // came and went meanwhile
      if (problem) return problem;
      if (std::chrono::duration<double>(Clock::now() - last_move).count() > deadline_s) {
        problem.emplace();
        for (int r = 0; r < size_; ++r)
          if (boards_[static_cast<size_t>(r)]->arrived.load(std::memory_order_acquire) < meetings_) problem->missing.push_back(r);
        return problem;
      }
    }
    back_off(idle);
  }
  return std::nullopt;
}

std::optional<MpiSharedWindow::Problem> MpiSharedWindow::meet_in_call(const Header& header, double deadline_s) {
  if (auto problem = meet(header, deadline_s)) return problem;
  for (int r = 0; r < size_; ++r)
    if (auto problem = strayed(header, r)) return problem;
  return std::nullopt;
}

void MpiSharedWindow::adopt(const std::shared_ptr<SharedBlock>& block, uint64_t number) {
  std::erase_if(adopted_, [](const Adopted& a) { return a.block.expired(); });
  adopted_.push_back({number, block});
}

std::pair<std::shared_ptr<SharedBlock>, uint64_t> MpiSharedWindow::block_of(std::span<float> values) {
  for (const Adopted& a : adopted_)
    if (auto block = a.block.lock(); block && block->mine().data() == values.data() && values.size() <= block->mine().size())
      return {std::move(block), a.number};
  return {nullptr, 0};
}

std::optional<MpiSharedWindow::Problem> MpiSharedWindow::sum_in_place(const Header& header, const SharedBlock& block, size_t length,
                                                                      double deadline_s) {
  if (auto problem = meet_in_call(header, deadline_s)) return problem;
  const auto [begin, count] = slice_of(length, rank_, size_);
  std::vector<float*> rows(static_cast<size_t>(size_));
  for (size_t done = 0; done < count; done += kPlaceFloats) {
    const size_t width = std::min(kPlaceFloats, count - done);
    for (int r = 0; r < size_; ++r) rows[static_cast<size_t>(r)] = block.of(r) + begin + done;
    add_by_tree(rows, width);
    for (size_t r = 1; r < rows.size(); ++r) std::copy_n(rows[0], width, rows[r]);
  }
  return meet(header, deadline_s);
}

std::optional<MpiSharedWindow::Problem> MpiSharedWindow::sum(const Header& header, std::span<float> values, double deadline_s) {
  const auto [block, number] = block_of(values);
  enter(header, number);
  if (block) return sum_in_place(header, *block, values.size(), deadline_s);
  size_t done = 0;
  do {  // once even for nothing, so that a rank with another length is found
    const size_t length = std::min(kPieceFloats, values.size() - done);
    if (auto problem = sum_piece(header, values.subspan(done, length), deadline_s)) return problem;
    done += length;
  } while (done < values.size());
  return std::nullopt;
}

std::optional<MpiSharedWindow::Problem> MpiSharedWindow::sum_piece(const Header& header, std::span<float> piece, double deadline_s) {
  float* mine = buffer_of(rank_);
  const auto [begin, length] = slice_of(piece.size(), rank_, size_);
  const size_t end = begin + length;
  std::copy(piece.begin(), piece.begin() + static_cast<std::ptrdiff_t>(begin), mine);
  std::copy(piece.begin() + static_cast<std::ptrdiff_t>(end), piece.end(), mine + end);
  if (auto problem = meet_in_call(header, deadline_s)) return problem;

  std::vector<float*> rows;
  for (int r = 0; r < size_; ++r) rows.push_back((r == rank_ ? piece.data() : buffer_of(r)) + begin);
  add_by_tree(rows, length);
  if (rank_ != 0) std::copy_n(rows[0], length, piece.data() + begin);
  std::copy_n(rows[0], length, mine + begin);
  if (auto problem = meet(header, deadline_s)) return problem;

  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    const auto [from, count] = slice_of(piece.size(), r, size_);
    std::copy_n(buffer_of(r) + from, count, piece.data() + from);
  }
  ++pieces_;
  return std::nullopt;
}

}  // namespace cohort::comm
