#include "core/model/parameters.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "core/base/error.h"
#include "core/base/stopwatch.h"

namespace cohort::model {
namespace {

ParameterSet example(uint64_t seed, double std = 0.02) {
  ParameterSet set;
  set.declare("embed", {30, 4}, Init::kNormal);
  set.declare("norm", {4}, Init::kOnes);
  set.declare("bias", {2, 3}, Init::kZeros);
  set.declare("head", {5, 4}, Init::kNormal);
  set.allocate(seed, std);
  return set;
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.contiguous(), y = b.contiguous();
  return x.sizes() == y.sizes() &&
         std::memcmp(x.data_ptr<float>(), y.data_ptr<float>(), sizeof(float) * static_cast<size_t>(x.numel())) == 0;
}

}  // namespace

TEST_CASE("parameters are views into one buffer of values and one of gradients, in the order of declaration") {
  ParameterSet set = example(1);
  CHECK(set.size() == 120 + 4 + 6 + 20);
  CHECK(set.values().numel() == set.size());
  CHECK(set.grads().numel() == set.size());
  int64_t offset = 0;
  for (const Parameter& p : set.all()) {
    CAPTURE(p.name);
    CHECK(p.value.data_ptr<float>() == set.values().data_ptr<float>() + offset);
    CHECK(p.grad.data_ptr<float>() == set.grads().data_ptr<float>() + offset);
    CHECK(p.value.sizes() == p.grad.sizes());
    CHECK(p.value.requires_grad());
    CHECK(p.value.is_leaf());
    CHECK_FALSE(p.grad.requires_grad());
    offset += p.value.numel();
  }
  CHECK(offset == set.size());
  CHECK_FALSE(set.values().requires_grad());
  set.values().fill_(3.0f);
  CHECK(set.find("bias")->value.sum().item<float>() == 18.0f);
}

TEST_CASE("shapes can be had without memory") {
  ParameterSet set;
  set.declare("large", {int64_t{1} << 24, int64_t{1} << 20}, Init::kNormal);
  set.declare("small", {2, 3}, Init::kZeros);
  set.allocate_shapes();
  CHECK(set.size() == (int64_t{1} << 44) + 6);
  CHECK(set.find("large")->value.sizes() == at::IntArrayRef({1 << 24, 1 << 20}));
  CHECK(set.find("small")->value.is_meta());
  CHECK(set.find("small")->grad.storage_offset() == int64_t{1} << 44);
}

TEST_CASE("names are found without looking at all others") {
  const Stopwatch clock;
  ParameterSet set;
  for (int i = 0; i < 100'000; ++i) set.declare("model.layers." + std::to_string(i) + ".input_layernorm.weight", {1}, Init::kOnes);
  CHECK_THROWS_AS(set.declare("model.layers.77777.input_layernorm.weight", {1}, Init::kOnes), Fault);
  CHECK(set.find("model.layers.77777.input_layernorm.weight") == &set.all()[77'777]);
  CHECK(set.find("model.layers.100000.input_layernorm.weight") == nullptr);
  CHECK(clock.seconds() < 5.0);  // 5e9 comparisons took longer
}

TEST_CASE("initial values are those that were declared, and gradients are 0") {
  ParameterSet set = example(1);
  CHECK(set.find("norm")->value.eq(1.0).all().item<bool>());
  CHECK(set.find("bias")->value.eq(0.0).all().item<bool>());
  CHECK(set.grads().eq(0.0).all().item<bool>());
  ParameterSet large;
  large.declare("w", {100, 1000}, Init::kNormal);
  large.allocate(7, 0.5);
  CHECK(large.values().mean().item<double>() == Approx(0.0).margin(0.01));
  CHECK(large.values().std().item<double>() == Approx(0.5).epsilon(0.01));
}

TEST_CASE("an initial value depends on seed and name, not on the other parameters") {
  const ParameterSet set = example(1);
  CHECK(same_bits(set.values(), example(1).values()));
  CHECK_FALSE(same_bits(set.find("embed")->value, example(2).find("embed")->value));
  ParameterSet alone;
  alone.declare("head", {5, 4}, Init::kNormal);
  alone.declare("other", {5, 4}, Init::kNormal);
  alone.allocate(1, 0.02);
  CHECK(same_bits(alone.find("head")->value, set.find("head")->value));
  CHECK_FALSE(same_bits(alone.find("head")->value, alone.find("other")->value));
}

TEST_CASE("names are found, and none twice") {
  ParameterSet set = example(1);
  CHECK(set.find("head")->name == "head");
  CHECK(set.find("hea") == nullptr);
  CHECK(set.at(2).name == "bias");
  CHECK_THROWS_AS(set.declare("head", {1}, Init::kZeros), Fault);
  CHECK(ParameterSet().size() == 0);
}

}  // namespace cohort::model
