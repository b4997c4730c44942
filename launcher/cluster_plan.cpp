#include "launcher/cluster_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "launcher/memory_plan.h"

namespace cohort::launcher {
namespace {

constexpr double kBucket = 256e6;  // bytes of a bucket of gradients or weights under way; two are
constexpr double kGradient = 4.0;  // bytes per parameter
constexpr double kMoments = 8.0;   // both
constexpr double kMaster = 4.0;
constexpr double kLogit = 4.0;

// DeepEP's README, low-latency kernels, 128 tokens: dispatch 77 and combine 114 µs over 8 ranks, 194 and 360 over 256.
constexpr double kExchange8 = 191e-6, kExchange256 = 554e-6;
constexpr double kExchangeTokens = 128.0;

std::string giga(double x) { return fmt::format("{:.3f}e9", x / 1e9); }
std::string gigabytes(double x) { return fmt::format("{:.2f} GB", x / 1e9); }

/// Sizes of a model, split by what expert parallelism divides.
struct Sizes {
  explicit Sizes(const model::Architecture& a) {
    for (int64_t layer = 0; layer < a.num_hidden_layers; ++layer) moe_layers += a.is_moe_layer(layer) ? 1.0 : 0.0;
    expert = 3.0 * static_cast<double>(a.hidden_size * a.moe_intermediate_size);
    experts = moe_layers * static_cast<double>(a.n_routed_experts) * expert;
    dense = static_cast<double>(a.parameters()) - experts;
    embedding = static_cast<double>(a.vocab_size * a.hidden_size);
    multiplied = static_cast<double>(a.activated_parameters()) - (a.tie_word_embeddings ? 0.0 : embedding);
    largest_unit =
        std::max(embedding, (dense - (a.tie_word_embeddings ? 1.0 : 2.0) * embedding) / static_cast<double>(a.num_hidden_layers));
    cache_values = static_cast<double>(kv_cache_bytes(a, 1, 1)) / 4.0;
    const double heads = static_cast<double>(a.num_attention_heads);
    const double widths = a.uses_mla() ? static_cast<double>(2 * a.kv_lora_rank + a.qk_rope_head_dim) : static_cast<double>(2 * a.head_dim);
    attention = 2.0 * heads * widths * static_cast<double>(a.num_hidden_layers);
  }
  double moe_layers = 0.0, expert = 0.0, experts = 0.0, dense = 0.0, embedding = 0.0;
  double multiplied = 0.0;    // parameters that a token is multiplied with
  double largest_unit = 0.0;  // gathered at once with sharded parameters
  double cache_values = 0.0;  // per token, all layers
  double attention = 0.0;     // FLOP per token and position looked at, all layers
};

/// Members of a group of `size` ranks, `stride` apart, that are on one node, and the nodes that it spans.
struct Spread {
  Spread(int64_t size, int64_t stride, int64_t per_node)
      : members(static_cast<double>(std::clamp<int64_t>(per_node / std::max<int64_t>(1, stride), 1, size))),
        nodes(std::ceil(static_cast<double>(size) / members)) {}
  double members, nodes;
  /// Bytes that a rank sends in a reduce-scatter or all-gather of `bytes`: within the node first, then each member its part across.
  double nvlink(double bytes) const { return bytes * (members - 1.0) / members; }
  double network(double bytes) const { return bytes / members * (nodes - 1.0) / nodes; }
};

class Planner {
 public:
  Planner(const StageWork& work, const Layout& layout, const Device& device, const Efficiency& efficiency, bool explain)
      : w_(work), l_(layout), d_(device), e_(efficiency), explain_(explain), z_(work.shape) {
    const bool has_experts = w_.shape.n_routed_experts > 0;
    ep_ = has_experts ? static_cast<double>(l_.expert_parallel) : 1.0;
    rollout_ep_ = has_experts ? static_cast<double>(l_.split() ? l_.rollout_expert_parallel : l_.expert_parallel) : 1.0;
    trainers_ = static_cast<double>(l_.trainers());
    dp_ = trainers_ / ep_;
    width_ = static_cast<double>(w_.precision.weights);
    sequence_ = static_cast<double>(w_.prompt_longest + w_.response_longest);
    mean_ = w_.prompt_mean + w_.response_mean;
    // Σ over positions of the positions before: E[L²] / 2 per sequence, over E[L] tokens.
    context_ = w_.prompt_mean / 2.0 + w_.response_mean / 2.0 * w_.square_ratio;
    const double streams = trainers_ / static_cast<double>(l_.context_parallel);
    const double per_step = static_cast<double>(w_.sequences) / static_cast<double>(w_.optimizer_steps);
    micro_batch_ = std::min(static_cast<double>(w_.micro_batch), std::max(1.0, std::ceil(per_step / streams)));
    micro_batches_ = std::max(1.0, std::ceil(per_step / streams / micro_batch_));
    trained_tokens_ = static_cast<double>(w_.sequences) * mean_;
    logprob_passes_ = (w_.old_logprobs ? 1.0 : 0.0) + (w_.reference ? 1.0 : 0.0);
  }

