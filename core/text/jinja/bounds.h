#pragma once
/// What a template may cost, and how an operation says that it went wrong.

#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace cohort::text::jinja {

/// Bounds of one template and of one rendering. A template of a real model needs a small part of each.
inline constexpr size_t kMaxTemplateBytes = 1 << 20;
inline constexpr int kMaxNesting = 100;      ///< of blocks and brackets in the template
inline constexpr int kMaxSyntaxDepth = 200;  ///< of the syntax tree: a + b + c … counts too
inline constexpr int kMaxEvaluationDepth = 400;
inline constexpr int kMaxValueDepth = 64;         ///< of lists in lists
inline constexpr uint64_t kMaxSteps = 4'000'000;  ///< one for each operation, item and 8 bytes of text that is made
inline constexpr size_t kMaxTextBytes = 8 << 20;  ///< of one string, the output included

/// Something that the template may not do, without its place.
struct Problem : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace cohort::text::jinja
