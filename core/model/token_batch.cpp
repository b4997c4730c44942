#include "core/model/token_batch.h"

#include <ATen/ATen.h>

namespace cohort::model {

TokenBatch pack(const std::vector<std::vector<int32_t>>& sequences) {
  TokenBatch batch;
  batch.offsets.push_back(0);
  for (const auto& s : sequences) batch.offsets.push_back(batch.offsets.back() + static_cast<int64_t>(s.size()));
  batch.ids_N = at::empty({batch.offsets.back()}, at::kLong);
  batch.positions_N = at::empty({batch.offsets.back()}, at::kLong);
  int64_t *id = batch.ids_N.data_ptr<int64_t>(), *position = batch.positions_N.data_ptr<int64_t>();
  for (const auto& s : sequences)
    for (size_t t = 0; t < s.size(); ++t) *id++ = s[t], *position++ = static_cast<int64_t>(t);
  return batch;
}

}  // namespace cohort::model
