#include "core/train/gradient_norm.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

#include "core/train/gradient_tree.h"
#include "kernels/adamw/adamw.h"

namespace cohort::train {

std::vector<double> squares_by_slot(const at::Tensor& gradient, int64_t slots, std::pair<int64_t, int64_t> range) {
  std::vector<double> squares;
  for (int64_t slot = range.first; slot < range.second; ++slot) {
    const auto [begin, end] = slot_range(gradient.numel(), slots, slot);
    squares.push_back(kernels::sum_of_squares(gradient.narrow(0, begin, end - begin)));
  }
  return squares;
}

double norm_of(const std::vector<double>& squares) { return std::sqrt(std::accumulate(squares.begin(), squares.end(), 0.0)); }

}  // namespace cohort::train
