#pragma once
/// Who sends which weights to whom: from any layout to any layout.

#include <cstdint>
#include <string>
#include <vector>

namespace cohort::weights {

struct TensorInfo {
  std::string name;
  std::string dtype;  ///< safetensors spelling
  std::vector<int64_t> shape;
  int64_t elements() const;
  bool operator==(const TensorInfo&) const = default;
};

/// Elements [begin, end) of a flattened tensor. Experts shared out by `ep` (rows of a stacked tensor) and flat shards over `dp` are both
/// such runs.
struct Slice {
  size_t tensor;
  int64_t begin, end;
  bool operator==(const Slice&) const = default;
};

/// What each rank holds: layout[rank]. A rank may hold nothing, several ranks the same.
using Layout = std::vector<std::vector<Slice>>;

/// All of every tensor.
std::vector<Slice> whole(const std::vector<TensorInfo>& tensors);

/// The rows (first dimension) of tensor `t` that part `part` of `parts` has when they are shared out in contiguous, nearly equal runs.
Slice rows(const std::vector<TensorInfo>& tensors, size_t t, int64_t part, int64_t parts);

/// What part `part` of `parts` has when the first `count` tensors, laid end to end, are cut into nearly equal runs; of the other tensors
/// all.
std::vector<Slice> flat_slice(const std::vector<TensorInfo>& tensors, size_t count, int64_t part, int64_t parts);

struct Move {
  size_t tensor;
  int64_t begin, end;
  int from, to;
  bool operator==(const Move&) const = default;
};

/// The moves that give every rank what `to` says, each element once, ordered by (to, tensor, begin). Where several ranks hold an element,
/// it comes from the rank itself (then nothing is moved) or else from the one that sends least so far, the lower rank first. Adjacent runs
/// from one rank are one move. Both layouts have an entry per rank; all are 4 bytes per element, which matters for balance only. Pure: the
/// same everywhere. Fault, naming tensor and element, where nobody holds what is wanted or a slice is outside its tensor.
std::vector<Move> plan_transfer(const std::vector<TensorInfo>& tensors, const Layout& from, const Layout& to);

}  // namespace cohort::weights
