#include "core/model/parameters.h"

#include <ATen/ATen.h>

#include "core/base/error.h"
#include "core/base/random.h"

namespace cohort::model {

size_t ParameterSet::declare(const std::string& name, std::vector<int64_t> shape, Init init) {
  if (find(name)) throw Fault("parameter declared twice: " + name);
  parameters_.push_back({name, {}, {}});
  declarations_.push_back({std::move(shape), init});
  return parameters_.size() - 1;
}

const Parameter* ParameterSet::find(const std::string& name) const {
  for (const Parameter& p : parameters_)
    if (p.name == name) return &p;
  return nullptr;
}

void ParameterSet::allocate(uint64_t seed, double std) {
  int64_t total = 0;
  for (const Declaration& d : declarations_) total += c10::multiply_integers(d.shape);
  values_ = at::empty({total}, at::kFloat);
  grads_ = at::zeros({total}, at::kFloat);
  int64_t offset = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Declaration& d = declarations_[i];
    const int64_t n = c10::multiply_integers(d.shape);
    float* out = values_.data_ptr<float>() + offset;
    RandomStream stream(seed, "init/" + parameters_[i].name);
    for (int64_t j = 0; j < n; ++j)
      out[j] = d.init == Init::kNormal ? static_cast<float>(stream.normal() * std) : d.init == Init::kOnes ? 1.0f : 0.0f;
    // detach() shares the memory but is a leaf of its own, so that autograd sees a parameter and not a view of the flat buffer.
    parameters_[i].value = values_.narrow(0, offset, n).view(d.shape).detach().requires_grad_(true);
    parameters_[i].grad = grads_.narrow(0, offset, n).view(d.shape);
    offset += n;
  }
}

}  // namespace cohort::model
