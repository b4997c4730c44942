#include "core/model/parameters.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/base/error.h"
#include "core/base/random.h"
#include "core/model/paged_tensor.h"

namespace cohort::model {

size_t ParameterSet::declare(const std::string& name, std::vector<int64_t> shape, Init init) {
  if (!indices_.emplace(name, parameters_.size()).second) throw Fault("parameter declared twice: " + name);
  parameters_.push_back({name, {}, {}});
  declared_ += c10::multiply_integers(shape);
  declarations_.push_back({std::move(shape), init});
  return parameters_.size() - 1;
}

const Parameter* ParameterSet::find(const std::string& name) const {
  const auto found = indices_.find(name);
  return found == indices_.end() ? nullptr : &parameters_[found->second];
}

namespace {

void initialise(float* out, int64_t n, Init init, RandomStream stream, double std) {
  for (int64_t j = 0; j < n; ++j)
    out[j] = init == Init::kNormal ? static_cast<float>(stream.normal() * std) : init == Init::kOnes ? 1.0f : 0.0f;
}

}  // namespace

void ParameterSet::allocate(std::optional<uint64_t> seed, double std) {
  values_ = paged_zeros(declared_);
  grads_ = paged_zeros(declared_);
  divide();
  if (!seed) return;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& value = parameters_[i].value;
    initialise(value.data_ptr<float>(), value.numel(), declarations_[i].init, RandomStream(*seed, "init/" + parameters_[i].name), std);
  }
}

void ParameterSet::allocate_shapes() {
  values_ = grads_ = at::empty({declared_}, at::TensorOptions(at::kFloat).device(at::kMeta));
  divide();
}

void ParameterSet::divide() {
  int64_t offset = 0;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::vector<int64_t>& shape = declarations_[i].shape;
    const int64_t n = c10::multiply_integers(shape);
    // detach() shares the memory but is a leaf of its own, so that autograd sees a parameter and not a view of the flat buffer.
    parameters_[i].value = values_.narrow(0, offset, n).view(shape).detach().requires_grad_(true);
    parameters_[i].grad = grads_.narrow(0, offset, n).view(shape);
    offset += n;
  }
}

void ParameterSet::shard(ParameterSharding* sharding) {
  sharding_ = sharding;
  keep_pages_small(values_);
  release(0, size());
}

void ParameterSet::gather(int64_t begin, int64_t end) {
  if (begin == end) return;
  open_pages(values_, begin, end);
  sharding_->gather(values_, std::vector<ParameterSharding::Range>(static_cast<size_t>(sharding_->size()), {begin, end}));
}

void ParameterSet::gather_runs(int64_t begin, int64_t end, int64_t parts) {
  const int64_t run = (end - begin) / parts;
  std::vector<ParameterSharding::Range> wanted;
  for (int64_t member = 0; member < sharding_->size(); ++member)
    wanted.emplace_back(begin + member % parts * run, begin + (member % parts + 1) * run);
  const auto& mine = wanted[static_cast<size_t>(sharding_->index())];
  open_pages(values_, mine.first, mine.second);
  sharding_->gather(values_, wanted);
}

void ParameterSet::release(int64_t begin, int64_t end) {
  const auto [first, last] = sharding_->slice(size());
  close_pages(values_, begin, std::max(begin, std::min(end, first)));
  close_pages(values_, std::min(end, std::max(begin, last)), end);
}

void ParameterSet::clear_gradients() { clear_pages(grads_); }

}  // namespace cohort::model
