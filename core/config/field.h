#pragma once
/// What a config struct's visit() needs to describe its fields. No YAML here.
///
/// A config struct has members with defaults (the only place where defaults live) and one template:
///
///   template <class Visitor>
///   void visit(Visitor& v) {
///     v.number("temperature", temperature, config::at_least(0.0), "softmax temperature; 0 is greedy");   // double
///     v.integer("n", n, config::at_least(1), "answers per question");                                    // int64_t
///     v.flag("shuffle", shuffle, "…");                                                                   // bool
///     v.text("path", path, "…");                                                                         // std::string
///     v.choice("mode", mode, {"a", "b"}, "…");                                                           // std::string, one of
///     v.numbers("betas", betas, config::between(0.0, 1.0), "…");                                         // std::vector<double>
///     v.integers("lengths", lengths, config::positive(), "…");                                           // std::vector<int64_t>
///     v.texts("tasks", tasks, "…");             // std::vector<std::string>; a scalar is a list of one
///     v.section("optim", optim, "…");           // a struct with visit()
///     v.list("stages", stages, "…");            // std::vector of structs with visit()
///     v.variant("type", body, "…");             // std::variant of structs with visit() and static constexpr const char* kType:
///                                               // the mapping's key `type` selects, the alternative's fields are keys beside it
///     v.rule(n > 1 || !use_kl, "n", "at least 2 with the KL term", std::to_string(n));   // condition, key, expected, found
///   }
///
/// The same visit() reads (yaml_reader.h), writes and documents (yaml_writer.h). A rule's key is relative to the struct and may be a
/// path ("stages.zero.from"). Rules are checked also for structs that the file leaves out.

#include <string>

namespace cohort::config {

/// The numbers a field accepts; the bounds are integers or doubles alike.
struct Range {
  double low = 0.0;
  double high = 0.0;
  bool has_low = false;
  bool has_high = false;
  bool low_open = false;   ///< low itself is outside
  bool high_open = false;  ///< high itself is outside

  bool contains(double value) const {
    if (has_low && (low_open ? !(value > low) : !(value >= low))) return false;
    if (has_high && (high_open ? !(value < high) : !(value <= high))) return false;
    return true;
  }
  /// "at least 1", "above 0 and below 1"; "" when everything is accepted.
  std::string text() const;
};

inline Range any() { return {}; }
inline Range at_least(double low) { return {.low = low, .has_low = true}; }
inline Range at_most(double high) { return {.high = high, .has_high = true}; }
inline Range greater_than(double low) { return {.low = low, .has_low = true, .low_open = true}; }
inline Range less_than(double high) { return {.high = high, .has_high = true, .high_open = true}; }
inline Range positive() { return greater_than(0.0); }
inline Range non_negative() { return at_least(0.0); }
/// Both ends included.
/// Counts that become sizes of arrays or of loops: bounded, so that products of a few of them stay far from overflow.
inline constexpr double kMaxBatch = 1 << 24;
inline constexpr double kMaxSteps = 1LL << 31;
inline Range between(double low, double high) { return {.low = low, .high = high, .has_low = true, .has_high = true}; }
/// low < x < high.
inline Range strictly_between(double low, double high) {
  return {.low = low, .high = high, .has_low = true, .has_high = true, .low_open = true, .high_open = true};
}
/// low ≤ x < high.
inline Range half_open(double low, double high) { return {.low = low, .high = high, .has_low = true, .has_high = true, .high_open = true}; }
/// low < x ≤ high.
inline Range above_up_to(double low, double high) {
  return {.low = low, .high = high, .has_low = true, .has_high = true, .low_open = true};
}

}  // namespace cohort::config
