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
