#include "kernels/token_logprob/token_logprob.h"

#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"

namespace cohort::kernels {

RowSoftmax softmax_logits_row(const float* logits, int64_t vocab_limit, float inverse_temperature, float* out) {
  float largest;
  const float total = row_kernels().softmax_row(logits, vocab_limit, inverse_temperature, out, &largest);
  return {total, static_cast<float>(std::log(static_cast<double>(total))) + largest};
}

TokenLogprob token_logprob(const at::Tensor& logits, const at::Tensor& ids, double inverse_temperature, int64_t vocab_limit,
                           bool keep_probs) {
  const int64_t n = dense_f32(logits, "token_logprob", "logits").size(0), v = logits.size(1);
  const int64_t* id = indices(ids, "token_logprob", "ids");
  TORCH_CHECK(vocab_limit > 0 && vocab_limit <= v && ids.numel() == n, "token_logprob: ", ids.numel(), " ids, limit ", vocab_limit,
              ", logits ", logits.sizes());
  TokenLogprob r{at::empty({n}, logits.options()), at::empty({n}, logits.options()),
                 keep_probs ? at::zeros({n, v}, logits.options()) : at::Tensor()};
  const float scale = static_cast<float>(inverse_temperature);
  at::parallel_for(0, n, 256, [&](int64_t begin, int64_t end) {
    std::vector<float> p(static_cast<size_t>(v)), logp(static_cast<size_t>(v));
    for (int64_t i = begin; i < end; ++i) {
      TORCH_CHECK(id[i] >= 0 && id[i] < vocab_limit, "token_logprob: id ", id[i], " outside ", vocab_limit);
      const float* x = logits.data_ptr<float>() + i * v;
      const auto [total, log_z] = softmax_logits_row(x, vocab_limit, scale, p.data());
      const float inverse = 1.0f / total;
      for (int64_t j = 0; j < vocab_limit; ++j) p[static_cast<size_t>(j)] *= inverse, logp[static_cast<size_t>(j)] = x[j] * scale - log_z;
      r.logprob_N.data_ptr<float>()[i] = logp[static_cast<size_t>(id[i])];
      r.entropy_N.data_ptr<float>()[i] = -row_kernels().dot(p.data(), logp.data(), vocab_limit);
      if (keep_probs) std::copy_n(p.data(), vocab_limit, r.probs_NV.data_ptr<float>() + i * v);
    }
  });
  return r;
}

at::Tensor token_logprob_backward(const at::Tensor& dlogprob, const at::Tensor& dentropy, const TokenLogprob& forward,
                                  const at::Tensor& ids, double inverse_temperature, int64_t vocab_limit) {
  const at::Tensor& probs = dense_f32(forward.probs_NV, "token_logprob", "probs");
  const int64_t n = probs.size(0), v = probs.size(1);
  const float scale = static_cast<float>(inverse_temperature);
  at::Tensor dlogits = at::zeros({n, v}, probs.options());
  for (int64_t i = 0; i < n; ++i) {
    const float* p = probs.data_ptr<float>() + i * v;
    float* out = dlogits.data_ptr<float>() + i * v;
    const float g = dlogprob.data_ptr<float>()[i] * scale;
    for (int64_t j = 0; j < vocab_limit; ++j) out[j] = -g * p[j];
    out[ids.data_ptr<int64_t>()[i]] += g;
    if (!dentropy.defined()) continue;
    // dH/dx_j = -p_j (log p_j + H)
    const float h = forward.entropy_N.data_ptr<float>()[i], dh = dentropy.data_ptr<float>()[i] * scale;
    for (int64_t j = 0; j < vocab_limit; ++j)
      if (p[j] > 0.0f) out[j] -= dh * p[j] * (std::log(p[j]) + h);
  }
  return dlogits;
}

}  // namespace cohort::kernels
