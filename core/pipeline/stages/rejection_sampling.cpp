// Samples a finished policy and keeps, per question, the first answers that are right, well formed and in one language.
#include <fmt/format.h>

#include "core/base/error.h"
#include "core/base/log.h"
#include "core/base/progress.h"
#include "core/base/signals.h"
#include "core/eval/evaluation.h"
#include "core/pipeline/rollout.h"
#include "core/pipeline/stages/stages.h"
#include "core/pipeline/wire.h"
#include "core/text/utf8.h"

namespace cohort::pipeline {
namespace {

constexpr int64_t kChunk = 128;  // questions sampled between two looks at the clock and the stop flag

/// Bytes that are no text are not readable, and could not be stored as text either.
bool is_text(const text::Parsed& parsed) {
  return text::replace_invalid(parsed.think) == parsed.think && text::replace_invalid(parsed.answer) == parsed.answer;
}

bool keep(const records::Sample& s, double min_language) {
  const auto* format = reward::find_component(s, "format");
  const auto* language = reward::find_component(s, "language");
  return s.outcome() == records::CORRECT && format && format->value() == 1.0 && (!language || language->value() >= min_language);
}

std::vector<records::Trace> kept_traces(const StageContext& c, const RejectionSamplingStage& stage,
                                        const std::vector<records::Group>& groups) {
  const text::PromptTemplate prompt_template = text::make_prompt_template(stage.prompt, c.tokenizer);
  std::vector<records::Trace> traces;
  for (const records::Group& g : groups) {
    int64_t kept = 0;
    for (const records::Sample& s : g.samples()) {
      if (kept >= stage.max_per_question || !keep(s, stage.min_language)) continue;
      const std::vector<int32_t> response(s.response_ids().begin(), s.response_ids().end());
      const text::Parsed parsed = text::parse_completion(prompt_template, c.tokenizer, response);
      if (!is_text(parsed)) continue;
      records::Trace t;
      *t.mutable_question() = g.question();
      t.set_think(parsed.think), t.set_answer(parsed.answer);
      t.add_scores(s.total_reward());
      traces.push_back(std::move(t));
      ++kept;
    }
  }
  return traces;
}

/// Traces of all members, in member order: shares are contiguous, so in question order.
std::vector<records::Trace> gather_traces(Team& team, const std::vector<records::Trace>& mine) {
  records::TraceList list;
  for (const auto& t : mine) *list.add_traces() = t;
  std::vector<records::Trace> all;
  for (const std::string& bytes : team.gather(to_bytes(list))) {
    const auto part = from_bytes<records::TraceList>(bytes, "rejection sampling");
    all.insert(all.end(), part.traces().begin(), part.traces().end());
  }
  return all;
}

}  // namespace

StageOutput run_rejection_sampling(const StageContext& c, const RejectionSamplingStage& stage) {
  Stopwatch clock;
  StageOutput out;
  const auto policy = c.model_of(stage.policy);
  const text::PromptTemplate prompt_template = text::make_prompt_template(stage.prompt, c.tokenizer);
  const data::QuestionSet questions =
      c.questions(stage.data, prompt_template, 1);  // other questions than a stage that trains on the same tasks
  const reward::Scorer scorer({}, prompt_template, c.tokenizer, stage.rollout.max_response_length);
  Progress progress(c.stage.name, stage.questions, c.team.leads());
  uint64_t tokens = 0;
  for (int64_t from = 0; from < stage.questions; from += kChunk) {
    const int64_t count = std::min(kChunk, stage.questions - from);
    const int64_t begin = from + count * c.team.index() / c.team.size(), end = from + count * (c.team.index() + 1) / c.team.size();
    auto groups = eval::ask(questions, begin, end, 0, prompt_template, c.tokenizer);
    eval::answer(groups, *policy, c.tokenizer, stage.rollout, scorer, {c.seed(), c.stage.name, 0}, {});
    const auto traces = gather_traces(c.team, kept_traces(c, stage, groups));
    out.traces.insert(out.traces.end(), traces.begin(), traces.end());
    for (const auto& g : gather_summaries(c.team, groups))
      for (const auto& s : g.samples()) tokens += s.response_length();
    progress.update(from + count, fmt::format("kept {}", out.traces.size()));
    if (c.team.any(stop_requested() && from + count < stage.questions)) throw Stopped(c.stage.name + ": stopped; sampling starts again");
  }
  progress.finish();
  if (c.team.leads()) log_info("{}: kept {} traces of {} questions", c.stage.name, out.traces.size(), stage.questions);
  out.result.set_steps(static_cast<uint64_t>(stage.questions)), out.result.set_tokens(tokens), out.result.set_seconds(clock.seconds());
  return out;
}

}  // namespace cohort::pipeline
