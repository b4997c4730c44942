#include "core/model/causal_lm.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <iterator>
#include <utility>

#include "core/base/error.h"
#include "core/model/paged_tensor.h"

namespace cohort::model {

CausalLM::CausalLM(const Architecture& a, std::optional<uint64_t> seed, ComputeType type, Head head) : a_(a), type_(type) {
  a.check("model");
  rope_ = make_rope_table(a, a.rotary_dim());
  declare(head);
  set_.allocate(seed, a.initializer_range);
  if (head == Head::kLanguageModel && a.tie_word_embeddings) {
    tied_head_ = set_.at(embedding_);
    tied_head_.grad = paged_zeros(tied_head_.grad.numel()).view(tied_head_.grad.sizes());
  }
}

CausalLM::CausalLM(const Architecture& a, ShapesOnly, Head head) : a_(a), type_(ComputeType::kFloat32) {
  a.check("model");
  declare(head);
  set_.allocate_shapes();
}

void CausalLM::declare(Head head) {
  a_.sequence_classification = head == Head::kScalar;
  embedding_ = set_.declare("model.embed_tokens.weight", {a_.vocab_size, a_.hidden_size}, Init::kNormal);
  for (int64_t i = 0; i < a_.num_hidden_layers; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    Block block;
    block.attention_norm = set_.declare(prefix + "input_layernorm.weight", {a_.hidden_size}, Init::kOnes);
    block.attention = make_attention(a_, prefix + "self_attn.", set_, rope_);
    block.feed_forward_norm = set_.declare(prefix + "post_attention_layernorm.weight", {a_.hidden_size}, Init::kOnes);
    block.feed_forward = make_feed_forward(a_, i, prefix + "mlp.", set_);
    blocks_.push_back(std::move(block));
  }
  final_norm_ = set_.declare("model.norm.weight", {a_.hidden_size}, Init::kOnes);
  if (head == Head::kScalar)
    head_ = set_.declare("score.weight", {1, a_.hidden_size}, Init::kNormal);
  else if (!a_.tie_word_embeddings)
    head_ = set_.declare("lm_head.weight", {a_.vocab_size, a_.hidden_size}, Init::kNormal);
}

at::Tensor CausalLM::run_block(size_t layer, const at::Tensor& x, const ForwardContext& context, MoeTrace* trace) {
  const Block& b = blocks_[layer];
  const at::Tensor h =
      x + b.attention->forward(rms_norm(x, set_.at(b.attention_norm), a_.rms_norm_eps), context, static_cast<int64_t>(layer));
  return h + b.feed_forward->forward(rms_norm(h, set_.at(b.feed_forward_norm), a_.rms_norm_eps), context, trace);
}

at::Tensor CausalLM::run_layer(size_t layer, const at::Tensor& x, const ForwardContext& context, MoeTrace* trace, bool backward_follows) {
  if (held_ == Held::kAll) return run_block(layer, x, context, trace);
  const bool experts_shared = context.exchange != nullptr;
  gather_layer(layer, experts_shared);
  // Every gradient that the layer's parameters take part in goes on to x: they are not needed any more once that of x is there.
  const at::Tensor out = run_block(layer, on_gradient(x, [this, layer] { release_layer(layer); }), context, trace);
  if (backward_follows && at::GradMode::is_enabled()) return out;
  release_layer(layer);
  return on_gradient(out, [this, layer, experts_shared] { gather_layer(layer, experts_shared); });
}

at::Tensor CausalLM::run_recomputed(const TokenBatch& batch, MoeTrace* trace) {
  const auto kept = std::make_shared<const TokenBatch>(batch);  // the caller's may be gone when the backward pass comes
  at::Tensor h = embed(kept->ids_N, set_.at(embedding_));
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const auto routing = std::make_shared<at::Tensor>();
    const auto noted = trace ? std::make_shared<MoeTrace>() : nullptr;  // by this block; the second pass notes it again, for nobody
    const double balance_weight = trace ? trace->balance_weight : 0.0;
    const auto out = recompute(h, [this, i, kept, routing, noted, balance_weight](const at::Tensor& x) {
      if (noted) *noted = {balance_weight, {}, {}};
      const ForwardContext context{kept->positions_N, &kept->offsets, nullptr, type_, routing.get(), exchange_};
      // Recording is off in the first run; the second is part of the backward pass.
      std::vector<at::Tensor> result = {run_layer(i, x, context, noted.get(), true)};
      if (noted && noted->balance_loss.defined()) result.push_back(std::exchange(noted->balance_loss, at::Tensor()));
      return result;
    });
    h = out[0];
    if (!trace) continue;
    std::move(noted->load.begin(), noted->load.end(), std::back_inserter(trace->load));
    if (out.size() > 1) trace->balance_loss = trace->balance_loss.defined() ? trace->balance_loss + out[1] : out[1];
  }
  return rms_norm(h, set_.at(final_norm_), a_.rms_norm_eps);
}

