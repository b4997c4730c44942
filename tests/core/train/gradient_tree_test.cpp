#include "core/train/gradient_tree.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <random>

#include "core/base/error.h"

namespace cohort::train {
namespace {

/// Values of very different sizes, so that every order of adding gives other bits.
std::vector<at::Tensor> parts(int64_t count) {
  std::mt19937 engine(3);
  std::normal_distribution<float> normal;
  std::vector<at::Tensor> out;
  for (int64_t i = 0; i < count; ++i) {
    at::Tensor t = at::empty({50}, at::kFloat);
    for (int64_t j = 0; j < 50; ++j) t.data_ptr<float>()[j] = normal(engine) * std::pow(10.0f, static_cast<float>(engine() % 6));
    out.push_back(t);
  }
  return out;
}

/// The documented order, written down: halves are summed alone, then added.
at::Tensor halved(const std::vector<at::Tensor>& all, size_t begin, size_t end) {
  if (end - begin == 1) return all[begin];
  const size_t middle = begin + (end - begin) / 2;
  return halved(all, begin, middle) + halved(all, middle, end);
}

at::Tensor tree_of(const std::vector<at::Tensor>& all, size_t begin, size_t end) {
  GradientTree tree;
  for (size_t i = begin; i < end; ++i) tree.add(all[i]);
  return tree.sum();
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() &&
         std::memcmp(a.data_ptr<float>(), b.data_ptr<float>(), sizeof(float) * static_cast<size_t>(a.numel())) == 0;
}

}  // namespace

TEST_CASE("the sum is ((0+1)+(2+3))+…, to the bit") {
  for (const size_t count : {1, 2, 4, 8, 16}) {
    CAPTURE(count);
    const auto all = parts(static_cast<int64_t>(count));
    CHECK(same_bits(tree_of(all, 0, count), halved(all, 0, count)));
  }
  const auto four = parts(4);
  CHECK(same_bits(tree_of(four, 0, 4), (four[0] + four[1]) + (four[2] + four[3])));
  CHECK_FALSE(same_bits(tree_of(four, 0, 4), four[0] + four[1] + four[2] + four[3]));
}

TEST_CASE("1, 2, 4 or 8 processes with equal shares give the bits of one") {
  const auto all = parts(8);
  const at::Tensor alone = tree_of(all, 0, 8);
  for (const size_t processes : {2, 4, 8}) {
    std::vector<at::Tensor> shares;
    for (size_t p = 0; p < processes; ++p) shares.push_back(tree_of(all, p * 8 / processes, (p + 1) * 8 / processes));
    CHECK(same_bits(halved(shares, 0, processes), alone));
  }
}

TEST_CASE("parts are copied: the caller may go on using its buffer") {
  at::Tensor buffer = at::ones({3});
  GradientTree tree;
  tree.add(buffer);
  buffer.fill_(5.0f);
  tree.add(buffer);
  CHECK(same_bits(tree.sum(), at::full({3}, 6.0f)));
  CHECK(same_bits(buffer, at::full({3}, 5.0f)));
}

TEST_CASE("the sum comes to lie where it was asked to") {
  const auto all = parts(4);
  const at::Tensor place = at::zeros_like(all[0]);
  GradientTree tree(place);
  for (const at::Tensor& part : all) tree.add(part);
  CHECK(tree.sum().data_ptr() == place.data_ptr());
  CHECK(same_bits(place, halved(all, 0, 4)));
}

TEST_CASE("a number of parts that is no power of two is a fault") {
  CHECK_THROWS_AS(GradientTree().sum(), Fault);
  const auto all = parts(6);
  for (const size_t count : {3, 5, 6}) CHECK_THROWS_AS(tree_of(all, 0, count), Fault);
}

TEST_CASE("slots cover every item once, in order, in sizes that differ by at most one") {
  for (const int64_t slots : {1, 2, 4, 8, 16})
    for (const int64_t count : {0, 1, 2, 3, 5, 7, 8, 13, 31, 100, 101}) {
      CAPTURE(slots, count);
      int64_t next = 0, smallest = count, largest = 0;
      for (int64_t slot = 0; slot < slots; ++slot) {
        const auto [begin, end] = slot_range(count, slots, slot);
        CHECK(begin == next);
        smallest = std::min(smallest, end - begin), largest = std::max(largest, end - begin);
        for (int64_t i = begin; i < end; ++i) CHECK(slot_of(i, count, slots) == slot);
        next = end;
      }
      CHECK(next == count);
      CHECK(largest - smallest <= 1);
    }
}

TEST_CASE("the slots of a process are those of the halves of its half") {
  // Whatever the number of slots, a coarser cut has its edges where a finer one has them.
  for (const int64_t count : {7, 13, 100})
    for (int64_t slot = 0; slot < 4; ++slot) {
      const auto coarse = slot_range(count, 4, slot);
      CHECK(coarse.first == slot_range(count, 8, 2 * slot).first);
      CHECK(coarse.second == slot_range(count, 8, 2 * slot + 1).second);
    }
}

}  // namespace cohort::train
