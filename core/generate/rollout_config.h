#pragma once
/// How answers are sampled.

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "core/config/field.h"

namespace cohort::generate {

struct RolloutConfig {
  int64_t n = 8;
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_k = 0;
  int64_t max_response_length = 96;
  int64_t max_num_seqs = 512;
  double kv_cache_gb = 4.0;

  template <class Visitor>
  void visit(Visitor& v) {
    v.integer("n", n, config::between(1, 1 << 16), "answers per question (the group size G)");
    v.number("temperature", temperature, config::at_least(0.0), "softmax temperature; 0 is greedy");
    // Below, logits over temperature leave fp32.
    v.rule(temperature == 0.0 || temperature >= 1e-3, "temperature", "0 or at least 0.001", fmt::format("{}", temperature));
    v.number("top_p", top_p, config::between(0.0, 1.0),
             "nucleus; 1 is off. In RL it makes the sampling policy differ from the trained one");
    v.rule(top_p > 0.0, "top_p", "above 0", "0");
    v.integer("top_k", top_k, config::at_least(0), "sample among the k likeliest tokens; 0 is off");
    v.integer("max_response_length", max_response_length, config::between(1, config::kMaxBatch),
              "tokens; longer answers are cut (finish reason: length)");
    v.integer("max_num_seqs", max_num_seqs, config::between(1, config::kMaxBatch), "sequences decoded together on one rank");
    v.rule(n <= max_num_seqs, "max_num_seqs", "at least n, " + std::to_string(n), std::to_string(max_num_seqs));
    v.number("kv_cache_gb", kv_cache_gb, config::between(0.0, 1 << 20),
             "GiB of keys and values on one rank: where prompt and longest answer need more, fewer sequences than max_num_seqs are decoded "
             "together, but always the n of one question");
  }

  /// Sequences decoded together of `asked` ones that need `bytes_each` in the cache: whole groups, at least one, within max_num_seqs and
  /// kv_cache_gb. No sample depends on it.
  int64_t sequences_together(int64_t asked, int64_t bytes_each) const {
    const double room = kv_cache_gb * (1 << 30) / static_cast<double>(std::max<int64_t>(bytes_each, 1));
    const int64_t most = std::min({asked, max_num_seqs, static_cast<int64_t>(std::min(room, 1e9))});
    return std::max(n, most / n * n);
  }
};

/// How an RL stage samples: answers may be interrupted (core/pipeline/partial_batch.h has the rules).
struct RlRolloutConfig : RolloutConfig {
  int64_t partial_rollout_tokens = 0;
  double oversample = 1.0;

  template <class Visitor>
  void visit(Visitor& v) {
    RolloutConfig::visit(v);
    v.integer("partial_rollout_tokens", partial_rollout_tokens, config::between(0, config::kMaxBatch),
              "above 0, an answer decodes at most so many tokens in one round; a step ends with the first round after which "
              "train_batch_size groups are done, and the others are carried: they go on in the next step, with its weights, each token "
              "labelled with the version that sampled it and trained with the log-probability recorded then. Needs cluster.max_staleness "
              "of at least 1 and oversample above 1. 0: off. Changes the result");
    v.number(
        "oversample", oversample, config::between(1.0, 2.0),
        "groups under way in a round, as a multiple of train_batch_size B: F = max(B + 1, round(oversample * B)), so that a step waits "
        "for the B-th of F groups to be done and not for the last of B, and carries at most F - B. Only with partial_rollout_tokens");
    v.rule(partial_rollout_tokens <= max_response_length, "partial_rollout_tokens",
           "at most max_response_length " + std::to_string(max_response_length), std::to_string(partial_rollout_tokens));
    v.rule(partial_rollout_tokens == 0 || oversample > 1.0, "oversample",
           "above 1 with partial_rollout_tokens: otherwise nothing is carried", fmt::format("{}", oversample));
    v.rule(partial_rollout_tokens > 0 || oversample == 1.0, "oversample", "1 without partial_rollout_tokens",
           fmt::format("{}", oversample));
  }
};

}  // namespace cohort::generate