  StageCost plan() {
    plan_memory();
    plan_operations();
    plan_traffic();
    plan_times();
    return std::move(cost_);
  }

 private:
  template <class Text>
  void add(std::vector<Figure>& figures, const char* name, double value, const Text& text) const {
    if (value > 0.0) figures.push_back({name, value, explain_ ? text() : std::string()});
  }
  template <class Text>
  void send(const char* name, const char* role, double nvlink, double network, const Text& text) {
    if (nvlink + network > 0.0) cost_.traffic.push_back({name, role, nvlink, network, explain_ ? text() : std::string()});
  }

  // ---- Memory ----------------------------------------------------------------------------------------------------------------------

  void add_weights(std::vector<Figure>& parts, const std::string& prefix, const Sizes& z, double ep, bool sharded) const {
    const double slices = sharded ? trainers_ : 1.0;
    add(parts, (prefix + "weights_dense").c_str(), z.dense * width_ / slices,
        [&] { return fmt::format("{} x {} B{}", giga(z.dense), width_, sharded ? fmt::format(" / {} ranks", trainers_) : ""); });
    add(parts, (prefix + "weights_experts").c_str(), z.experts * width_ / ep,
        [&] { return fmt::format("{} x {} B / {} (experts)", giga(z.experts), width_, ep); });
  }

  void add_gradients(std::vector<Figure>& parts) const {
    const double slices = l_.sharded_parameters ? trainers_ : 1.0;
    add(parts, "gradients_dense", z_.dense * kGradient / slices,
        [&] { return fmt::format("{} x 4 B{}", giga(z_.dense), l_.sharded_parameters ? fmt::format(" / {} ranks", trainers_) : ""); });
    add(parts, "gradients_experts", z_.experts * kGradient / ep_,
        [&] { return fmt::format("{} x 4 B / {} (experts)", giga(z_.experts), ep_); });
  }

  void add_optimizer(std::vector<Figure>& parts) const {
    const double dense = l_.zero1 ? z_.dense / trainers_ : z_.dense;
    const double experts = l_.zero1 ? z_.experts / ep_ / dp_ : z_.experts / ep_;
    const auto text = [&](double bytes) {
      return l_.zero1 ? fmt::format("({} / {} ranks + {} / {} / {} (experts, data parallel)) x {} B", giga(z_.dense), trainers_,
                                    giga(z_.experts), ep_, dp_, bytes)
                      : fmt::format("({} + {} / {} (experts)) x {} B", giga(z_.dense), giga(z_.experts), ep_, bytes);
    };
    if (w_.precision.masters()) add(parts, "masters", (dense + experts) * kMaster, [&] { return text(kMaster); });
    add(parts, "moments", (dense + experts) * kMoments, [&] { return text(kMoments); });
  }

  void add_frozen(std::vector<Figure>& parts) const {
    if (w_.reference) add_weights(parts, "reference_", z_, ep_, l_.sharded_parameters);
    if (w_.sampled_policy) add_weights(parts, "sampled_policy_", z_, ep_, l_.sharded_parameters);
    if (w_.reward_model) {
      const Sizes reward(*w_.reward_model);
      add_weights(parts, "reward_model_", reward, w_.reward_model->n_routed_experts > 0 ? ep_ : 1.0, l_.sharded_parameters);
    }
  }

  double local_tokens() const { return std::ceil(micro_batch_ * sequence_ / static_cast<double>(l_.context_parallel)); }

