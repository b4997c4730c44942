#pragma once
/// The decoder: embedding, blocks of attention and feed-forward, final norm, and a language-model head or a scalar head.
///
/// One forward serves training and sampling: the same kernels in the same order, so log-probabilities recorded while sampling equal the
/// trainer's to the bit (fp32 and bf16, both attention families, any batch).

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/model/architecture.h"
#include "core/model/functions.h"
#include "core/model/layers/attention.h"
#include "core/model/layers/feed_forward.h"
#include "core/model/parameters.h"
#include "core/model/token_batch.h"

namespace cohort::model {

enum class Head { kLanguageModel, kScalar };

class CausalLM {
 public:
  /// Initialised from `seed` alone. Without one all is 0 and takes no memory until it is written: for weights that are loaded next.
  CausalLM(const Architecture& a, std::optional<uint64_t> seed, ComputeType type = ComputeType::kFloat32, Head head = Head::kLanguageModel);
  /// Names and shapes alone, without memory for numbers (ParameterSet::allocate_shapes): what the tensors of a folder are compared with. It
  /// cannot be run.
  struct ShapesOnly {};
  CausalLM(const Architecture& a, ShapesOnly, Head head);
  CausalLM(const CausalLM&) = delete;
  CausalLM& operator=(const CausalLM&) = delete;

  /// Whole sequences → hidden states [N, D] after the final norm. With gradients unless they are switched off.
  at::Tensor hidden(const TokenBatch& batch, MoeTrace* trace = nullptr);
  /// The same, and fills the slot slots[b] of the cache with sequence b. No gradients.
  at::Tensor prefill(const TokenBatch& batch, const std::vector<int64_t>& slots, KvCache& cache);
  /// One token per row at positions[i] of slots[i] → hidden states [B, D]. No gradients.
  at::Tensor decode(const std::vector<int32_t>& ids, const std::vector<int64_t>& slots, const std::vector<int64_t>& positions,
                    KvCache& cache);

  /// Keep for the backward pass only what enters each block, and run the block again there with the routing of the first pass. Costs a
  /// second forward pass of the blocks; gradients, loads and balance loss have the same bits. The model must outlive backward passes.
  void set_recompute(bool on) { recompute_ = on; }

  /// Share the routed experts with the members of `exchange`, which is borrowed; null: run all of them here. The number of experts must be
  /// a multiple of its size (InputError); a dense model has nothing to share. Every pass of hidden() that records gradients, and its
  /// backward pass, is then collective. A member that has fewer to make joins in with join_passes(). Gradients of experts are laid out as
  /// shared_experts.h says. Passes without gradients, and so sampling, stay local.
  void share_experts(ExpertExchange* exchange);
  /// Makes passes over no tokens for as long as others make passes, with gradients where these are on; returns when every member has called
  /// it. Collective; nothing where passes are local: without an exchange, and outside use_layers().
  void join_passes();
  /// Where experts are shared: [begin, end) of each stack of routed experts in parameters().grads().
  std::vector<std::pair<int64_t, int64_t>> shared_ranges() const;

  /// From now on keep this member's slice of the parameters only, and the others' while they are in use: inside use_all() or use_layers(),
  /// and only there the model can be run. The slice is here when it is called, or is loaded next. `sharding` is borrowed; null: nothing
  /// changes. Router biases and gradients are not divided.
  void shard_parameters(ParameterSharding* sharding);
  bool sharded() const { return set_.sharding() != nullptr; }

