#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/moe_route/moe_route.h"

namespace cohort::kernels {
namespace {

constexpr float kSumFloor = 1e-20f;  // transformers adds it to the denominator
constexpr float kMasked = -std::numeric_limits<float>::infinity();

/// Indices of the `count` largest values, largest first, ties by index.
std::vector<int64_t> largest_indices(const float* values, int64_t n, int64_t count) {
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](int64_t a, int64_t b) { return values[a] != values[b] ? values[a] > values[b] : a < b; });
  order.resize(static_cast<size_t>(count));
  return order;
}

/// Sets the scores of experts outside the best groups to -inf.
void mask_groups(std::vector<float>& choice, const RouteOptions& o, bool biased) {
  const int64_t width = static_cast<int64_t>(choice.size()) / o.groups;
  std::vector<float> group_score(static_cast<size_t>(o.groups));
  for (int64_t g = 0; g < o.groups; ++g) {
    const float* c = choice.data() + g * width;
    const auto best = largest_indices(c, width, std::min<int64_t>(width, biased ? 2 : 1));
    float total = 0.0f;
    for (int64_t e : best) total += c[e];
    group_score[static_cast<size_t>(g)] = total;
  }
  std::vector<bool> kept(static_cast<size_t>(o.groups), false);
  for (int64_t g : largest_indices(group_score.data(), o.groups, o.topk_group)) kept[static_cast<size_t>(g)] = true;
  for (int64_t g = 0; g < o.groups; ++g)
    if (!kept[static_cast<size_t>(g)]) std::fill_n(choice.begin() + g * width, width, kMasked);
}

/// Scores s [E] of one row.
void score_row(const float* logits, int64_t e, bool softmax, float* s) {
  if (!softmax) return row_kernels().sigmoid(logits, e, s);
  float largest;
  const float inverse = 1.0f / row_kernels().softmax_row(logits, e, 1.0f, s, &largest);
  for (int64_t j = 0; j < e; ++j) s[j] *= inverse;
}

/// The top_k experts of one row, best first. `choice` is scratch [E].
void choose(const float* s, const at::Tensor& bias, const RouteOptions& o, std::vector<float>& choice, int64_t* chosen) {
  const int64_t e = static_cast<int64_t>(choice.size());
  for (int64_t j = 0; j < e; ++j) choice[static_cast<size_t>(j)] = s[j] + (bias.defined() ? bias.data_ptr<float>()[j] : 0.0f);
  if (o.groups > 1) mask_groups(choice, o, bias.defined());
  const auto best = largest_indices(choice.data(), e, o.top_k);
  std::copy(best.begin(), best.end(), chosen);
}

void weigh(const float* s, const int64_t* chosen, const RouteOptions& o, float* weights) {
  float total = o.norm_topk_prob ? kSumFloor : 1.0f;
  if (o.norm_topk_prob)
    for (int64_t slot = 0; slot < o.top_k; ++slot) total += s[chosen[slot]];
  for (int64_t slot = 0; slot < o.top_k; ++slot) weights[slot] = s[chosen[slot]] / total * static_cast<float>(o.scaling_factor);
}

}  // namespace

Route moe_route(const at::Tensor& logits, const at::Tensor& bias, const RouteOptions& o, const at::Tensor& given) {
  const int64_t n = dense_f32(logits, "moe_route", "logits").size(0), e = logits.size(1), k = o.top_k;
  TORCH_CHECK(o.groups > 0 && e % o.groups == 0 && o.topk_group <= o.groups && k <= e / o.groups * o.topk_group, "moe_route: top ", k,
              " of ", e, " experts in ", o.topk_group, " of ", o.groups, " groups is impossible");
  TORCH_CHECK(!given.defined() || (given.sizes() == at::IntArrayRef({n, k}) && given.scalar_type() == at::kLong && given.is_contiguous()),
              "moe_route: expected the chosen experts as [", n, ", ", k, "] int64, found ", given.toString());
  Route r{given.defined() ? given : at::empty({n, k}, at::kLong), at::empty({n, k}, logits.options()), at::empty({n, e}, logits.options())};
  std::vector<float> choice(static_cast<size_t>(e));
  for (int64_t i = 0; i < n; ++i) {
    float* s = r.scores_NE.data_ptr<float>() + i * e;
    int64_t* chosen = r.experts_NK.data_ptr<int64_t>() + i * k;
    score_row(logits.data_ptr<float>() + i * e, e, o.softmax, s);
    if (!given.defined()) choose(s, bias, o, choice, chosen);
    weigh(s, chosen, o, r.weights_NK.data_ptr<float>() + i * k);
  }
  return r;
}

at::Tensor moe_route_backward(const at::Tensor& dweights, const at::Tensor& dscores, const at::Tensor& experts, const at::Tensor& scores,
                              const RouteOptions& o) {
  const int64_t n = scores.size(0), e = scores.size(1), k = o.top_k;
  at::Tensor dlogits = at::empty({n, e}, scores.options());
  std::vector<float> ds(static_cast<size_t>(e));
  for (int64_t i = 0; i < n; ++i) {
    const float* s = scores.data_ptr<float>() + i * e;
    const float* dw = dense_f32(dweights, "moe_route", "dweights").data_ptr<float>() + i * k;
    const int64_t* chosen = experts.data_ptr<int64_t>() + i * k;
    for (int64_t j = 0; j < e; ++j) ds[static_cast<size_t>(j)] = dscores.defined() ? dscores.data_ptr<float>()[i * e + j] : 0.0f;
    float total = o.norm_topk_prob ? kSumFloor : 1.0f, inner = 0.0f;
    if (o.norm_topk_prob) {
      for (int64_t slot = 0; slot < k; ++slot) total += s[chosen[slot]];
      for (int64_t slot = 0; slot < k; ++slot) inner += dw[slot] * s[chosen[slot]] / total;
    }
    for (int64_t slot = 0; slot < k; ++slot)
      ds[static_cast<size_t>(chosen[slot])] += static_cast<float>(o.scaling_factor) * (dw[slot] - inner) / total;
    float* out = dlogits.data_ptr<float>() + i * e;
    const float mean = o.softmax ? row_kernels().dot(ds.data(), s, e) : 0.0f;
    for (int64_t j = 0; j < e; ++j)
      out[j] = o.softmax ? s[j] * (ds[static_cast<size_t>(j)] - mean) : ds[static_cast<size_t>(j)] * s[j] * (1.0f - s[j]);
  }
  return dlogits;
}

}  // namespace cohort::kernels