  void add_activations(std::vector<Figure>& parts, bool backward) const {
    const auto tokens = static_cast<int64_t>(local_tokens());
    const double scale = width_ / 4.0;
    const std::string shared = explain_ && l_.context_parallel > 1 ? fmt::format(" / {} (context)", l_.context_parallel) : "";
    const auto per_token = [&](double bytes) { return bytes / static_cast<double>(tokens) * scale; };
    const std::string size = explain_ ? fmt::format("{} x {} tokens{}", micro_batch_, sequence_, shared) : "";
    if (backward) {
      const auto bytes =
          static_cast<double>(l_.recompute ? recomputed_activation_bytes(w_.shape, tokens, 0) : activation_bytes(w_.shape, tokens, 0));
      add(parts, "activations", bytes * scale, [&] {
        return fmt::format("{} x {:.0f} B per token ({})", size, per_token(bytes),
                           l_.recompute ? "each layer's input, and one layer whole" : "all layers");
      });
      const auto work = static_cast<double>(backward_bytes(w_.shape, tokens, 0));
      add(parts, "backward_pass", work * scale, [&] { return fmt::format("{} x {:.0f} B", size, per_token(work)); });
    } else {
      model::Architecture one = w_.shape;  // nothing is kept: one layer at a time, the last, which may have experts
      one.first_k_dense_replace = one.first_k_dense_replace == w_.shape.num_hidden_layers ? 1 : 0;
      one.num_hidden_layers = 1;
      const auto bytes = static_cast<double>(activation_bytes(one, tokens, 0));
      add(parts, "activations", bytes * scale, [&] { return fmt::format("{} x {:.0f} B per token (one layer)", size, per_token(bytes)); });
    }
    const double trained = std::min(static_cast<double>(tokens),
                                    micro_batch_ * static_cast<double>(w_.response_longest) / static_cast<double>(l_.context_parallel));
    const double kept = backward ? 3.0 : 2.0;
    add(parts, "logits", trained * kept * static_cast<double>(w_.shape.vocab_size) * kLogit, [&] {
      return fmt::format("{:.0f} tokens x {} x {} B ({})", trained, w_.shape.vocab_size, kept * kLogit,
                         backward ? "logits, probabilities, their gradient" : "logits, probabilities");
    });
  }

  void add_staging(std::vector<Figure>& parts, bool update) const {
    if (update && trainers_ > 1.0) add(parts, "gradient_buckets", 2.0 * kBucket, [] { return std::string("2 x 256 MB"); });
    if (l_.sharded_parameters)
      add(parts, "gathered_layers", 2.0 * z_.largest_unit * width_,
          [&] { return fmt::format("2 x {} x {} B (the largest unit, and the next)", giga(z_.largest_unit), width_); });
    if (ep_ > 1.0) {
      const double k = static_cast<double>(w_.shape.num_experts_per_tok), hidden = static_cast<double>(w_.shape.hidden_size);
      add(parts, "dispatch_buffers", local_tokens() * k * hidden * width_,
          [&] { return fmt::format("{:.0f} tokens x {} experts x {} x {} B sent", local_tokens(), k, hidden, width_); });
    }
    if (l_.context_parallel > 1) {
      const double values = z_.cache_values / static_cast<double>(w_.shape.num_hidden_layers);
      add(parts, "gathered_context", micro_batch_ * sequence_ * values * width_, [&] {
        return fmt::format("{} x {} tokens x {} x {} B (keys and values of one layer)", micro_batch_, sequence_, values, width_);
      });
    }
  }

  void plan_memory() {
    const char* trainer = l_.split() ? "trainer" : "rank";
    if (w_.trains()) {
      std::vector<Figure> parts;
      add_weights(parts, "", z_, ep_, l_.sharded_parameters);
      add_gradients(parts);
      add_optimizer(parts);
      if (!l_.offload) add_frozen(parts);
      add_activations(parts, true);
      add_staging(parts, true);
      cost_.memory.push_back({trainer, "update", parts});
    }
    if (w_.trains() && (logprob_passes_ > 0.0 || w_.reward_model)) {
      std::vector<Figure> parts;
      add_weights(parts, "", z_, ep_, l_.sharded_parameters);
      if (!l_.offload) add_gradients(parts), add_optimizer(parts);
      add_frozen(parts);
      add_activations(parts, false);
      add_staging(parts, false);
      cost_.memory.push_back({trainer, "logprob", parts});
    }
    if (w_.samples()) plan_rollout_memory();
    if (!l_.offload) return;
    double host = 0.0;
    std::vector<Figure> away;
    if (w_.trains()) add_gradients(away), add_optimizer(away), add_frozen(away);
    for (const Figure& f : away) host += f.value;
    cost_.host_bytes = host * static_cast<double>(std::min(d_.ranks_per_node, l_.ranks));
  }

