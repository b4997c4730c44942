#include <cstring>

#include "kernels/common/row_kernels.h"
#include "kernels/common/tensor_check.h"
#include "kernels/gemm/linear.h"
#include "kernels/moe_experts/moe_experts.h"
#include "kernels/swiglu/swiglu.h"

namespace cohort::kernels {
namespace {

std::vector<std::vector<int64_t>> pairs_by_expert(const at::Tensor& experts, int64_t count) {
  std::vector<std::vector<int64_t>> pairs(static_cast<size_t>(count));
  const int64_t* e = indices(experts, "moe_experts", "experts");
  for (int64_t pair = 0; pair < experts.numel(); ++pair) {
    TORCH_CHECK(e[pair] >= 0 && e[pair] < count, "moe_experts: expert ", e[pair], " of ", count);
    pairs[static_cast<size_t>(e[pair])].push_back(pair);
  }
  return pairs;
}

/// Rows of `from` chosen by pair (row = pair / divisor).
at::Tensor gather_rows(const at::Tensor& from, const std::vector<int64_t>& pairs, int64_t divisor) {
  const int64_t d = from.size(-1);
  at::Tensor out = at::empty({static_cast<int64_t>(pairs.size()), d}, from.options());
  for (size_t i = 0; i < pairs.size(); ++i)
    std::memcpy(out.data_ptr<float>() + static_cast<int64_t>(i) * d, from.data_ptr<float>() + pairs[i] / divisor * d,
                sizeof(float) * static_cast<size_t>(d));
  return out;
}

void scatter_rows(const at::Tensor& rows, const std::vector<int64_t>& pairs, const at::Tensor& to) {
  const int64_t d = rows.size(-1);
  for (size_t i = 0; i < pairs.size(); ++i)
    std::memcpy(to.data_ptr<float>() + pairs[i] * d, rows.data_ptr<float>() + static_cast<int64_t>(i) * d,
                sizeof(float) * static_cast<size_t>(d));
}

void scale_rows(const at::Tensor& rows, const std::vector<int64_t>& pairs, const at::Tensor& factor) {
  const int64_t d = rows.size(-1);
  float* row = rows.data_ptr<float>();
  const float* scale = factor.data_ptr<float>();
  for (size_t i = 0; i < pairs.size(); ++i, row += d)
    for (int64_t j = 0; j < d; ++j) row[j] *= scale[pairs[i]];
}

}  // namespace

at::Tensor combine_slots(const at::Tensor& y_NKD, const at::Tensor& weights) {
  const int64_t n = dense_f32(y_NKD, "moe_experts", "y").size(0), k = y_NKD.size(1), d = y_NKD.size(2);
  at::Tensor out = at::zeros({n, d}, y_NKD.options());
  const float *y = y_NKD.data_ptr<float>(), *scale = weights.defined() ? weights.data_ptr<float>() : nullptr;
  float* sum = out.data_ptr<float>();
  for (int64_t pair = 0; pair < n * k; ++pair) row_kernels().add_scaled(y + pair * d, scale ? scale[pair] : 1.0f, d, sum + pair / k * d);
  return out;
}

at::Tensor slot_weight_gradient(const at::Tensor& dy, const at::Tensor& y_NKD) {
  const int64_t n = dense_f32(dy, "moe_experts", "dy").size(0), k = y_NKD.size(1), d = dy.size(1);
  at::Tensor dweights = at::empty({n, k}, dy.options());
  const float *dy_rows = dy.data_ptr<float>(), *y_rows = y_NKD.data_ptr<float>();
  float* dw = dweights.data_ptr<float>();
  for (int64_t pair = 0; pair < n * k; ++pair) dw[pair] = row_kernels().dot(dy_rows + pair / k * d, y_rows + pair * d, d);
  return dweights;
}

at::Tensor moe_experts(const at::Tensor& x, const at::Tensor& experts, const at::Tensor& weights, const ExpertWeights& w,
                       ExpertTape* tape) {
  const int64_t n = dense_f32(x, "moe_experts", "x").size(0), d = x.size(1), k = experts.size(1), e_count = w.gate.size(0);
  dense_f32(weights, "moe_experts", "weights");
  at::Tensor y_NKD = at::empty({n, k, d}, x.options());
  auto pairs = pairs_by_expert(experts, e_count);
  if (tape) tape->x.resize(pairs.size()), tape->gate.resize(pairs.size()), tape->up.resize(pairs.size()), tape->hidden.resize(pairs.size());
  for (size_t e = 0; e < pairs.size(); ++e) {
    if (pairs[e].empty()) continue;
    const int64_t expert = static_cast<int64_t>(e);
    at::Tensor rows = gather_rows(x, pairs[e], k);
    at::Tensor gate = kernels::linear(rows, w.gate[expert], {}), up = kernels::linear(rows, w.up[expert], {}), hidden = swiglu(gate, up);
    scatter_rows(kernels::linear(hidden, w.down[expert], {}), pairs[e], y_NKD);
    if (tape) tape->x[e] = rows, tape->gate[e] = gate, tape->up[e] = up, tape->hidden[e] = hidden;
  }
  at::Tensor out = combine_slots(y_NKD, weights);
  if (tape) tape->pairs = std::move(pairs), tape->y_NKD = y_NKD;
  return out;
}

ExpertGrads moe_experts_backward(const at::Tensor& dy, const at::Tensor& weights, const ExpertWeights& w, const ExpertTape& tape,
                                 const ExpertWeights& grads) {
  const int64_t n = dense_f32(dy, "moe_experts", "dy").size(0), d = dy.size(1), k = weights.size(1);
  at::Tensor dx_NKD = at::empty({n, k, d}, dy.options());
  for (size_t e = 0; e < tape.pairs.size(); ++e) {
    if (tape.pairs[e].empty()) continue;
    const int64_t expert = static_cast<int64_t>(e);
    at::Tensor dout = gather_rows(dy, tape.pairs[e], k);
    scale_rows(dout, tape.pairs[e], weights);
    linear_backward_weight(dout, tape.hidden[e], grads.down[expert], {});
    const auto [dgate, dup] = swiglu_backward(linear_backward_input(dout, w.down[expert]), tape.gate[e], tape.up[e]);
    linear_backward_weight(dgate, tape.x[e], grads.gate[expert], {});
    linear_backward_weight(dup, tape.x[e], grads.up[expert], {});
    scatter_rows(linear_backward_input(dgate, w.gate[expert]).add_(linear_backward_input(dup, w.up[expert])), tape.pairs[e], dx_NKD);
  }
  return {combine_slots(dx_NKD, {}), slot_weight_gradient(dy, tape.y_NKD)};
}

}  // namespace cohort::kernels