at::Tensor CausalLM::run(const at::Tensor& ids, const ForwardContext& context, MoeTrace* trace) {
  at::Tensor h = embed(ids, set_.at(embedding_));
  for (size_t i = 0; i < blocks_.size(); ++i) h = run_layer(i, h, context, trace);
  return rms_norm(h, set_.at(final_norm_), a_.rms_norm_eps);
}

at::Tensor CausalLM::hidden(const TokenBatch& batch, MoeTrace* trace) {
  require_use(false);
  anybody_passes(true);  // heard in join_passes()
  return run_pass(batch, trace);
}

at::Tensor CausalLM::run_pass(const TokenBatch& batch, MoeTrace* trace) {
  if (!at::GradMode::is_enabled()) return run(batch.ids_N, {batch.positions_N, &batch.offsets, nullptr, type_}, trace);
  if (recompute_) return run_recomputed(batch, trace);
  return run(batch.ids_N, {batch.positions_N, &batch.offsets, nullptr, type_, nullptr, exchange_}, trace);
}

at::Tensor CausalLM::prefill(const TokenBatch& batch, const std::vector<int64_t>& slots, KvCache& cache) {
  require_use(true);
  const at::NoGradGuard no_grad;
  CacheRows rows{&cache, {}, {}, false};
  for (int64_t b = 0; b < batch.sequences(); ++b)
    for (int64_t t = batch.offsets[static_cast<size_t>(b)]; t < batch.offsets[static_cast<size_t>(b) + 1]; ++t) {
      rows.slots.push_back(slots[static_cast<size_t>(b)]);
      rows.positions.push_back(t - batch.offsets[static_cast<size_t>(b)]);
    }
  return run(batch.ids_N, {batch.positions_N, &batch.offsets, &rows, type_}, nullptr);
}

at::Tensor CausalLM::decode(const std::vector<int32_t>& ids, const std::vector<int64_t>& slots, const std::vector<int64_t>& positions,
                            KvCache& cache) {
  require_use(true);
  const at::NoGradGuard no_grad;
  const int64_t n = static_cast<int64_t>(ids.size());
  at::Tensor ids_N = at::empty({n}, at::kLong), positions_N = at::empty({n}, at::kLong);
  for (int64_t i = 0; i < n; ++i) {
    ids_N.data_ptr<int64_t>()[i] = ids[static_cast<size_t>(i)];
    positions_N.data_ptr<int64_t>()[i] = positions[static_cast<size_t>(i)];
  }
  CacheRows rows{&cache, slots, positions, true};
  return run(ids_N, {positions_N, nullptr, &rows, type_}, nullptr);
}

at::Tensor CausalLM::logits(const at::Tensor& hidden) {
  const Parameter& head = tied_head_.value.defined() ? tied_head_ : set_.at(head_);
  if (head.value.size(0) != a_.vocab_size) throw Fault("logits: this model has a scalar head");
  const at::Tensor logits = linear(hidden, head, nullptr, ComputeType::kFloat32);
  return missing_tokens_.defined() ? logits.index_fill(1, missing_tokens_, -1e30) : logits;
}

void CausalLM::set_missing_tokens(const std::vector<int32_t>& ids) {
  std::vector<int64_t> rows;
  for (const int32_t id : ids)
    if (id < a_.vocab_size) rows.push_back(id);
  missing_tokens_ = rows.empty() ? at::Tensor() : at::tensor(rows, at::kLong);
}

at::Tensor CausalLM::scores(const at::Tensor& hidden) {
  if (set_.at(head_).name != "score.weight") throw Fault("scores: this model has a language-model head");
  return linear(hidden, set_.at(head_), nullptr, ComputeType::kFloat32).squeeze(1);
}

std::vector<at::Tensor> CausalLM::router_biases() const {
  std::vector<at::Tensor> out;
  for (const Block& b : blocks_)
    if (at::Tensor bias = b.feed_forward->router_bias(); bias.defined()) out.push_back(bias);
  return out;
}

