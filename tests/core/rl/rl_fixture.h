#pragma once
/// Shared by the tests of core/rl: fixtures made by tests/golden/rl/make_rl_golden.py, as packed tensors and configs.

#include <ATen/ATen.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/rl/algorithm_config.h"
#include "core/rl/packed.h"
#include "tests/support/golden.h"

namespace cohort::test {

using nlohmann::json;

inline json load_golden(const std::string& name) {
  std::ifstream file(golden_path("rl/" + name));
  REQUIRE(file.good());
  return json::parse(file);
}

inline at::Tensor tensor(const std::vector<double>& values, at::ScalarType dtype = at::kDouble) {
  const at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), out.data_ptr<double>());
  return out.to(dtype);
}

inline at::Tensor integers(const std::vector<int64_t>& values) {
  const at::Tensor out = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::copy(values.begin(), values.end(), out.data_ptr<int64_t>());
  return out;
}

inline at::Tensor tensor(const json& values, at::ScalarType dtype = at::kDouble) {
  return tensor(values.get<std::vector<double>>(), dtype);
}

inline double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  REQUIRE(a.sizes() == b.sizes());
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

/// Gradient of a scalar with respect to a leaf.
inline at::Tensor gradient(const at::Tensor& scalar, const at::Tensor& leaf) {
  leaf.mutable_grad() = at::Tensor();
  scalar.backward();
  return leaf.grad().clone();
}

inline rl::Packing one_answer(int64_t tokens) { return rl::Packing::from_lengths({tokens}); }

/// Sets the fields of a config from a flat JSON object, whose keys must all exist. Sections share the object.
class ConfigFromJson {
 public:
  explicit ConfigFromJson(const json& values) : values_(values) {}

  template <class Range>
  void number(const char* key, double& field, const Range& range, const char*) {
    set(key, field);
    CHECK(range.contains(field));
  }
  template <class Range>
  void integer(const char* key, int64_t& field, const Range&, const char*) {
    set(key, field);
  }
  void flag(const char* key, bool& field, const char*) { set(key, field); }
  void choice(const char* key, std::string& field, std::initializer_list<std::string> names, const char*) {
    set(key, field);
    choices_[key] = names;
    CHECK(std::count(names.begin(), names.end(), field) == 1);
  }
  template <class Config>
  void section(const char*, Config& config, const char*) {
    config.visit(*this);
  }
  void rule(bool holds, const char* key, const char* expected, const std::string&) {
    if (!holds) broken_.push_back(std::string(key) + ": " + expected);
  }

  size_t keys_used() const { return used_; }
  const std::vector<std::string>& broken() const { return broken_; }
  const std::map<std::string, std::vector<std::string>>& choices() const { return choices_; }

 private:
  template <class Field>
  void set(const char* key, Field& field) {
    if (!values_.contains(key)) return;
    field = values_.at(key).get<Field>();
    ++used_;
  }

  json values_;
  size_t used_ = 0;
  std::vector<std::string> broken_;
  std::map<std::string, std::vector<std::string>> choices_;
};

inline rl::AlgorithmConfig config_of(const json& values) {
  rl::AlgorithmConfig config;
  config.rollout_correction.rollout_is = "none";  // the references correct only where they say so
  ConfigFromJson reader(values);
  config.visit(reader);
  REQUIRE(reader.keys_used() == values.size());
  return config;
}

}  // namespace cohort::test
