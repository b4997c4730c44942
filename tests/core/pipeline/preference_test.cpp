#include "core/pipeline/preference.h"

#include <catch2/catch.hpp>

#include "core/text/template.h"

namespace cohort::pipeline {
namespace {

records::Group group_of(records::Category category) {
  records::Group g;
  g.mutable_question()->set_category(category);
  for (int32_t id : {1, 2, 3}) g.add_prompt_ids(id);
  return g;
}

records::Sample sample_of(const std::vector<int32_t>& ids) {
  records::Sample s;
  for (int32_t id : ids) s.add_response_ids(id);
  return s;
}

}  // namespace

TEST_CASE("the reward model reads what follows the reasoning, as it was sampled", "[pipeline]") {
  const text::ByteTokenizer tokenizer;
  const int32_t close = *tokenizer.special_id(text::kThinkClose), end = tokenizer.end_id(), user = *tokenizer.special_id(text::kUser);
  const auto input = [&](records::Category category, const std::vector<int32_t>& response) {
    return preference_input(group_of(category), sample_of(response), tokenizer);
  };
  using Ids = std::vector<int32_t>;
  CHECK(input(records::HELPFUL, {9, 9, close, 7, 8, end}) == Ids{1, 2, 3, 7, 8, end});
  CHECK(input(records::HELPFUL, {9, close, 6, close, 7, end}) == Ids{1, 2, 3, 7, end});  // the last one counts
  CHECK(input(records::HELPFUL, {9, close, user, user}) == Ids{1, 2, 3, user, user});    // special tokens stay one token each
  CHECK(input(records::HELPFUL, {9, 9, 9}) == Ids{1, 2, 3, 9, 9, 9});                    // no reasoning: all of it
  CHECK(input(records::SAFETY, {9, 9, close, 7, 8, end}) == Ids{1, 2, 3, 9, 9, close, 7, 8, end});
}

}  // namespace cohort::pipeline
