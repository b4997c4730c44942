#pragma once
/// One table for every implementation of an op: the same inputs, the same formula in fp64, the same tolerance.
///
/// A test describes its op as OpCases and calls check_ops(). Each case runs on every device of devices(): inputs are moved there, results
/// are brought back and compared with the formula, gradients with those that autograd derives from the formula. An implementation for
/// another device is tested by adding the device here.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace cohort::kernels::test {

using Tensors = std::vector<at::Tensor>;

struct OpCase {
  std::string name;
  Tensors inputs;                                                                       ///< fp32 or int64, on the CPU
  std::function<Tensors(const Tensors& inputs)> forward;                                ///< the op
  std::function<Tensors(const Tensors& inputs, const Tensors& grad_outputs)> backward;  ///< gradients of the fp32 inputs, in their order
  std::function<Tensors(const Tensors& inputs)> reference;  ///< the formula, differentiable; fp32 inputs come as fp64
  double tolerance = 1e-5;                                  ///< largest error over the largest value of a tensor
};

inline std::vector<at::Device> devices() { return {at::kCPU}; }

/// Standard normal, a function of shape and seed alone.
inline at::Tensor random_tensor(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kFloat));
}

inline at::Tensor random_ids(at::IntArrayRef shape, int64_t limit, uint64_t seed) {
  return at::randint(limit, shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kLong));
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() && x.scalar_type() == y.scalar_type() && std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

inline double relative_error(const at::Tensor& got, const at::Tensor& want) {
  REQUIRE(got.sizes() == want.sizes());
  const at::Tensor x = got.detach().to(at::kCPU).to(at::kDouble), y = want.detach().to(at::kDouble);
  if (x.numel() == 0) return 0.0;
  return (x - y).abs().max().item<double>() / std::max(1e-12, y.abs().max().item<double>());
}

inline void check_op(const OpCase& c, at::Device device) {
  const std::string name = c.name + " on " + device.str();
  CAPTURE(name);
  Tensors inputs, doubles;
  for (const at::Tensor& t : c.inputs) {
    inputs.push_back(t.to(device));
    doubles.push_back(t.is_floating_point() ? t.to(at::kDouble).requires_grad_(true) : t);
  }
  const Tensors outputs = c.forward(inputs), wanted = c.reference(doubles);
  REQUIRE(outputs.size() == wanted.size());
  Tensors grad_outputs;
  at::Tensor loss = at::zeros({}, at::kDouble);
  for (size_t i = 0; i < outputs.size(); ++i) {
    CAPTURE(i);
    CHECK(relative_error(outputs[i], wanted[i]) <= c.tolerance);
    const at::Tensor g = random_tensor(wanted[i].sizes(), 1000 + i);
    grad_outputs.push_back(g.to(device));
    loss = loss + (wanted[i] * g.to(at::kDouble)).sum();
  }
  loss.backward();
  const Tensors grads = c.backward(inputs, grad_outputs);
  size_t next = 0;
  for (size_t i = 0; i < doubles.size(); ++i) {
    if (!doubles[i].is_floating_point()) continue;
    CAPTURE(i);
    REQUIRE(next < grads.size());
    CHECK(relative_error(grads[next++], doubles[i].grad()) <= c.tolerance);
  }
  CHECK(next == grads.size());
}

inline void check_ops(const std::vector<OpCase>& cases) {
  for (const at::Device& device : devices())
    for (const OpCase& c : cases) check_op(c, device);
}

}  // namespace cohort::kernels::test
