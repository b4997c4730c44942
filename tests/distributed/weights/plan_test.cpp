#include "distributed/weights/plan.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <numeric>
#include <ostream>

#include "core/base/error.h"

namespace cohort::weights {

static std::ostream& operator<<(std::ostream& out, const Move& m) {
  return out << m.tensor << ":" << m.begin << "-" << m.end << " " << m.from << "->" << m.to;
}

namespace {

const std::vector<TensorInfo> kTensors = {{"embedding", "F32", {10, 3}}, {"experts", "F32", {8, 2, 5}}, {"norm", "F32", {7}}};
constexpr size_t kExperts = 1;

/// `dp` × `ep` ranks, dp outside: every rank has the dense tensors, the experts are shared out over ep.
Layout experts_shared(int dp, int ep) {
  Layout layout;
  for (int rank = 0; rank < dp * ep; ++rank) {
    std::vector<Slice> slices = whole(kTensors);
    slices[kExperts] = rows(kTensors, kExperts, rank % ep, ep);
    layout.push_back(slices);
  }
  return layout;
}

/// Every tensor in flat, nearly equal shards.
Layout flat_shards(int ranks) {
  Layout layout(static_cast<size_t>(ranks));
  for (size_t t = 0; t < kTensors.size(); ++t)
    for (int rank = 0; rank < ranks; ++rank) {
      const int64_t n = kTensors[t].elements();
      layout[static_cast<size_t>(rank)].push_back({t, n * rank / ranks, n * (rank + 1) / ranks});
    }
  return layout;
}

/// Both over all ranks: first those of `trainers`, which then want nothing, then those of `rollouts`, which have nothing yet.
std::pair<Layout, Layout> side_by_side(const Layout& trainers, const Layout& rollouts) {
  Layout from = trainers, to(trainers.size());
  from.resize(trainers.size() + rollouts.size());
  to.insert(to.end(), rollouts.begin(), rollouts.end());
  return {from, to};
}

using Held = std::map<std::pair<size_t, int64_t>, int>;  // (tensor, element) → how often

Held held_by(const std::vector<Slice>& slices) {
  Held held;
  for (const Slice& s : slices)
    for (int64_t i = s.begin; i < s.end; ++i) held[{s.tensor, i}] = 1;
  return held;
}

/// Carries out the moves; returns what is wrong, "" for nothing.
std::string wrong(const Layout& from, const Layout& to, const std::vector<Move>& moves) {
  std::vector<Held> has, sources;
  for (const auto& slices : from) has.push_back(held_by(slices));
  sources = has;
  for (const Move& m : moves)
    for (int64_t i = m.begin; i < m.end; ++i) {
      if (!sources[static_cast<size_t>(m.from)].count({m.tensor, i})) return "a rank sends what it does not have";
      if (has[static_cast<size_t>(m.to)][{m.tensor, i}]++ > 0) return "an element comes twice, or to a rank that has it";
    }
  for (size_t rank = 0; rank < to.size(); ++rank) {
    const Held wanted = held_by(to[rank]);
    for (const auto& [place, count] : wanted)
      if (!has[rank].count(place)) return "an element is missing";
    for (const auto& [place, count] : has[rank])
      if (!wanted.count(place) && !sources[rank].count(place)) return "an element that nobody asked for";
  }
  return "";
}

}  // namespace

TEST_CASE("from any layout to any layout, every element comes once") {
  std::vector<std::pair<std::string, Layout>> layouts;
  for (int dp : {1, 2, 3})
    for (int ep : {1, 2, 4, 8}) layouts.emplace_back("dp " + std::to_string(dp) + " ep " + std::to_string(ep), experts_shared(dp, ep));
  for (int ranks : {1, 2, 3, 5}) layouts.emplace_back("flat " + std::to_string(ranks), flat_shards(ranks));
  for (const auto& [from_name, trainers] : layouts)
    for (const auto& [to_name, rollouts] : layouts) {
      CAPTURE(from_name, to_name);
      const auto [from, to] = side_by_side(trainers, rollouts);
      const auto moves = plan_transfer(kTensors, from, to);
      CHECK(wrong(from, to, moves) == "");
      CHECK(moves == plan_transfer(kTensors, from, to));
      if (trainers.size() == rollouts.size()) CHECK(plan_transfer(kTensors, trainers, trainers).empty());  // the same ranks: nothing to do
      std::vector<int64_t> sent(from.size(), 0);
      for (const Move& m : moves) sent[static_cast<size_t>(m.from)] += m.end - m.begin;
      int64_t wanted = 0;
      for (const auto& slices : to)
        for (const Slice& s : slices) wanted += s.end - s.begin;
      CHECK(std::accumulate(sent.begin(), sent.end(), int64_t{0}) == wanted);
    }
}

TEST_CASE("ranks that become others on the spot keep what they have") {
  const Layout from = experts_shared(2, 2), to = experts_shared(1, 4);  // the same four ranks
  const auto moves = plan_transfer(kTensors, from, to);
  CHECK(wrong(from, to, moves) == "");
  // Rank 0 had experts 0-3 and needs 0-1: nothing. Rank 1 had 4-7, needs 2-3. Rank 2 had 0-3, needs 4-5. Rank 3 had 4-7, needs 6-7.
  CHECK(moves == std::vector<Move>{{kExperts, 20, 40, 0, 1}, {kExperts, 40, 60, 1, 2}});
}

TEST_CASE("senders that hold the same share the work") {
  const auto [from, to] = side_by_side(experts_shared(2, 1), experts_shared(1, 1));
  CHECK(plan_transfer(kTensors, from, to) == std::vector<Move>{{0, 0, 30, 0, 2}, {1, 0, 80, 1, 2}, {2, 0, 7, 0, 2}});
  const auto [shards, all] = side_by_side(flat_shards(2), experts_shared(1, 1));
  CHECK(plan_transfer(kTensors, shards, all) ==
        std::vector<Move>{{0, 0, 15, 0, 2}, {0, 15, 30, 1, 2}, {1, 0, 40, 0, 2}, {1, 40, 80, 1, 2}, {2, 0, 3, 0, 2}, {2, 3, 7, 1, 2}});
}

TEST_CASE("slices of tensors laid end to end, and what is on every rank besides") {
  CHECK((flat_slice(kTensors, 2, 0, 3) == std::vector<Slice>{{0, 0, 30}, {1, 0, 6}, {2, 0, 7}}));  // 110 numbers: to 36, to 73
  CHECK((flat_slice(kTensors, 2, 1, 3) == std::vector<Slice>{{1, 6, 43}, {2, 0, 7}}));
  CHECK((flat_slice(kTensors, 2, 2, 3) == std::vector<Slice>{{1, 43, 80}, {2, 0, 7}}));
  CHECK((flat_slice(kTensors, 3, 0, 1) == whole(kTensors)));
  for (int parts : {1, 2, 3, 5}) {
    Layout from;
    for (int part = 0; part < parts; ++part) from.push_back(flat_slice(kTensors, 3, part, parts));
    const auto [sides, to] = side_by_side(from, experts_shared(1, 1));
    CHECK(wrong(sides, to, plan_transfer(kTensors, sides, to)) == "");
  }
}

TEST_CASE("a plan that cannot be made says what is missing") {
  auto [from, to] = side_by_side(flat_shards(2), experts_shared(1, 1));
  from[1].erase(from[1].begin() + 1);
  CHECK_THROWS_WITH(plan_transfer(kTensors, from, to), Catch::Contains("nobody holds elements 40 to 80 of experts"));
  CHECK_THROWS_WITH(plan_transfer(kTensors, {{{3, 0, 1}}}, {{}}), Catch::Contains("rank 0 holds elements 0 to 1 of tensor 3"));
  CHECK_THROWS_WITH(plan_transfer(kTensors, {{{2, 0, 8}}}, {{}}), Catch::Contains("elements 0 to 8"));
  CHECK_THROWS_WITH(plan_transfer(kTensors, {{}}, {{}, {}}), Catch::Contains("layouts of 1 and 2 ranks"));
}

}  // namespace cohort::weights
