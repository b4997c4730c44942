#include "core/generate/version_runs.h"

#include <catch2/catch.hpp>

#include "core/base/error.h"

namespace cohort::generate {
namespace {

void add_token(const records::Group& g, records::Sample& s, const PolicyAge& age) {
  begin_run(g, s, age);
  records::VersionRun& run = *s.mutable_runs(s.runs_size() - 1);
  run.set_tokens(run.tokens() + 1);
  s.add_response_ids(1);
}

}  // namespace

TEST_CASE("tokens of the same weights are one run, and the sample names the oldest") {
  records::Group g;
  records::Sample& s = *g.add_samples();
  for (const PolicyAge& age : {PolicyAge{10, 2}, PolicyAge{10, 2}, PolicyAge{14, 3}, PolicyAge{14, 4}}) add_token(g, s, age);
  REQUIRE(s.runs_size() == 3);  // the last step was skipped: other weights by name, but not older ones
  CHECK(s.runs(0).tokens() == 2);
  CHECK(age_of(s.runs(2)) == PolicyAge{14, 4});
  CHECK(s.policy_version() == 10);
  CHECK(s.policy_step() == 2);
  CHECK_NOTHROW(require_version_runs(g));
}

TEST_CASE("versions that fall inside an answer, and runs that do not add up to it, are a Fault") {
  records::Group g;
  g.set_id(7);
  records::Sample& s = *g.add_samples();
  add_token(g, s, {10, 2});
  for (const PolicyAge& older : {PolicyAge{9, 1}, PolicyAge{10, 1}, PolicyAge{9, 3}, PolicyAge{11, 2}}) {
    CHECK_THROWS_WITH(begin_run(g, s, older),
                      Catch::Contains("group 7, sample 0") && Catch::Contains("come after tokens of version 10 (step 2)"));
    records::Group sent = g;
    *sent.mutable_samples(0)->add_runs() = run_of(older);
    sent.mutable_samples(0)->mutable_runs(1)->set_tokens(1), sent.mutable_samples(0)->add_response_ids(1);
    CHECK_THROWS_AS(require_version_runs(sent), Fault);
  }
  const auto broken = [&](auto change) {
    records::Group sent = g;
    change(*sent.mutable_samples(0));
    CHECK_THROWS_AS(require_version_runs(sent), Fault);
  };
  broken([](records::Sample& x) { x.add_response_ids(1); });
  broken([](records::Sample& x) { x.clear_runs(); });
  broken([](records::Sample& x) { x.set_policy_version(11); });
  broken([](records::Sample& x) { x.mutable_runs(0)->set_tokens(0), x.clear_response_ids(); });
  CHECK_NOTHROW(require_version_runs(g));
}

}  // namespace cohort::generate
