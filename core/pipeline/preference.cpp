#include "core/pipeline/preference.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "core/model/logprobs.h"

namespace cohort::pipeline {

std::vector<int32_t> preference_input(const records::Group& group, const records::Sample& sample,
                                      const text::PromptTemplate& prompt_template, const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids(group.prompt_ids().begin(), group.prompt_ids().end());
  const std::vector<int32_t> response(sample.response_ids().begin(), sample.response_ids().end());
  if (group.question().category() == records::SAFETY) {
    ids.insert(ids.end(), response.begin(), response.end());
    return ids;
  }
  const auto answer = tokenizer.encode(text::parse_completion(prompt_template, tokenizer, response).answer);
  ids.insert(ids.end(), answer.begin(), answer.end());
  ids.push_back(tokenizer.end_id());
  return ids;
}

reward::Preference load_preference(const StageContext& c, const std::string& stage_name, const std::string& template_name) {
  std::shared_ptr<model::CausalLM> model = c.model_of(stage_name, model::Head::kScalar);
  const text::PromptTemplate& prompt_template = text::find_template(template_name);
  const text::Tokenizer& tokenizer = c.tokenizer;
  return [model, &prompt_template, &tokenizer](const records::Group& group, const records::Sample& sample) {
    const at::NoGradGuard no_grad;
    const double score = model::sequence_scores(*model, {preference_input(group, sample, prompt_template, tokenizer)}).item<double>();
    return 1.0 / (1.0 + std::exp(-score));
  };
}

}  // namespace cohort::pipeline