  void plan_rollout_memory() {
    std::vector<Figure> parts;
    add_weights(parts, "", z_, rollout_ep_, false);
    if (!l_.split() && !l_.offload && w_.trains()) add_gradients(parts), add_optimizer(parts), add_frozen(parts);
    if (l_.split()) add(parts, "transfer_buckets", 2.0 * kBucket, [] { return std::string("2 x 256 MB"); });
    const double all = std::ceil(static_cast<double>(w_.questions * w_.answers) / static_cast<double>(l_.samplers()));
    const double per_answer = sequence_ * z_.cache_values * width_;
    double free = d_.memory * e_.usable_memory;
    for (const Figure& f : parts) free -= f.value;
    const double wanted = std::min(all, static_cast<double>(w_.max_num_seqs));
    const double places = std::clamp(std::floor(free / per_answer), 1.0, wanted);
    cost_.decode.places = static_cast<int64_t>(places);
    add(parts, "kv_cache", places * per_answer, [&] {
      return fmt::format("{} of its {} answers at a time x {} tokens x {} x {} B", places, all, sequence_, z_.cache_values, width_);
    });
    cost_.memory.push_back({l_.split() ? "rollout" : "rank", "rollout", parts});
  }

  // ---- Operations ------------------------------------------------------------------------------------------------------------------

  double forward_per_token() const { return 2.0 * z_.multiplied + z_.attention * context_; }

  void plan_operations() {
    const auto per_token = [&] {
      return fmt::format("(2 x {} parameters + {:.0f} x {:.0f} positions on average)", giga(z_.multiplied), z_.attention, context_);
    };
    if (w_.samples()) {
      const double prompt = static_cast<double>(w_.questions) * w_.prompt_mean;
      const double prefill = 2.0 * z_.multiplied + z_.attention * w_.prompt_mean / 2.0;
      const double sampled = static_cast<double>(w_.questions * w_.answers) * w_.response_mean;
      add(cost_.operations, "prefill", prompt * prefill,
          [&] { return fmt::format("{} questions x {:.0f} tokens x {:.3e}", w_.questions, w_.prompt_mean, prefill); });
      add(cost_.operations, "decode", sampled * forward_per_token(),
          [&] { return fmt::format("{} x {} answers x {:.0f} tokens x {}", w_.questions, w_.answers, w_.response_mean, per_token()); });
    }
    if (!w_.trains()) return;
    add(cost_.operations, "logprob", logprob_passes_ * trained_tokens_ * forward_per_token(),
        [&] { return fmt::format("{} pass(es) x {} sequences x {:.0f} tokens x {}", logprob_passes_, w_.sequences, mean_, per_token()); });
    if (w_.reward_model) {
      const Sizes reward(*w_.reward_model);
      add(cost_.operations, "reward_model", trained_tokens_ * (2.0 * reward.multiplied + reward.attention * context_),
          [&] { return fmt::format("{} sequences x {:.0f} tokens", w_.sequences, mean_); });
    }
    const double times = (l_.recompute ? 4.0 : 3.0) * static_cast<double>(w_.passes);
    add(cost_.operations, "update", times * trained_tokens_ * forward_per_token(), [&] {
      return fmt::format("{} (forward, backward twice{}) x {} sequences x {:.0f} tokens x {}", times, l_.recompute ? ", again forward" : "",
                         w_.sequences, mean_, per_token());
    });
  }

  double operations(const char* name) const {
    for (const Figure& f : cost_.operations)
      if (f.name == name) return f.value;
    return 0.0;
  }

  // ---- Traffic ---------------------------------------------------------------------------------------------------------------------

