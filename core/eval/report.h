#pragma once
/// What answers to many questions say about a model.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/records/records.pb.h"

namespace cohort::eval {

/// What is kept of the answers to one question.
struct QuestionScore {
  std::string source;
  int64_t samples = 0;
  int64_t correct = 0;
  int64_t undecided = 0;
  bool majority_correct = false;
  double format = 0.0;  ///< sums over samples
  double language = 0.0;
  double tokens = 0.0;
};

/// Of a scored group whose samples have votes (evaluation.h: add_votes).
QuestionScore score_of(const records::Group& group);

/// What a report has beside accuracy.
struct ReportParts {
  bool format = true;
  bool language = true;
  bool response_length = true;
};

/// {"questions", "samples_per_question", "pass@1", "pass@2", "pass@4", …, "pass@n", "cons@n" (n > 1), "format", "language",
/// "response_length", "undecided"} and, where there are several, "sources": {NAME: {"questions", "pass@1", …, "cons@n"}}. Each estimate is
/// {"mean", "low", "high"}: the mean over questions with its 95 % confidence interval (pass_at_k.h: bootstrap_mean). Every question has
/// the same number n ≥ 1 of samples, and there is at least one (Fault otherwise). A function of its arguments alone.
nlohmann::ordered_json report(const std::vector<QuestionScore>& scores, uint64_t seed, const ReportParts& parts = {});

/// Accuracy of each source of the verified reasoning questions among `groups`, by name.
std::vector<records::SourceAccuracy> accuracy_by_source(const std::vector<records::Group>& groups);

}  // namespace cohort::eval
