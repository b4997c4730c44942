#include "core/train/optimizer.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "core/model/safetensors.h"
#include "core/train/gradient_norm.h"
#include "tests/support/golden.h"

namespace cohort::train {
namespace {

using Golden = std::map<std::string, at::Tensor>;

/// The two parameters of the fixture.
model::ParameterSet fixture_parameters(const Golden& golden) {
  model::ParameterSet set;
  for (const char* name : {"0", "1"}) set.declare(name, golden.at(std::string("start.") + name).sizes().vec(), model::Init::kZeros);
  set.allocate(0, 0.0);
  set.values().copy_(at::cat({golden.at("start.0").flatten(), golden.at("start.1").flatten()}));
  return set;
}

at::Tensor joined(const Golden& golden, const std::string& prefix, int64_t step) {
  const std::string suffix = "." + std::to_string(step);
  return at::cat({golden.at(prefix + ".0" + suffix).flatten(), golden.at(prefix + ".1" + suffix).flatten()});
}

OptimConfig fixture_config(double clip_grad) {
  OptimConfig c;
  c.lr = 0.01, c.betas = {0.9, 0.95}, c.eps = 1e-8, c.weight_decay = 0.1, c.clip_grad = clip_grad;
  return c;
}

/// One parameter of three values.
model::ParameterSet three_values() {
  model::ParameterSet set;
  set.declare("w", {3}, model::Init::kOnes);
  set.allocate(0, 0.0);
  return set;
}

/// A step from the gradient that lies in `set`.
Optimizer::Step take(Optimizer& optimizer, const model::ParameterSet& set) {
  return optimizer.step(norm_of(squares_by_slot(set.grads(), 4, {0, 4})));
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() &&
         std::memcmp(a.data_ptr<float>(), b.data_ptr<float>(), sizeof(float) * static_cast<size_t>(a.numel())) == 0;
}

OptimConfig schedule(const std::string& name, int64_t warmup) {
  OptimConfig c;
  c.lr = 2.0, c.lr_scheduler = name, c.warmup_steps = warmup, c.min_lr_ratio = 0.1;
  return c;
}

}  // namespace

TEST_CASE("ten steps of AdamW equal torch's, with and without clipping") {
  const Golden golden = model::read_safetensors(test::golden_path("model/adamw.safetensors"));
  for (const auto& [prefix, clip] : {std::pair<std::string, double>{"plain", 0.0}, {"clipped", 1.0}}) {
    CAPTURE(prefix);
    model::ParameterSet set = fixture_parameters(golden);
    Optimizer optimizer(set, fixture_config(clip), 10);
    for (int64_t step = 1; step <= 10; ++step) {
      CAPTURE(step);
      set.grads().copy_(joined(golden, "grad", step));
      const Optimizer::Step taken = take(optimizer, set);
      CHECK(taken.grad_norm == Approx(golden.at("norm." + std::to_string(step)).item<double>()).epsilon(1e-6));
      CHECK(taken.lr == 0.01);
      CHECK((set.values() - joined(golden, prefix, step)).abs().max().item<double>() <= 1e-6);
    }
    CHECK(optimizer.steps() == 10);
  }
}

TEST_CASE("a gradient that is not finite changes nothing, and what follows is as if it had not been") {
  const float bad = GENERATE(std::nanf(""), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity());
  model::ParameterSet disturbed = three_values(), calm = three_values();
  Optimizer optimizer(disturbed, schedule("linear", 2), 6), other(calm, schedule("linear", 2), 6);
  for (int64_t step = 0; step < 4; ++step) {
    disturbed.grads().fill_(0.5f);
    disturbed.grads()[step % 3] = bad;
    CHECK(take(optimizer, disturbed).skipped);
    CHECK(optimizer.steps() == step);
    CHECK(same_bits(disturbed.values(), calm.values()));
    disturbed.grads().fill_(0.5f), calm.grads().fill_(0.5f);
    const Optimizer::Step taken = take(optimizer, disturbed), wanted = take(other, calm);
    CHECK_FALSE(taken.skipped);
    CHECK(taken.lr == wanted.lr);
    CHECK(same_bits(disturbed.values(), calm.values()));
  }
}

TEST_CASE("the rate rises to its height during the warm-up, from the first step on") {
  const OptimConfig c = schedule("constant", 4);
  CHECK(learning_rate(c, 0, 100) == Approx(0.5));
  CHECK(learning_rate(c, 1, 100) == Approx(1.0));
  CHECK(learning_rate(c, 3, 100) == Approx(2.0));
  CHECK(learning_rate(c, 4, 100) == 2.0);
  CHECK(learning_rate(c, 99, 100) == 2.0);
  CHECK(learning_rate(schedule("constant", 0), 0, 100) == 2.0);
}

TEST_CASE("linear and cosine fall from the warm-up's end to min_lr_ratio at the end") {
  for (const char* name : {"linear", "cosine"}) {
    CAPTURE(name);
    const OptimConfig c = schedule(name, 10);
    CHECK(learning_rate(c, 10, 110) == Approx(2.0));
    CHECK(learning_rate(c, 60, 110) == Approx(2.0 * 0.55));  // halfway
    CHECK(learning_rate(c, 110, 110) == Approx(0.2));
    CHECK(learning_rate(c, 500, 110) == Approx(0.2));
    for (int64_t step = 10; step < 110; ++step) CHECK(learning_rate(c, step + 1, 110) < learning_rate(c, step, 110));
  }
  CHECK(learning_rate(schedule("linear", 10), 35, 110) == Approx(2.0 * (0.1 + 0.9 * 0.75)));
  CHECK(learning_rate(schedule("cosine", 10), 35, 110) == Approx(2.0 * (0.1 + 0.9 * 0.5 * (1.0 + std::sqrt(0.5)))));
}

TEST_CASE("a stage shorter than its warm-up has a rate") {
  for (const char* name : {"constant", "linear", "cosine"})
    for (int64_t step = 0; step < 3; ++step)
      CHECK(learning_rate(schedule(name, 5), step, 3) == Approx(2.0 * static_cast<double>(step + 1) / 5.0));
  CHECK(learning_rate(schedule("linear", 5), 6, 3) == Approx(0.2));
  CHECK(learning_rate(schedule("cosine", 5), 5, 5) <= 2.0);
}

TEST_CASE("the optimizer follows the schedule, also after a resume") {
  model::ParameterSet set = three_values(), resumed_set = three_values();
  const OptimConfig c = schedule("linear", 3);
  Optimizer whole(set, c, 8), resumed(resumed_set, c, 8);
  std::vector<double> rates;
  for (int64_t step = 0; step < 8; ++step) {
    set.grads().fill_(0.1f * static_cast<float>(step + 1));
    rates.push_back(take(whole, set).lr);
    CHECK(rates.back() == learning_rate(c, step, 8));
    if (step != 4) continue;
    resumed_set.values().copy_(set.values());
    resumed.first_moment().copy_(whole.first_moment()), resumed.second_moment().copy_(whole.second_moment());
    resumed.set_steps(whole.steps());
  }
  for (int64_t step = 5; step < 8; ++step) {
    resumed_set.grads().fill_(0.1f * static_cast<float>(step + 1));
    CHECK(take(resumed, resumed_set).lr == rates[static_cast<size_t>(step)]);
  }
  CHECK(same_bits(set.values(), resumed_set.values()));
}

TEST_CASE("optimizers of the parts of the parameters together give the bits of one for all, and hold its moments") {
  constexpr int64_t kCount = 1003;
  const auto parameters = [] {
    model::ParameterSet set;
    set.declare("w", {kCount}, model::Init::kNormal);
    set.allocate(5, 1.0);
    return set;
  };
  const std::vector<int64_t> cuts = {0, 250, 251, 251, 789, kCount};  // odd, of one number, empty
  model::ParameterSet all = parameters();
  OptimConfig config = schedule("cosine", 2);
  config.weight_decay = 0.1;
  Optimizer one(all, config, 6);
  CHECK(one.whole());
  std::vector<model::ParameterSet> sets(cuts.size() - 1);
  std::vector<std::unique_ptr<Optimizer>> parts;
  for (size_t i = 0; i < sets.size(); ++i) {
    sets[i] = parameters();
    parts.push_back(std::make_unique<Optimizer>(sets[i], config, 6, std::pair(cuts[i], cuts[i + 1])));
    CHECK_FALSE(parts[i]->whole());
    CHECK(parts[i]->first_moment().numel() == cuts[i + 1] - cuts[i]);
  }
  for (int64_t step = 0; step < 6; ++step) {
    all.grads().copy_(at::sin(at::arange(kCount, at::kFloat) * static_cast<double>(step + 1)));
    const double norm = norm_of(squares_by_slot(all.grads(), 1, {0, 1}));
    one.step(norm);
    for (size_t i = 0; i < sets.size(); ++i) {
      sets[i].grads().fill_(std::nanf(""));  // what is not the part's is not read
      sets[i].grads().slice(0, cuts[i], cuts[i + 1]).copy_(all.grads().slice(0, cuts[i], cuts[i + 1]));
      parts[i]->step(norm);
    }
  }
  for (size_t i = 0; i < sets.size(); ++i) {
    CAPTURE(i);
    const auto cut = [&](const at::Tensor& t) { return t.slice(0, cuts[i], cuts[i + 1]).contiguous(); };
    CHECK(same_bits(cut(sets[i].values()), cut(all.values())));
    CHECK(same_bits(parts[i]->first_moment(), cut(one.first_moment())));
    CHECK(same_bits(parts[i]->second_moment(), cut(one.second_moment())));
    const at::Tensor untouched = parameters().values();
    CHECK(same_bits(sets[i].values().slice(0, 0, cuts[i]).contiguous(), untouched.slice(0, 0, cuts[i]).contiguous()));
    CHECK(same_bits(sets[i].values().slice(0, cuts[i + 1]).contiguous(), untouched.slice(0, cuts[i + 1]).contiguous()));
  }
}

}  // namespace cohort::train
