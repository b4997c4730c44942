#include "core/pipeline/preference.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "core/model/logprobs.h"

namespace cohort::pipeline {

std::vector<int32_t> preference_input(const records::Group& group, const records::Sample& sample, const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids(group.prompt_ids().begin(), group.prompt_ids().end());
  const std::vector<int32_t> response(sample.response_ids().begin(), sample.response_ids().end());
  if (group.question().category() == records::SAFETY) {
    ids.insert(ids.end(), response.begin(), response.end());
    return ids;
  }
  const auto close = tokenizer.special_id(text::kThinkClose);
  // Not found: base() of rend() is begin(), the whole response.
  const auto answer = close ? std::find(response.rbegin(), response.rend(), *close).base() : response.begin();
  ids.insert(ids.end(), answer, response.end());
  return ids;
}

namespace {

/// The margin in favour of what the comparison says, as a column with gradient.
at::Tensor margins(model::CausalLM& model, const std::vector<const Comparison*>& batch) {
  std::vector<std::vector<int32_t>> sequences;
  for (const auto* x : batch) {
    sequences.push_back(x->chosen);
    if (!x->rejected.empty()) sequences.push_back(x->rejected);
  }
  const at::Tensor scores = model::sequence_scores(model, sequences);
  std::vector<at::Tensor> out;
  int64_t next = 0;
  for (const auto* x : batch) {
    const at::Tensor first = scores[next++];
    out.push_back(x->rejected.empty() ? (x->good ? first : -first) : first - scores[next++]);
  }
  return at::stack(out);
}

}  // namespace

ComparisonLoss comparison_loss(model::CausalLM& model, const std::vector<const Comparison*>& batch, double comparisons) {
  const at::Tensor margin = margins(model, batch);
  return {-at::log_sigmoid(margin.to(at::kDouble)).sum() / comparisons, (margin > 0).sum().item<double>()};
}

reward::Preference load_preference(const StageContext& c, const std::string& stage_name) {
  std::shared_ptr<model::CausalLM> model = c.model_of(stage_name, model::Head::kScalar);
  const text::Tokenizer& tokenizer = c.tokenizer;
  return [model, &tokenizer](const records::Group& group, const records::Sample& sample) {
    const at::NoGradGuard no_grad;
    const double score = model::sequence_scores(*model, {preference_input(group, sample, tokenizer)}).item<double>();
    return 1.0 / (1.0 + std::exp(-score));
  };
}

}  // namespace cohort::pipeline