  void plan_traffic() {
    if (w_.trains()) {
      plan_gradient_traffic();
      plan_expert_traffic();
      plan_context_traffic();
    }
    if (w_.samples() && w_.trains()) plan_weight_transfer();
  }

  void plan_gradient_traffic() {
    const Spread all(l_.trainers(), 1, d_.ranks_per_node);
    const Spread copies(static_cast<int64_t>(dp_), static_cast<int64_t>(ep_), d_.ranks_per_node);
    const double steps = static_cast<double>(w_.optimizer_steps * w_.passes);
    const double reductions = l_.sharded_parameters ? steps * micro_batches_ : steps;
    const double dense = reductions * z_.dense * kGradient, experts = steps * z_.experts / ep_ * kGradient;
    const auto reduced = [&] {
      return fmt::format("{} x {} x 4 B over {} ranks; {} x {} / {} x 4 B over {} copies of the experts", reductions, giga(z_.dense),
                         trainers_, steps, giga(z_.experts), ep_, dp_);
    };
    send("gradient_reduce_scatter", "trainer", all.nvlink(dense) + copies.nvlink(experts), all.network(dense) + copies.network(experts),
         reduced);
    if (!l_.zero1)
      send("gradient_all_gather", "trainer", all.nvlink(dense) + copies.nvlink(experts), all.network(dense) + copies.network(experts),
           [] { return std::string("the other half of an all-reduce, because every rank updates everything"); });
    // With sharded parameters the layers are gathered in each forward and each backward pass instead of once after the update.
    const double passes = l_.sharded_parameters ? micro_batches_ * (2.0 * steps + logprob_passes_ * static_cast<double>(w_.optimizer_steps))
                          : l_.zero1            ? steps
                                                : 0.0;
    const double gathered = passes * z_.dense * width_, gathered_experts = l_.zero1 ? steps * z_.experts / ep_ * width_ : 0.0;
    send("parameter_all_gather", "trainer", all.nvlink(gathered) + copies.nvlink(gathered_experts),
         all.network(gathered) + copies.network(gathered_experts), [&] {
           return fmt::format("{} x {} x {} B over {} ranks; {} x {} / {} x {} B over {} copies of the experts", passes, giga(z_.dense),
                              width_, trainers_, l_.zero1 ? steps : 0.0, giga(z_.experts), ep_, width_, dp_);
         });
  }

  void plan_expert_traffic() {
    if (ep_ <= 1.0) return;
    const Spread group(static_cast<int64_t>(ep_), 1, d_.ranks_per_node);
    const double k = static_cast<double>(w_.shape.num_experts_per_tok);
    // A token crosses to each of its nodes once; the groups of the router bound how many those are.
    const double groups = static_cast<double>(w_.shape.n_group), chosen = static_cast<double>(w_.shape.topk_group);
    const double reached = std::min({k, group.nodes, groups > 1.0 ? chosen * std::max(1.0, group.nodes / groups) : group.nodes});
    const double across = reached * (group.nodes - 1.0) / group.nodes, inside = k * (group.members - 1.0) / group.members;
    const double passes = static_cast<double>(w_.passes) * (l_.recompute ? 3.0 : 2.0) + logprob_passes_ + (w_.reward_model ? 1.0 : 0.0);
    const double token = static_cast<double>(w_.shape.hidden_size) * width_;
    const double all = passes * trained_tokens_ / trainers_ * z_.moe_layers * token;
    const auto text = [&] {
      return fmt::format("{} passes x {:.0f} tokens per rank x {} layers x {:.0f} B, {:.2f} copies across {} nodes and {:.2f} within",
                         passes, trained_tokens_ / trainers_, z_.moe_layers, token, across, group.nodes, inside);
    };
    send("expert_dispatch", "trainer", all * inside, all * across, text);
    send("expert_combine", "trainer", all * inside, all * across, text);
  }

  void plan_context_traffic() {
    if (l_.context_parallel <= 1) return;
    const Spread group(l_.context_parallel, 1, d_.ranks_per_node);
    const double passes = static_cast<double>(w_.passes) * (l_.recompute ? 3.0 : 2.0) + logprob_passes_;
    const double all = passes * trained_tokens_ / trainers_ * static_cast<double>(l_.context_parallel) * z_.cache_values * width_;
    send("context_all_gather", "trainer", group.nvlink(all), group.network(all), [&] {
      return fmt::format("{} passes x {:.0f} tokens of a group x {} x {} B of keys and values", passes,
                         trained_tokens_ / trainers_ * static_cast<double>(l_.context_parallel), z_.cache_values, width_);
    });
  }

