#pragma once
/// Floats of each rank of one host that all of them can read and write: POSIX shared memory, without a name once all have it.
///
/// Freed by each process for itself, in any order; the memory goes when the last one has left it.

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace cohort::comm {

class SharedBlock {
 public:
  /// My part, of `floats` ≥ 1. It is reserved and not only promised, so that a full /dev/shm is known here and not by SIGBUS later.
  /// Null when it cannot be had.
  static std::shared_ptr<SharedBlock> create(size_t floats);
  ~SharedBlock();
  SharedBlock(const SharedBlock&) = delete;
  SharedBlock& operator=(const SharedBlock&) = delete;

  /// By which the other ranks find my part.
  const std::string& name() const { return name_; }
  /// Maps the parts of all ranks: `names` in rank order, mine at `rank`. False when one is not there or is of another size.
  bool open(const std::vector<std::string>& names, int rank);
  /// When all ranks have opened it, or one has failed to: nobody finds my part any more.
  void forget_name();

  std::span<float> mine() const { return {mine_, floats_}; }
  float* of(int rank) const { return parts_[static_cast<size_t>(rank)]; }  ///< after open()

 private:
  SharedBlock(std::string name, float* mine, size_t floats) : name_(std::move(name)), mine_(mine), floats_(floats) {}

  std::string name_;
  bool named_ = true;
  float* mine_;
  size_t floats_;
  std::vector<float*> parts_;
};

}  // namespace cohort::comm
