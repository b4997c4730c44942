#include "core/pipeline/partial_batch.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "core/base/error.h"
#include "core/base/random.h"

namespace cohort::pipeline {
namespace {

using Ids = std::vector<uint64_t>;

/// One answer sampled first by weights of `policy_step`.
records::Group group_of(uint64_t id, uint64_t policy_step, bool done) {
  records::Group g;
  g.set_id(id);
  records::Sample& s = *g.add_samples();
  s.set_policy_step(policy_step);
  if (done) s.set_finish_reason(records::STOP);
  return g;
}

template <class Repeated>
Ids ids_of(const Repeated& groups) {
  Ids ids;
  for (const records::Group& g : groups) ids.push_back(g.id());
  return ids;
}

const PartialBatch::Limits kLimits = {.batch = 3, .under_way = 5, .most_done = 9, .max_staleness = 1};

}  // namespace

TEST_CASE("a batch takes the groups that were asked first, and carries the others") {
  uint64_t cursor = 10;
  PartialBatch batch(kLimits, 4, {});
  CHECK(batch.next_round(cursor) == Ids{10, 11, 12, 13, 14});
  CHECK(batch.so_far(10) == nullptr);
  for (uint64_t id : {10U, 11U, 12U, 13U, 14U}) batch.take(group_of(id, 4, id == 11 || id == 14), id != 14);
  CHECK_FALSE(batch.enough());
  CHECK(batch.open() == Ids{10, 12, 13});
  CHECK(batch.next_round(cursor) == Ids{10, 12, 13, 15});  // 14 was not informative
  CHECK(batch.so_far(10) != nullptr);
  CHECK(batch.so_far(15) == nullptr);
  for (uint64_t id : {10U, 12U, 13U, 15U}) batch.take(group_of(id, 4, id != 10), true);
  CHECK(batch.enough());
  records::RolloutBatch out;
  CHECK(batch.close(out) == Ids{15});
  CHECK(Ids(out.chosen().begin(), out.chosen().end()) == Ids{11, 12, 13});
  CHECK(ids_of(out.asked()) == Ids{11, 12, 13, 14});
  CHECK(ids_of(out.carried()) == Ids{10});  // 15 is to be added by who has it whole
  CHECK(out.carried_groups() == 2);
  CHECK(out.new_questions() == 6);
  CHECK(out.dropped() == 0);
  CHECK(cursor == 16);
  CHECK_THROWS_AS(batch.take(group_of(11, 4, true), true), Fault);
}

TEST_CASE("carried groups come first, and those that the next batch would find too old are waited for") {
  uint64_t cursor = 16;
  PartialBatch batch(kLimits, 5, {group_of(10, 4, false), group_of(15, 4, true)});
  CHECK(batch.next_round(cursor) == Ids{10, 15, 16, 17, 18});
  CHECK(is_done(*batch.so_far(15)));
  for (uint64_t id : {10U, 15U, 16U, 17U, 18U}) batch.take(group_of(id, id < 16 ? 4 : 5, id != 10), true);
  CHECK_FALSE(batch.enough());  // four are done, but 10 has its last chance
  CHECK(batch.next_round(cursor) == Ids{10});
  batch.take(group_of(10, 4, true), true);
  CHECK(batch.enough());
  records::RolloutBatch out;
  CHECK(batch.close(out) == Ids{17, 18});
  CHECK(Ids(out.chosen().begin(), out.chosen().end()) == Ids{10, 15, 16});
  uint64_t again = 10;
  CHECK_THROWS_WITH(PartialBatch(kLimits, 5, {group_of(10, 4, false)}).next_round(again),
                    Catch::Contains("question 10 would be asked twice"));
  CHECK_THROWS_WITH(PartialBatch(kLimits, 5, {group_of(10, 4, false), group_of(10, 4, false)}), Catch::Contains("carried twice"));
}

TEST_CASE("groups for which there is no place before they would be too old are dropped and counted") {
  uint64_t cursor = 20;
  PartialBatch batch(kLimits, 5, {group_of(11, 4, true), group_of(12, 4, true), group_of(13, 4, false), group_of(14, 4, false)});
  CHECK(batch.next_round(cursor) == Ids{11, 12, 13, 14, 20});
  for (uint64_t id : {11U, 12U, 13U, 14U, 20U}) batch.take(group_of(id, id < 20 ? 4 : 5, true), true);
  records::RolloutBatch out;
  CHECK(batch.close(out) == Ids{20});
  CHECK(Ids(out.chosen().begin(), out.chosen().end()) == Ids{11, 12, 13});
  CHECK(out.dropped() == 1);
  CHECK(ids_of(out.asked()) == Ids{11, 12, 13, 14});
}

TEST_CASE("a batch gives up when enough groups were done, informative or not") {
  uint64_t cursor = 0;
  PartialBatch batch(kLimits, 0, {});
  int rounds = 0;
  for (; rounds == 0 || !batch.enough(); ++rounds) {
    REQUIRE(rounds < 10);
    for (uint64_t id : batch.next_round(cursor)) batch.take(group_of(id, 0, true), false);
  }
  CHECK(rounds == 2);
  records::RolloutBatch out;
  CHECK(batch.close(out).empty());
  CHECK(out.chosen().empty());
  CHECK(out.asked_size() == 10);
}

TEST_CASE("over many batches of random lengths every question is trained once, left out, or under way, and none is too old") {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    RandomStream random(seed, "partial");
    const int64_t size = random.between(1, 6);
    const uint64_t most = 1 + random.below(3), ahead = std::min<uint64_t>(1, most - 1);
    const bool filter = random.below(2) == 0;
    const PartialBatch::Limits limits = {
        .batch = size, .under_way = random.between(size + 1, 2 * size), .most_done = size * random.between(1, 3), .max_staleness = most};
    std::map<uint64_t, int64_t> left;  // rounds that a question still needs
    std::set<uint64_t> trained, others;
    std::vector<records::Group> carried;
    uint64_t cursor = 0, dropped = 0;
    for (uint64_t step = 0; step < 12; ++step) {
      const uint64_t now = step - std::min(step, ahead);
      PartialBatch batch(limits, step, carried);
      std::map<uint64_t, records::Group> whole;
      do {
        for (uint64_t id : batch.next_round(cursor)) {
          if (!left.count(id)) left[id] = random.between(1, 5);
          records::Group g = batch.so_far(id) ? *batch.so_far(id) : group_of(id, now, false);
          if (left[id] > 0 && --left[id] == 0) g.mutable_samples(0)->set_finish_reason(records::STOP);
          whole[id] = g;
          batch.take(std::move(g), !filter || id % 3 != 0);
        }
      } while (!batch.enough());
      records::RolloutBatch out;
      const Ids waiting = batch.close(out);
      carried.assign(out.carried().begin(), out.carried().end());
      for (uint64_t id : waiting) carried.push_back(whole.at(id));
      CHECK(carried.size() == out.carried_groups());
      for (uint64_t id : out.chosen()) {
        CHECK(trained.insert(id).second);
        CHECK(step - whole.at(id).samples(0).policy_step() <= most);
      }
      for (const auto& g : out.asked())
        if (!trained.count(g.id())) CHECK(others.insert(g.id()).second);
      dropped += out.dropped();
      if (!filter) CHECK(out.chosen_size() == size);
      CHECK(trained.size() + others.size() + carried.size() == cursor);
    }
    if (!filter) CHECK(dropped == 0);
  }
}

}  // namespace cohort::pipeline