  void plan_weight_transfer() {
    const double dense = z_.dense * width_, experts = z_.experts / rollout_ep_ * width_;
    if (!l_.split() && !l_.sharded_parameters) return;  // the rollout uses the trainer's weights
    const Spread receivers(l_.split() ? l_.rollout_ranks : l_.trainers(), 1, d_.ranks_per_node);
    // Across once per node, then on from neighbour to neighbour.
    const double network = dense / receivers.members + (l_.split() ? experts : 0.0);
    send("weight_transfer", "rollout", receivers.nvlink(dense), network, [&] {
      return fmt::format("{} x {} B, across once per node{}", giga(z_.dense), width_,
                         l_.split() ? fmt::format(" + {} / {} x {} B of experts", giga(z_.experts), rollout_ep_, width_) : "");
    });
  }

  // ---- Time ------------------------------------------------------------------------------------------------------------------------

  /// Dispatch and combine of one layer, for `tokens` tokens per rank.
  double exchange_seconds(double tokens) const {
    if (rollout_ep_ <= 1.0) return 0.0;
    const double at = std::clamp((std::log2(rollout_ep_) - 3.0) / 5.0, 0.0, 1.0);
    return (kExchange8 + at * (kExchange256 - kExchange8)) * std::max(1.0, tokens / kExchangeTokens);
  }

  double plan_decode(double places) {
    const double hit =
        w_.shape.n_routed_experts == 0
            ? 0.0
            : 1.0 - std::pow(1.0 - static_cast<double>(w_.shape.num_experts_per_tok) / static_cast<double>(w_.shape.n_routed_experts),
                             places * rollout_ep_);
    const double bandwidth = d_.memory_bandwidth * e_.decode_bandwidth;
    const double weights = ((z_.dense - z_.embedding) + hit * z_.experts / rollout_ep_) * width_;
    const double cached = (w_.prompt_mean + context_) * z_.cache_values * width_;
    const double computed = forward_per_token() / (d_.peak_flops * e_.mfu);
    const double exchange = z_.moe_layers * exchange_seconds(places);
    cost_.decode.base = weights / bandwidth + exchange;
    cost_.decode.per_answer = std::max(cached / bandwidth, computed);
    const double step = cost_.decode.base + places * cost_.decode.per_answer;
    add(cost_.times, "decode_step", step, [&] {
      return fmt::format(
          "{} of weights ({:.0f} % of the experts) / {:.2e} B/s + {} answers x max({} of cache / {:.2e} B/s, {:.2e} FLOP / {:.2e}) + "
          "{} layers x {:.0f} us of exchange",
          gigabytes(weights), 100.0 * hit, bandwidth, places, gigabytes(cached), bandwidth, forward_per_token(), d_.peak_flops * e_.mfu,
          z_.moe_layers, 1e6 * exchange_seconds(places));
    });
    return step;
  }

  double plan_rollout_time() {
    const double samplers = static_cast<double>(l_.samplers());
    const double answers = static_cast<double>(w_.questions * w_.answers) / samplers;
    const double places = static_cast<double>(cost_.decode.places);
    const double step = plan_decode(places);
    const double alone = cost_.decode.base + cost_.decode.per_answer;
    const double body = answers * w_.response_mean / places * step;
    // The last answers end alone: from the mean to the longest, with few beside them.
    const double tail = std::max(0.0, static_cast<double>(w_.response_longest) - w_.response_mean) * alone;
    const double prefill = operations("prefill") / (samplers * d_.peak_flops * e_.mfu);
    const double total = body + tail + prefill;
    add(cost_.times, "rollout", total, [&] {
      return fmt::format(
          "{:.1f} answers per rank x {:.0f} tokens / {} at a time x {:.4f} s + tail {:.0f} tokens x {:.4f} s + prefill {:.1f} s", answers,
          w_.response_mean, places, step, static_cast<double>(w_.response_longest) - w_.response_mean, alone, prefill);
    });
    return total;
  }

