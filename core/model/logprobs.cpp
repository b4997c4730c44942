#include "core/model/logprobs.h"

#include <ATen/ATen.h>

#include "core/base/error.h"

namespace cohort::model {

LogprobEntropy completion_logprobs(CausalLM& model, const std::vector<Completion>& batch, double temperature, int64_t vocab_limit,
                                   MoeTrace* trace) {
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int64_t> rows, ids;
  int64_t offset = 0;
  for (const Completion& c : batch) {
    if (c.prompt.empty() || c.completion.empty()) throw Fault("completion_logprobs: an empty prompt or completion");
    // The last token predicts nothing, so it is not run.
    std::vector<int32_t> tokens = c.prompt;
    tokens.insert(tokens.end(), c.completion.begin(), c.completion.end() - 1);
    for (size_t t = 0; t < c.completion.size(); ++t) {
      rows.push_back(offset + static_cast<int64_t>(c.prompt.size() + t) - 1);
      ids.push_back(c.completion[t]);
    }
    offset += static_cast<int64_t>(tokens.size());
    sequences.push_back(std::move(tokens));
  }
  const at::Tensor hidden = model.hidden(pack(sequences), trace).index_select(0, at::tensor(rows, at::kLong));
  return token_logprob(model.logits(hidden), at::tensor(ids, at::kLong), temperature, vocab_limit);
}

at::Tensor sequence_scores(CausalLM& model, const std::vector<std::vector<int32_t>>& sequences) {
  const TokenBatch batch = pack(sequences);
  std::vector<int64_t> rows;
  for (size_t b = 1; b < batch.offsets.size(); ++b) rows.push_back(batch.offsets[b] - 1);
  return model.scores(model.hidden(batch).index_select(0, at::tensor(rows, at::kLong)));
}

}  // namespace cohort::model
