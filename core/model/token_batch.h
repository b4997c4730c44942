#pragma once
/// Sequences of different lengths laid end to end, without padding.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace cohort::model {

struct TokenBatch {
  at::Tensor ids_N;              ///< int64
  at::Tensor positions_N;        ///< int64, from 0 in each sequence
  std::vector<int64_t> offsets;  ///< B+1: sequence b is [offsets[b], offsets[b+1])
  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
};

TokenBatch pack(const std::vector<std::vector<int32_t>>& sequences);

}  // namespace cohort::model
