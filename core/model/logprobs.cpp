#include "core/model/logprobs.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "core/base/error.h"

namespace cohort::model {
namespace {

constexpr int64_t kLogitsAtOnce = 1 << 24;  // numbers, 64 MiB

}  // namespace

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

at::Tensor next_token_logprobs(CausalLM& model, const std::vector<std::vector<int32_t>>& sequences) {
  const at::NoGradGuard no_grad;
  const TokenBatch batch = pack(sequences);
  std::vector<int64_t> rows;
  for (size_t b = 0; b + 1 < batch.offsets.size(); ++b)
    for (int64_t t = batch.offsets[b]; t + 1 < batch.offsets[b + 1]; ++t) rows.push_back(t);
  if (rows.empty()) return at::empty({0}, at::kFloat);
  const at::Tensor at_rows = at::tensor(rows, at::kLong);
  const at::Tensor hidden = model.hidden(batch).index_select(0, at_rows), next = batch.ids_N.index_select(0, at_rows + 1);
  const int64_t vocabulary = model.architecture().vocab_size, step = std::max<int64_t>(1, kLogitsAtOnce / vocabulary);
  std::vector<at::Tensor> parts;
  for (int64_t from = 0; from < hidden.size(0); from += step) {
    const int64_t count = std::min(step, hidden.size(0) - from);
    parts.push_back(token_logprob(model.logits(hidden.narrow(0, from, count)), next.narrow(0, from, count), 1.0, vocabulary).logprob_N);
  }
  return at::cat(parts);
}

at::Tensor sequence_scores(CausalLM& model, const std::vector<std::vector<int32_t>>& sequences) {
  const TokenBatch batch = pack(sequences);
  std::vector<int64_t> rows;
  for (size_t b = 1; b < batch.offsets.size(); ++b) rows.push_back(batch.offsets[b] - 1);
  return model.scores(model.hidden(batch).index_select(0, at::tensor(rows, at::kLong)));
}

}  // namespace cohort::model
