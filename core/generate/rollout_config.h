#pragma once
/// How answers are sampled.

#include <fmt/format.h>

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
  }
};

}  // namespace cohort::generate
