#include "distributed/roles/rank_team.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "tests/distributed/worlds.h"

namespace cohort::roles {
namespace {

using comm::Communicator;
using test::contains;
using test::everywhere;
using test::expect;
using test::fault_of;

records::Group group_of(uint64_t step, uint64_t id, int rank) {
  records::Group group;
  group.set_id(id);
  group.set_step(step);
  group.mutable_question()->set_text("question " + std::to_string(id));
  records::Sample* sample = group.add_samples();
  for (uint64_t i = 0; i < id % 4; ++i) {
    sample->add_response_ids(static_cast<int32_t>(i));
    sample->add_logprobs(-0.5F * static_cast<float>(rank));
  }
  return group;
}

std::vector<records::Group> groups_of(uint64_t step, const std::vector<uint64_t>& ids, int rank) {
  std::vector<records::Group> groups;
  for (uint64_t id : ids) groups.push_back(group_of(step, id, rank));
  return groups;
}

std::vector<uint64_t> range(uint64_t first, uint64_t count) {
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < count; ++i) ids.push_back(first + i);
  return ids;
}

/// One round on threads in which `spoil` changes what a rank brings; returns the first Fault.
std::string spoiled(
    const std::function<void(int rank, std::vector<records::Group>&)>& spoil,
    const std::function<int(int rank, uint64_t id)>& owner = [](int, uint64_t id) { return static_cast<int>(id % 2); }) {
  return fault_of([&] {
    comm::run_on_threads(
        2,
        [&](Communicator world) {
          RankTeam team(world);
          auto mine = groups_of(4, team.assign(4, range(10, 6)), world.rank());
          spoil(world.rank(), mine);
          team.exchange(mine, [&](uint64_t id) { return owner(world.rank(), id); });
        },
        test::impatient());
  });
}

}  // namespace

TEST_CASE("groups are assigned once, exchanged once, and come ordered") {
  everywhere([](Communicator world) {
    RankTeam team(world);
    const auto size = static_cast<uint64_t>(world.size());
    const auto owner = [&](uint64_t id) { return static_cast<int>(id % size); };
    uint64_t next = 0;
    for (uint64_t step = 1; step <= 5; ++step) {
      std::vector<records::Group> mine;
      for (uint64_t count : {uint64_t{7}, uint64_t{0}, uint64_t{3}}) {  // more groups are asked for in the same step
        auto ids = range(next, count);
        std::reverse(ids.begin(), ids.end());
        const auto assigned = team.assign(step, ids);
        expect(std::is_sorted(assigned.begin(), assigned.end()), "ascending ids");
        for (auto& group : groups_of(step, assigned, world.rank())) mine.push_back(group);
        next += count;
      }
      std::reverse(mine.begin(), mine.end());
      std::string all_ids;
      uint64_t count = 0;
      uint64_t last = 0;
      for (const auto& group : team.exchange(mine, owner)) {
        expect(owner(group.id()) == team.index(), "a group of mine");
        expect(count == 0 || group.id() > last, "order by id");
        expect(group.question().text() == "question " + std::to_string(group.id()), "the question");
        expect(static_cast<uint64_t>(group.samples(0).response_ids_size()) == group.id() % 4, "the answer");
        last = group.id();
        ++count;
      }
      uint64_t total = 0;
      for (const auto& text : team.gather(std::to_string(count))) total += std::stoull(text);
      expect(total == 10, "each group on one rank");
    }
    team.begin_stage();
    expect(team.assign(1, {0}).size() == (team.leads() ? 1U : 0U), "ids start again in a new stage");
    expect(contains(fault_of([&] { team.begin_stage(); }), "group 0, assigned to rank 0, was never exchanged"), "an open round is noticed");
  });
}