  void plan_times() {
    const double rollout = w_.samples() ? plan_rollout_time() : 0.0;
    const double rate = trainers_ * d_.peak_flops * e_.mfu;
    const auto compute = [&](const char* name, double work) {
      add(cost_.times, name, work / rate,
          [&] { return fmt::format("{:.3e} FLOP / ({} ranks x {:.2e} x {})", work, trainers_, d_.peak_flops, e_.mfu); });
      return work / rate;
    };
    double train = 0.0;
    if (w_.trains()) {
      train += compute("logprob", operations("logprob") + operations("reward_model"));
      train += compute("update", operations("update"));
    }
    double traffic = 0.0, transfer = 0.0;
    for (const Transfer& t : cost_.traffic) (t.name == "weight_transfer" ? transfer : traffic) += t.seconds(d_);
    add(cost_.times, "training_traffic", traffic, [&] {
      return fmt::format("sent at {:.0f} GB/s within a node, {:.0f} GB/s across, nothing hidden", d_.nvlink / 1e9, d_.network / 1e9);
    });
    add(cost_.times, "weight_transfer", transfer, [] { return std::string("as sent above"); });
    const double moved =
        l_.offload ? 2.0 * cost_.host_bytes / static_cast<double>(std::min(d_.ranks_per_node, l_.ranks)) / d_.host_link : 0.0;
    add(cost_.times, "host_memory", moved, [&] { return fmt::format("there and back at {:.0f} GB/s", d_.host_link / 1e9); });
    cost_.train_seconds = train + traffic + moved;
    const bool ahead = l_.split() && l_.max_staleness > 0;
    const double step = ahead ? std::max(rollout, cost_.train_seconds) + transfer : rollout + cost_.train_seconds + transfer;
    add(cost_.times, "step", step,
        [&] { return ahead ? std::string("the longer of rollout and training, and the weight transfer") : std::string("their sum"); });
  }

  const StageWork& w_;
  const Layout& l_;
  const Device& d_;
  const Efficiency& e_;
  bool explain_;
  Sizes z_;
  double ep_, rollout_ep_, trainers_, dp_, width_, sequence_, mean_, context_, micro_batch_, micro_batches_, trained_tokens_,
      logprob_passes_;
  StageCost cost_;
};

}  // namespace

double PhaseMemory::total() const {
  double sum = 0.0;
  for (const Figure& part : parts) sum += part.value;
  return sum;
}

double StageCost::peak() const {
  double largest = 0.0;
  for (const PhaseMemory& phase : memory) largest = std::max(largest, phase.total());
  return largest;
}

StageCost plan_stage(const StageWork& work, const Layout& layout, const Device& device, const Efficiency& efficiency, bool explain) {
  return Planner(work, layout, device, efficiency, explain).plan();
}

std::string layout_problem(const model::Architecture& shape, const Layout& l) {
  const auto problem = [](const char* flag, const std::string& expected, int64_t found) {
    return fmt::format("{}: expected {}, found {}", flag, expected, found);
  };
  if (l.rollout_ranks < 0 || l.rollout_ranks >= l.ranks)
    return problem("--rollout-ranks", fmt::format("fewer than the {} ranks", l.ranks), l.rollout_ranks);
  const int64_t experts = std::max<int64_t>(1, shape.n_routed_experts);
  if (l.trainers() % l.expert_parallel != 0 || experts % l.expert_parallel != 0)
    return problem("--expert-parallel", fmt::format("a divisor of {} trainer ranks and of {} experts", l.trainers(), experts),
                   l.expert_parallel);
  if (l.split() && (l.rollout_ranks % l.rollout_expert_parallel != 0 || experts % l.rollout_expert_parallel != 0))
    return problem("--rollout-expert-parallel", fmt::format("a divisor of {} rollout ranks and of {} experts", l.rollout_ranks, experts),
                   l.rollout_expert_parallel);
  if (l.trainers() % l.context_parallel != 0)
    return problem("--context-parallel", fmt::format("a divisor of {} trainer ranks", l.trainers()), l.context_parallel);
  if (l.sharded_parameters && !l.zero1) return "--parameter-sharding: expected full only with --optimizer-sharding zero1, found full";
  return {};
}

}  // namespace cohort::launcher
