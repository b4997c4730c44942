#pragma once
/// The trainable tensors of a model: one flat buffer of values, one of gradients, and named views into both.
///
/// Flat, because the optimizer, the gradient sum over ranks and checkpoints then work on one array. Names are those of the published
/// checkpoints, except that the experts of a layer are stacked ("….mlp.experts.gate_proj.weight" [E, I, D]); see weights_io.h.

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace cohort::model {

/// value is a leaf that requires a gradient; grad is where backward passes *add* it (see functions.h), never autograd's accumulation.
struct Parameter {
  std::string name;
  at::Tensor value;
  at::Tensor grad;
};

enum class Init { kNormal, kOnes, kZeros };

class ParameterSet {
 public:
  /// Declares a parameter; returns its index. All are declared before allocate().
  size_t declare(const std::string& name, std::vector<int64_t> shape, Init init);

  /// Allocates and initialises: normal with standard deviation `std` from a random stream keyed by (seed, name), so that a parameter's
  /// initial value does not depend on the others or on the rank.
  void allocate(uint64_t seed, double std);

  Parameter& at(size_t index) { return parameters_[index]; }
  const std::vector<Parameter>& all() const { return parameters_; }
  const Parameter* find(const std::string& name) const;

  at::Tensor values() const { return values_; }  ///< [P], no gradient
  at::Tensor grads() const { return grads_; }    ///< [P]
  int64_t size() const { return values_.defined() ? values_.numel() : 0; }

 private:
  struct Declaration {
    std::vector<int64_t> shape;
    Init init;
  };
  std::vector<Declaration> declarations_;
  std::vector<Parameter> parameters_;
  at::Tensor values_, grads_;
};

}  // namespace cohort::model