TEST_CASE("split: those who roll out deal among themselves, and every group reaches the trainer that owns it") {
  everywhere([](Communicator world) {
    if (world.size() == 1) return;
    for (int rollout_ranks : {1, world.size() / 2, world.size() - 1}) {
      RankTeam team(world, rollout_ranks);
      const int trainers = world.size() - rollout_ranks;
      const bool trains = world.rank() < trainers;
      expect(team.trainer_count() == trainers, "the number of trainers");
      expect((team.trainers() != nullptr) == trains && (team.rollouts() != nullptr) == !trains, "one of the two");
      expect((trains ? team.trainers() : team.rollouts())->size() == (trains ? trainers : rollout_ranks), "its size");
      uint64_t next = 0;
      for (uint64_t step = 1; step <= 3; ++step) {
        std::vector<records::Group> mine;
        if (!trains) {
          for (uint64_t count : {uint64_t{5}, uint64_t{2}}) {
            const auto assigned = team.assign(step, range(next, count));
            for (auto& group : groups_of(step, assigned, world.rank())) mine.push_back(group);
            next += count;
          }
          expect(team.rollouts()->gather("x").size() == static_cast<size_t>(rollout_ranks), "talk among themselves");
        } else {
          const at::Tensor ones = at::ones({3});
          team.trainers()->sum(ones);
          expect(ones[0].item<float>() == static_cast<float>(trainers), "trainers add up at the same time");
        }
        const auto owner = [&](uint64_t id) { return static_cast<int>(id % static_cast<uint64_t>(trainers)); };
        const auto groups = team.exchange(mine, owner);
        for (const auto& group : groups) expect(trains && owner(group.id()) == world.rank(), "a group of mine");
        uint64_t total = 0;
        for (const auto& text : team.gather(std::to_string(groups.size()))) total += std::stoull(text);
        expect(total == 7, "each group once");
      }
      if (trains) expect(contains(fault_of([&] { team.assign(9, {1}); }), "does not roll out"), "a trainer is dealt nothing");
      team.barrier("end of case");
    }
  });
}

TEST_CASE("groups that are put back are dealt again in a later round or step, and exchanged once") {
  everywhere([](Communicator world) {
    for (int rollout_ranks : {0, world.size() / 2}) {
      RankTeam team(world, rollout_ranks);
      const auto trainers = static_cast<uint64_t>(team.trainer_count());
      const auto owner = [&](uint64_t id) { return static_cast<int>(id % trainers); };
      uint64_t next = 0, exchanged = 0;
      std::vector<uint64_t> carried;
      for (uint64_t step = 1; step <= 3; ++step) {
        std::vector<records::Group> mine;
        if (team.rollouts() != nullptr)
          for (int round = 0; round < 3; ++round) {  // each group is done after its second round
            const auto fresh = range(next, 3);
            next += 3;
            std::vector<uint64_t> ids = carried;
            ids.insert(ids.end(), fresh.begin(), fresh.end());
            for (auto& group : groups_of(step, team.assign(step, ids), world.rank()))
              if (group.id() < fresh.front()) mine.push_back(group);
            team.put_back(fresh);
            carried = fresh;
          }
        const auto groups = team.exchange(mine, owner);
        for (const auto& group : groups) expect(owner(group.id()) == world.rank(), "a group of mine");
        for (const auto& text : team.gather(std::to_string(groups.size()))) exchanged += std::stoull(text);
      }
      expect(exchanged == 24, "all but the last three, each once");
      if (team.rollouts() != nullptr)
        expect(contains(fault_of([&] { team.put_back({9}); }), "group 9 is put back, which was not assigned"), "one that is settled");
      team.barrier("end of case");
    }
  });
}

TEST_CASE("split: a group that was rolled out twice or lost is a Fault") {
  const auto fault = [](const std::function<void(std::vector<records::Group>&)>& spoil, uint64_t second = 20) {
    return fault_of([&] {
      comm::run_on_threads(
          3,
          [&](Communicator world) {
            RankTeam team(world, 2);
            for (uint64_t step : {4U, 5U}) {
              std::vector<records::Group> mine;
              if (team.rollouts() != nullptr) mine = groups_of(step, team.assign(step, range(step == 4 ? 10 : second, 4)), world.rank());
              if (world.rank() == 2) spoil(mine);
              team.exchange(mine, [](uint64_t) { return 0; });
            }
          },
          test::impatient());
    });
  };
  CHECK(fault([](auto&) {}) == "");
  CHECK_THAT(fault([](auto& mine) { mine.pop_back(); }), Catch::Contains("step 4: group 13, assigned to rank 2, was not rolled out"));
  CHECK_THAT(fault([](auto& mine) { mine.push_back(group_of(4, 10, 2)); }),
             Catch::Contains("rank 2 rolled out group 10, which was not assigned"));
  CHECK_THAT(fault([](auto&) {}, 13), Catch::Contains("step 5: group 13 is assigned to rank 1 and was assigned before in this stage"));
}