  /// While one of these lives, parameters of others are here. Its end is local. The model must outlive it. Null where nothing is to be
  /// done: the model is not sharded, or all parameters are in use already.
  struct EndUse {
    void operator()(CausalLM* model) const { model->end_use(); }
  };
  using InUse = std::unique_ptr<CausalLM, EndUse>;
  /// All parameters, for passes that are each member's own affair. Collective.
  [[nodiscard]] InUse use_all();
  /// For passes that all members make in step: embedding, final norm and head all the time, a layer while it runs, once more in the
  /// backward pass. Collective, and so is then every pass of hidden() and its backward pass; a member that has fewer of them joins in with
  /// join_passes(). Without gradients layers come whole; with them, where experts are shared, without the experts that others run. At the
  /// end the gradients are 0: their memory is given back.
  ///
  /// Why all members make the same calls in the same order: each pass begins with ParameterSharding::any, which is true on all or on none,
  /// so that all make as many passes; a pass gathers the layers from the first to the last, its backward pass from the last to the first,
  /// because the gradient that a layer waits for comes out of the next layer; neither depends on the tokens, of which there may be none.
  [[nodiscard]] InUse use_layers();

  /// Hidden rows [N, D] → logits [N, V], fp32 always.
  at::Tensor logits(const at::Tensor& hidden_ND);
  /// Tokens that do not exist although there are rows for them: their logits are -1e30 from now on, so that they have probability 0 while
  /// sampling and while training (finite: 0 times it is 0). None by default; copy_from() takes them over.
  void set_missing_tokens(const std::vector<int32_t>& ids);
  /// Hidden rows [N, D] → scores [N] of a scalar head.
  at::Tensor scores(const at::Tensor& hidden_ND);

  const Architecture& architecture() const { return a_; }
  ComputeType compute_type() const { return type_; }
  ParameterSet& parameters() { return set_; }
  const ParameterSet& parameters() const { return set_; }
  /// Router selection biases of the mixture layers, in layer order. State, but not trained by gradient.
  std::vector<at::Tensor> router_biases() const;

  /// A tied head collects its gradient apart from the embedding's, so that micro-batches do not change the order of sums. This adds it to
  /// the embedding's. Call once after the last backward pass of a gradient.
  void fold_gradients();
  void zero_gradients();

  /// Copies values and router biases. Same architecture. Where both are sharded, this member's slice is copied.
  void copy_from(const CausalLM& other);

 private:
  struct Block {
    size_t attention_norm, feed_forward_norm;
    std::unique_ptr<Attention> attention;
    std::unique_ptr<FeedForward> feed_forward;
  };

  void declare(Head head);
  at::Tensor run(const at::Tensor& ids_N, const ForwardContext& context, MoeTrace* trace);
  /// A whole forward pass, with gradients where they are on.
  at::Tensor run_pass(const TokenBatch& batch, MoeTrace* trace);
  at::Tensor run_recomputed(const TokenBatch& batch, MoeTrace* trace);
  /// run_block with the layer's parameters gathered before and given back afterwards. `backward_follows`: the layer's backward pass is the
  /// next thing that happens, so they stay until its end.
  at::Tensor run_layer(size_t layer, const at::Tensor& h_ND, const ForwardContext& context, MoeTrace* trace, bool backward_follows = false);
  at::Tensor run_block(size_t layer, const at::Tensor& h_ND, const ForwardContext& context, MoeTrace* trace);

  enum class Held { kAll, kLayers, kSlice };
  void end_use();
  /// Fault unless the parameters that a pass needs are here.
  void require_use(bool whole) const;
  /// Whether any member makes a pass, where passes are collective.
  bool anybody_passes(bool mine) const;
  std::pair<int64_t, int64_t> range_of(size_t layer) const;
  void gather_layer(size_t layer, bool experts_shared);
  void release_layer(size_t layer);
  std::vector<std::pair<int64_t, int64_t>> expert_ranges(size_t layer) const;

  Architecture a_;
  ComputeType type_;
  bool recompute_ = false;
  ExpertExchange* exchange_ = nullptr;
  Held held_ = Held::kAll;
  RopeTable rope_;
  ParameterSet set_;
  std::vector<Block> blocks_;
  size_t embedding_, final_norm_, head_ = 0;
  at::Tensor missing_tokens_;  ///< ids; undefined: none
  Parameter tied_head_;        ///< the embedding's value with a gradient buffer of its own
};

}  // namespace cohort::model
