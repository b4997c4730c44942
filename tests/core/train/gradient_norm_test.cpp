#include "core/train/gradient_norm.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/train/gradient_tree.h"

namespace cohort::train {

TEST_CASE("the norm is that of the gradient") {
  CHECK(norm_of(squares_by_slot(at::tensor(std::vector<float>{3.0f, 0.0f, -4.0f}), 2, {0, 2})) == 5.0);
  const at::Tensor gradient = at::randn({1003});
  for (int64_t slots : {1, 2, 4, 8})
    CHECK(norm_of(squares_by_slot(gradient, slots, {0, slots})) == Approx(gradient.to(at::kDouble).norm().item<double>()).epsilon(1e-12));
  CHECK(norm_of(squares_by_slot(at::ones({2}), 4, {0, 4})) == Approx(std::sqrt(2.0)));  // more parts than numbers
}

TEST_CASE("members that hold the parts of their slots get the bits of one that holds all") {
  const at::Tensor gradient = at::randn({100'003}) * at::arange(100'003, at::kFloat);
  const auto whole = squares_by_slot(gradient, 8, {0, 8});
  for (int64_t members : {1, 2, 4, 8}) {
    std::vector<double> joined;
    for (int64_t m = 0; m < members; ++m) {
      // A member sees its slice of the parameters only, cut as Team::slice() does.
      at::Tensor mine = at::full_like(gradient, std::numeric_limits<float>::quiet_NaN());
      const int64_t begin = gradient.numel() * m / members, end = gradient.numel() * (m + 1) / members;
      mine.slice(0, begin, end).copy_(gradient.slice(0, begin, end));
      for (double squares : squares_by_slot(mine, 8, {8 / members * m, 8 / members * (m + 1)})) joined.push_back(squares);
    }
    CHECK(joined == whole);
  }
}

TEST_CASE("a number that is not finite makes the norm so, wherever it is") {
  for (int64_t place : {0, 499, 999}) {
    at::Tensor gradient = at::ones({1000});
    gradient[place] = std::numeric_limits<float>::infinity();
    CHECK_FALSE(std::isfinite(norm_of(squares_by_slot(gradient, 4, {0, 4}))));
    gradient[place] = std::nanf("");
    CHECK_FALSE(std::isfinite(norm_of(squares_by_slot(gradient, 4, {0, 4}))));
  }
}

}  // namespace cohort::train