TEST_CASE("an exchange that is not exactly the assignment is a Fault with group, step and rank") {
  CHECK(spoiled([](int, auto&) {}).empty());
  CHECK_THAT(spoiled([](int rank, auto& mine) {
               if (rank == 1) mine.pop_back();
             }),
             Catch::Contains("step 4: group 15, assigned to rank 1, was not rolled out"));
  CHECK_THAT(spoiled([](int rank, auto& mine) {
               if (rank == 1) mine.push_back(mine[0]);
             }),
             Catch::Contains("step 4: rank 1 rolled out group 13 twice"));
  CHECK_THAT(spoiled([](int rank, auto& mine) {
               if (rank == 0) mine.push_back(group_of(4, 77, 0));
             }),
             Catch::Contains("step 4: rank 0 rolled out group 77, which was not assigned"));
  CHECK_THAT(spoiled([](int rank, auto& mine) {
               if (rank == 0) mine[0].set_step(3);
             }),
             Catch::Contains("step 4: rank 0 brings group 10 of step 3"));
  CHECK_THAT(spoiled([](int rank, auto& mine) {
               if (rank == 0) mine[1].mutable_samples(0)->add_logprobs(0.0F);
             }),
             Catch::Contains("step 4: group 11 from rank 0: sample 0 has 3 tokens and 4 log-probabilities"));
}

TEST_CASE("owners that disagree are found") {
  const auto keep = [](int, auto&) {};
  const std::string both = spoiled(keep, [](int rank, uint64_t) { return rank; });
  CHECK((contains(both, "is missing on rank") || contains(both, "another rank trains too")));
  const std::string none = spoiled(keep, [](int rank, uint64_t) { return 1 - rank; });
  CHECK((contains(none, "is missing on rank") || contains(none, "does not own it")));
  CHECK_THAT(spoiled(keep, [](int, uint64_t) { return 2; }), Catch::Contains("is owned by rank 2 of 2"));
}

TEST_CASE("a group cannot be assigned again in a stage, and all ranks must ask for the same") {
  CHECK_THAT(fault_of([] {
               RankTeam team(Communicator::self());
               team.exchange(groups_of(1, team.assign(1, {5}), 0), [](uint64_t) { return 0; });
               team.assign(2, {5});
             }),
             Catch::Contains("step 2: group 5 is assigned to rank 0 and was assigned before in this stage"));
  CHECK_THAT(
      fault_of([] { comm::run_on_threads(2, [](Communicator world) { RankTeam(world).assign(1, {world.rank() == 0 ? 5U : 6U}); }); }),
      Catch::Contains("step 1: rank 1 asks for 1 groups that are not the 1 the coordinator assigned"));
  CHECK_THAT(fault_of([] { comm::run_on_threads(2, [](Communicator world) { RankTeam(world).assign(world.rank() == 0 ? 1 : 2, {5}); }); }),
             Catch::Contains("step 2: the coordinator's assignment is for step 1"));
  CHECK_THAT(fault_of([] {
               RankTeam team(Communicator::self());
               team.assign(1, {5});
               team.assign(2, {6});
             }),
             Catch::Contains("step 1: group 5, assigned to rank 0, was never settled"));
}

