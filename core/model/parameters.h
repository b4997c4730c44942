#pragma once
/// The trainable tensors of a model: one flat buffer of values, one of gradients, and named views into both.
///
/// Flat, because the optimizer, the gradient sum over ranks and checkpoints then work on one array. Names are those of the published
/// checkpoints, except that the experts of a layer are stacked ("….mlp.experts.gate_proj.weight" [E, I, D]); see weights_io.h.
///
/// The values may be divided over processes (shard): then only this process's slice of them is in memory, and the rest while it is
/// gathered. Names, shapes, views and addresses stay.

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/model/parameter_sharding.h"

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
  /// Without a seed values are 0, and take no memory until they are written: for those that are loaded next.
  void allocate(std::optional<uint64_t> seed, double std);
  /// In place of allocate(): tensors of the device "meta", which have names and shapes and no memory.
  void allocate_shapes();

  Parameter& at(size_t index) { return parameters_[index]; }
  const std::vector<Parameter>& all() const { return parameters_; }
  const Parameter* find(const std::string& name) const;

  at::Tensor values() const { return values_; }  ///< [P], no gradient
  at::Tensor grads() const { return grads_; }    ///< [P]
  int64_t size() const { return values_.defined() ? values_.numel() : 0; }

  /// From now on values() has this member's slice of them only, which is there when it is called or is loaded next. `sharding` is borrowed.
  void shard(ParameterSharding* sharding);
  ParameterSharding* sharding() const { return sharding_; }  ///< null: all values are here
  /// Of a sharded set, collective: values [begin, end) as their owners have them, until release().
  void gather(int64_t begin, int64_t end);
  /// Of a sharded set, collective: member i gets the (i mod `parts`)-th of `parts` equal runs of [begin, end).
  void gather_runs(int64_t begin, int64_t end, int64_t parts);
  /// Of a sharded set: gives back the memory of [begin, end) but for this member's slice and the pages at the edges (paged_tensor.h).
  void release(int64_t begin, int64_t end);
  /// Sets the gradients to 0 and gives back their memory.
  void clear_gradients();

 private:
  struct Declaration {
    std::vector<int64_t> shape;
    Init init;
  };
  /// Makes the views into values_ and grads_.
  void divide();

  std::vector<Declaration> declarations_;
  std::vector<Parameter> parameters_;
  std::unordered_map<std::string, size_t> indices_;  ///< by name
  int64_t declared_ = 0;                             ///< numbers
  at::Tensor values_, grads_;
  ParameterSharding* sharding_ = nullptr;
};

}  // namespace cohort::model
