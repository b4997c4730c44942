#pragma once
/// Weights from the ranks that train to the ranks that only roll out.
///
///   manifest   every sender announces tensors, pieces with their hashes, and the version; receivers compare with their own model and plan
///   request    every receiver names the moves that it lacks: at first all
///   buckets    senders pack what was asked for, at most kBucketBytes at a time
///   verify     a receiver takes a piece only if version and hash are those of the manifest; what it does not take it asks for again
///   canary     with everything in place, the log-probabilities of a fixed sequence must be those that the first sender announced; if
///              not, the receiver refuses the weights and asks for all of them again
///
/// A rank that is still not served after kAttempts is a Fault that names the rank, the tensor and the reason. Tensors that a rank already
/// holds are not moved.

#include <ATen/core/Tensor.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "core/model/causal_lm.h"
#include "distributed/comm/communicator.h"
#include "distributed/weights/plan.h"

namespace cohort::weights {

inline constexpr size_t kBucketBytes = size_t{16} << 20;
inline constexpr int kAttempts = 3;

/// Contiguous fp32 CPU tensors that share a model's memory, in a fixed order: its parameters, then its router biases.
std::vector<std::pair<TensorInfo, at::Tensor>> tensors_of(const model::CausalLM& model);

/// Log-probabilities of a fixed sequence under the model.
std::vector<float> canary_logprobs(model::CausalLM& model);

class Transfer {
 public:
  using Canary = std::function<std::vector<float>()>;

  /// `tensors` hold whole tensors in every rank's memory; `from` says which parts of them are up to date on which rank. Not collective.
  Transfer(comm::Communicator group, std::vector<std::pair<TensorInfo, at::Tensor>> tensors, const Layout& from, const Layout& to);

  /// Collective over the group. `version` counts on senders; returns it on every rank. A version below that of the last run is a Fault. The
  /// largest difference to the canary's log-probabilities that is taken is `tolerance`.
  uint64_t run(uint64_t version, const Canary& canary, double tolerance = 1e-4);

  /// Pieces and whole models that this rank refused since it was made.
  int64_t refused() const { return refused_; }

 private:
  bool sends() const;
  void announce(uint64_t version, const Canary& canary);
  void take_manifest(const std::string& bytes, int rank);
  std::vector<std::vector<uint32_t>> ask();
  void serve(const std::vector<std::vector<uint32_t>>& wanted);
  void take_bucket(const std::string& bytes, int from);
  std::string_view bytes_of(const Move& move) const;

  comm::Communicator group_;
  std::vector<std::pair<TensorInfo, at::Tensor>> tensors_;
  std::vector<Move> moves_;
  std::vector<int> senders_;  // ascending
  uint64_t version_ = 0;
  std::vector<std::string> hashes_;  // of each move
  std::vector<float> canary_;
  std::set<uint32_t> missing_;  // moves to this rank
  std::string problem_;         // why this rank refused something in the last attempt
  std::string reported_;        // the first rank that still lacks something, and its problem
  int64_t refused_ = 0;
};

}  // namespace cohort::weights
