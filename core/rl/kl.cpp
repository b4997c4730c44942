#include "core/rl/kl.h"

#include <ATen/ATen.h>

#include "core/base/error.h"

namespace cohort::rl {

const std::vector<std::string>& kl_types() {
  static const std::vector<std::string> names = {"k1", "k2", "k3", "k1+", "k3+"};
  return names;
}

at::Tensor kl_estimate(const at::Tensor& logprob, const at::Tensor& ref_logprob, std::string_view type) {
  const at::Tensor x = ref_logprob.detach() - logprob;
  if (type == "k1") return -x;
  if (type == "k2") return 0.5 * x * x;
  if (type == "k3") {
    const at::Tensor safe = x.clamp(-20.0, 20.0);
    return (safe.exp() - safe - 1.0).clamp(-10.0, 10.0);
  }
  if (type == "k1+" || type == "k3+") {
    const at::Tensor k2 = 0.5 * x * x;
    return k2 - k2.detach() + kl_estimate(logprob.detach(), ref_logprob, type.substr(0, 2));
  }
  throw Fault("unknown KL estimator '" + std::string(type) + "'");
}

at::Tensor off_policy_kl(const at::Tensor& kl, const at::Tensor& logprob, const at::Tensor& old_logprob) {
  return kl * (logprob - old_logprob.detach()).clamp(-20.0, 20.0).exp();
}

}  // namespace cohort::rl