TEST_CASE("sums, slices, any and barrier reach every member") {
  everywhere([](Communicator world) {
    RankTeam team(world);
    const at::Tensor ones = at::ones({3, 5});
    team.sum(ones);
    expect(ones.eq(static_cast<float>(world.size())).all().item<bool>(), "the number of members");
    expect(!team.any(false), "nobody");
    expect(team.any(team.index() == team.size() - 1), "somebody");
    const at::Tensor counted = at::arange(17, at::kFloat);
    team.reduce_scatter(counted);
    const auto [begin, end] = team.slice(17);
    const at::Tensor wanted = at::arange(17, at::kFloat) * static_cast<double>(team.size());
    expect(counted.slice(0, begin, end).equal(wanted.slice(0, begin, end)), "my slice of the sum");
    team.all_gather(counted);
    expect(counted.equal(wanted), "the whole sum");
    team.barrier("end of test");
    expect(contains(fault_of([&] { team.sum(at::ones({2, 3}).t()); }), "contiguous fp32"), "a transposed tensor is refused");
    expect(contains(fault_of([&] { team.sum(at::ones({2}, at::kDouble)); }), "contiguous fp32"), "doubles are refused");
  });
}

namespace {

/// One round in which each member takes groups one by one until there are none, and calls `sample` after each; how many it got.
size_t take_round(RankTeam& team, uint64_t step, const std::vector<uint64_t>& ids, std::vector<records::Group>& mine,
                  const std::function<void()>& sample) {
  const auto deal = team.deal(step, ids);
  size_t count = 0;
  for (auto taken = deal->take(1); !taken.empty(); taken = deal->take(1)) {
    sample();
    for (auto& group : groups_of(step, taken, team.index())) mine.push_back(group), ++count;
  }
  deal->close();
  return count;
}

/// Waits until another thread has counted that far.
void await(const std::atomic<uint64_t>& counter, uint64_t value) {
  const auto start = std::chrono::steady_clock::now();
  while (counter < value) {
    expect(std::chrono::steady_clock::now() - start < std::chrono::seconds(20), "the groups of the others");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace

TEST_CASE("groups are dealt by free capacity: a member that is busy gets no more, each is trained once") {
  for (const int rollout_ranks : {0, 2}) {
    control::TicketCounter tickets;
    std::atomic<uint64_t> slow = 0, others = 0;  // groups taken in all rounds
    comm::run_on_threads(
        3,
        [&](Communicator world) {
          RankTeam team(world, rollout_ranks);
          team.deal_by(&tickets);
          // Rank 2 is busy with its first group of a round until the others have taken all the rest.
          const auto sample = [&](uint64_t round) {
            ++(world.rank() == 2 ? slow : others);
            await(slow, round);
            if (world.rank() == 2) await(others, 29 * round);
          };
          for (uint64_t step = 1; step <= 3; ++step) {
            std::vector<records::Group> mine;
            if (team.rollouts()) {
              const size_t count = take_round(team, step, range(30 * step, 30), mine, [&] { sample(step); });
              if (world.rank() == 2) expect(count == 1, "one for the busy one, found " + std::to_string(count));
              if (world.rank() == 1 && rollout_ranks == 2) expect(count == 29, "the rest for the other, found " + std::to_string(count));
            }
            const auto got = team.exchange(std::move(mine), [](uint64_t) { return 0; });
            expect(got.size() == (world.rank() == 0 ? 30U : 0U), "all groups at their owner");
          }
        },
        test::impatient());
  }
}

TEST_CASE("a group that two members took is a Fault, and so is one that nobody took") {
  struct Wrong final : control::Tickets {
    explicit Wrong(uint64_t last) : last(last) {}
    control::TicketRange take(uint64_t, uint64_t, uint64_t) override {
      return asked++ == 0 ? control::TicketRange{0, last} : control::TicketRange{};
    }
    uint64_t last, asked = 0;
  };
  for (const uint64_t last : {uint64_t{6}, uint64_t{2}}) {
    const std::string fault = fault_of([&] {
      comm::run_on_threads(
          2,
          [&](Communicator world) {
            Wrong wrong(last);
            RankTeam team(world);
            team.deal_by(&wrong);
            std::vector<records::Group> mine;
            take_round(team, 4, range(10, 6), mine, [] {});
          },
          test::impatient());
    });
    CHECK_THAT(fault, Catch::Contains("step 4: ") && Catch::Contains("groups were taken where the round has 6"));
  }
}

}  // namespace cohort::roles