void CausalLM::share_experts(ExpertExchange* exchange) {
  exchange_ = a_.n_routed_experts > 0 ? exchange : nullptr;
  if (exchange_ && a_.n_routed_experts % exchange_->size() != 0)
    throw InputError("cluster.expert_parallel_size: expected a divisor of the model's " + std::to_string(a_.n_routed_experts) +
                     " routed experts, found " + std::to_string(exchange_->size()));
}

bool CausalLM::anybody_passes(bool mine) const {
  if (held_ == Held::kLayers) return set_.sharding()->any(mine);  // of all members; those that share experts are among them
  return exchange_ && at::GradMode::is_enabled() && exchange_->any(mine);
}

void CausalLM::join_passes() {
  while (anybody_passes(false)) {
    const at::Tensor none = run_pass(pack({}), nullptr);
    if (at::GradMode::is_enabled()) none.sum().backward();
  }
}

std::vector<std::pair<int64_t, int64_t>> CausalLM::expert_ranges(size_t layer) const {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const size_t index : blocks_[layer].feed_forward->expert_parameters()) {
    const at::Tensor& grad = set_.all()[index].grad;  // a view into grads()
    ranges.emplace_back(grad.storage_offset(), grad.storage_offset() + grad.numel());
  }
  return ranges;
}

std::vector<std::pair<int64_t, int64_t>> CausalLM::shared_ranges() const {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (size_t i = 0; exchange_ && i < blocks_.size(); ++i)
    for (const auto& range : expert_ranges(i)) ranges.push_back(range);
  return ranges;
}

void CausalLM::shard_parameters(ParameterSharding* sharding) {
  if (!sharding) return;
  set_.shard(sharding);
  held_ = Held::kSlice;
}

CausalLM::InUse CausalLM::use_all() {
  if (held_ == Held::kAll) return nullptr;
  if (held_ == Held::kLayers) throw Fault("all parameters were asked for while the model runs layer by layer");
  set_.gather(0, set_.size());
  held_ = Held::kAll;
  return InUse(this);
}

CausalLM::InUse CausalLM::use_layers() {
  if (held_ == Held::kAll) return nullptr;
  if (held_ == Held::kLayers) throw Fault("the model runs layer by layer already");
  set_.gather(0, range_of(0).first);
  set_.gather(range_of(blocks_.size() - 1).second, set_.size());
  held_ = Held::kLayers;
  return InUse(this);
}

void CausalLM::end_use() {
  set_.release(0, set_.size());
  if (held_ == Held::kLayers) set_.clear_gradients();
  held_ = Held::kSlice;
}

void CausalLM::require_use(bool whole) const {
  if (held_ == Held::kSlice || (whole && held_ == Held::kLayers)) throw Fault("a sharded model is run without its parameters");
}

/// A block's parameters are declared one after the other, before those of the next.
std::pair<int64_t, int64_t> CausalLM::range_of(size_t layer) const {
  const size_t next = layer + 1 < blocks_.size() ? blocks_[layer + 1].attention_norm : final_norm_;
  return {set_.all()[blocks_[layer].attention_norm].grad.storage_offset(), set_.all()[next].grad.storage_offset()};
}

void CausalLM::gather_layer(size_t layer, bool experts_shared) {
  auto [next, end] = range_of(layer);
  if (experts_shared)
    for (const auto& [begin, stop] : expert_ranges(layer)) {
      set_.gather(next, begin);
      set_.gather_runs(begin, stop, exchange_->size());
      next = stop;
    }
  set_.gather(next, end);
}

void CausalLM::release_layer(size_t layer) {
  const auto [begin, end] = range_of(layer);
  set_.release(begin, end);
}

void CausalLM::fold_gradients() {
  if (!tied_head_.grad.defined()) return;
  set_.at(embedding_).grad.add_(tied_head_.grad);
  tied_head_.grad.zero_();
}

void CausalLM::zero_gradients() {
  set_.grads().zero_();
  if (tied_head_.grad.defined()) tied_head_.grad.zero_();
}

void CausalLM::copy_from(const CausalLM& other) {
  if (other.set_.size() != set_.size()) throw Fault("copy_from: models of different shapes");
  if (other.sharded() != sharded()) throw Fault("copy_from: one of the models is sharded");
  missing_tokens_ = other.missing_tokens_;
  const auto [begin, end] = sharded() ? set_.sharding()->slice(set_.size()) : std::pair<int64_t, int64_t>(0, set_.size());
  set_.values().narrow(0, begin, end - begin).copy_(other.set_.values().narrow(0, begin, end - begin));
  const auto mine = router_biases(), theirs = other.router_biases();
  for (size_t i = 0; i < mine.size(); ++i) mine[i].copy_(theirs[i]);
}

}  // namespace cohort::model
