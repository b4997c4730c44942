#pragma once
/// Floats of each rank of one host that all of them can read and write: memory without a name in any file system (memfd_create), so that
/// nothing is left of it when ranks are killed, and no limit of /dev/shm counts.
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
  /// My part, of `floats` ≥ 1. It is reserved and not only promised, so that using it cannot end in a signal. Null when it cannot be had,
  /// or is more than the machine has.
  static std::shared_ptr<SharedBlock> create(size_t floats);
  ~SharedBlock();
  SharedBlock(const SharedBlock&) = delete;
  SharedBlock& operator=(const SharedBlock&) = delete;

  /// By which processes of this host and user find my part until stop_sharing(): "PID DESCRIPTOR LABEL".
  const std::string& address() const { return address_; }
  /// Maps the parts of all ranks: `addresses` in rank order, mine at `rank`. False when one is not there or is of another size.
  bool open(const std::vector<std::string>& addresses, int rank);
  /// When all ranks have opened it, or one has failed to.
  void stop_sharing();

  std::span<float> mine() const { return {mine_, floats_}; }
  float* of(int rank) const { return parts_[static_cast<size_t>(rank)]; }  ///< after open()

 private:
  SharedBlock(std::string address, int descriptor, float* mine, size_t floats)
      : address_(std::move(address)), descriptor_(descriptor), mine_(mine), floats_(floats) {}

  std::string address_;
  int descriptor_;
  float* mine_;
  size_t floats_;
  std::vector<float*> parts_;
};

}  // namespace cohort::comm
