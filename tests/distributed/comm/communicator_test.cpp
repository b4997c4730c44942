#include "distributed/comm/communicator.h"

#include <atomic>
#include <bit>
#include <catch2/catch.hpp>
#include <chrono>
#include <cmath>
#include <cstring>
#include <thread>

#include "core/base/random.h"
#include "tests/distributed/worlds.h"

namespace cohort::comm {
namespace {

using test::contains;
using test::everywhere;
using test::expect;
using test::fault_of;
using test::on_mpi;
using test::on_threads;

/// A different length for each pair of ranks; some are empty.
std::string letter(int from, int to) { return std::string(static_cast<size_t>((from * 3 + to * 5) % 7), static_cast<char>('a' + from)); }

/// Values whose sum depends on the order of additions.
std::vector<float> values_of(int rank, size_t length) {
  RandomStream stream(7, "test/sum", {static_cast<uint64_t>(rank)});
  std::vector<float> values(length);
  for (size_t i = 0; i < length; ++i) {
    values[i] = i < 2000 ? static_cast<float>(stream.normal() * std::pow(10.0, stream.uniform() * 6.0)) : values[i % 2000] * 1.25F;
  }
  return values;
}

/// The tree of the header, written another way: split at the largest power of two below the number of ranks.
float tree_sum(const std::vector<std::vector<float>>& rows, size_t column, size_t first, size_t count) {
  if (count == 1) return rows[first][column];
  const size_t left = std::bit_floor(count - 1);
  return tree_sum(rows, column, first, left) + tree_sum(rows, column, first + left, count - left);
}

void check_sum_in(Communicator world, std::span<float> values) {
  const size_t length = values.size();
  std::vector<std::vector<float>> rows;
  for (int r = 0; r < world.size(); ++r) rows.push_back(values_of(r, length));
  std::copy_n(rows[static_cast<size_t>(world.rank())].begin(), length, values.begin());
  world.sum("values", values);
  for (size_t i = 0; i < length; ++i) {
    const float wanted = tree_sum(rows, i, 0, rows.size());
    expect(std::memcmp(&wanted, &values[i], sizeof(float)) == 0, "the bits of a serial tree at " + std::to_string(i));
  }
}

void check_sum(Communicator world, size_t length) {
  std::vector<float> values(length);
  check_sum_in(world, values);
}

void check_slices(Communicator world, size_t length) {
  const std::vector<float> mine = values_of(world.rank(), length);
  std::vector<float> sum = mine, values = mine;
  world.sum("values", sum);
  world.reduce_scatter("values", values);
  const auto [begin, count] = slice_of(length, world.rank(), world.size());
  const auto same = [&](const std::vector<float>& other, size_t i) { return std::memcmp(&values[i], &other[i], sizeof(float)) == 0; };
  for (size_t i = 0; i < length; ++i) {
    const bool is_mine = i >= begin && i < begin + count;
    expect(same(is_mine ? sum : mine, i), "the sum in my slice, and what I passed elsewhere, at " + std::to_string(i));
  }
  world.all_gather_slices("values", values);
  for (size_t i = 0; i < length; ++i) expect(same(sum, i), "the whole sum at " + std::to_string(i));
}

/// Sums, bytes and messages in a group, and in the whole in between.
void use_group(Communicator world, Communicator group, const std::vector<int>& ranks) {
  expect(group.size() == static_cast<int>(ranks.size()), "its size");
  expect(ranks[static_cast<size_t>(group.rank())] == world.rank(), "its order");
  const auto names = group.all_gather("names", std::to_string(world.rank()));
  for (size_t i = 0; i < ranks.size(); ++i) expect(names[i] == std::to_string(ranks[i]), "its members");
  std::vector<std::vector<float>> rows;
  for (int r : ranks) rows.push_back(values_of(r, 37));
  std::vector<float> values = rows[static_cast<size_t>(group.rank())];
  group.sum("values", values);
  for (size_t i = 0; i < values.size(); ++i) {
    const float wanted = tree_sum(rows, i, 0, rows.size());
    expect(std::memcmp(&wanted, &values[i], sizeof(float)) == 0, "the tree over its members");
  }
  std::vector<float> one{1.0F};
  world.sum("in between", one);
  expect(one[0] == static_cast<float>(world.size()), "the whole group, still in step");
  expect(group.broadcast("word", std::to_string(group.rank()), group.size() - 1) == std::to_string(group.size() - 1), "its last");
  const int next = (group.rank() + 1) % group.size(), previous = (group.rank() + group.size() - 1) % group.size();
  if (group.size() > 1) {
    group.send("ring", next, 5, std::to_string(group.rank()));
    expect(group.recv("ring", previous, 5) == std::to_string(previous), "its ring");
  }
}

}  // namespace

TEST_CASE("split makes groups by colour, and groups of groups, that do not disturb one another") {
  everywhere([](Communicator world) {
    const auto members = [&](const std::function<bool(int)>& in) {
      std::vector<int> ranks;
      for (int r = 0; r < world.size(); ++r)
        if (in(r)) ranks.push_back(r);
      return ranks;
    };
    const int me = world.rank();
    Communicator parity = world.split("parity", me % 2 == 0 ? 7 : -3);
    Communicator half = world.split("half", me < 2 ? 0 : 1);
    Communicator alone = parity.split("alone", parity.rank());
    Communicator same = half.split("same", 0);
    for (int round = 0; round < 3; ++round) {
      use_group(world, parity, members([&](int r) { return r % 2 == me % 2; }));
      use_group(world, half, members([&](int r) { return (r < 2) == (me < 2); }));
      use_group(world, alone, {me});
      use_group(world, same, members([&](int r) { return (r < 2) == (me < 2); }));
    }
    expect(parity.host(0) == world.host(me % 2), "the host of its first rank");
  });
}

TEST_CASE("messages of two groups with the same ranks do not meet") {
  const auto crossed = [](Communicator world) {
    Communicator one = world.split("one", 0), other = world.split("other", 0);
    // Sent in one order and received in the other: only possible when the groups' messages are kept apart.
    const int peer = 1 - world.rank();
    if (world.rank() > 1) return;
    one.send("word", peer, 3, "of one");
    other.send("word", peer, 3, "of other");
    expect(other.recv("word", peer, 3) == "of other", "the other group's word");
    expect(one.recv("word", peer, 3) == "of one", "the one group's word");
  };
  on_threads(crossed);
  on_mpi(crossed);
}

TEST_CASE("a fault in a group names the job's ranks and ends the whole") {
  run_on_threads(
      4,
      [](Communicator world) {
        Communicator pair = world.split("pair", world.rank() / 2);
        if (world.rank() < 2) return;
        const std::string fault = fault_of([&] { pair.barrier(world.rank() == 2 ? "left" : "right"); });
        expect(contains(fault, "rank 2 (host thread)") && contains(fault, "rank 3 (host thread)"), "ranks of the job: " + fault);
        expect(contains(fault, "in group 1"), "the group: " + fault);
        expect(contains(fault_of([&] { world.barrier("later"); }), "failed before"), "no further use");
      },
      test::impatient());
}

TEST_CASE("all_gather returns ragged and empty bytes in rank order") {
  everywhere([](Communicator world) {
    for (int round = 0; round < 20; ++round) {
      const auto all = world.all_gather("letters", letter(world.rank(), round));
      expect(all.size() == static_cast<size_t>(world.size()), "one entry per rank");
      for (int r = 0; r < world.size(); ++r) expect(all[static_cast<size_t>(r)] == letter(r, round), "the letter of each rank");
    }
  });
}

TEST_CASE("all_to_all delivers each pair's bytes") {
  everywhere([](Communicator world) {
    for (int round = 0; round < 20; ++round) {
      std::vector<std::string> to_each;
      for (int r = 0; r < world.size(); ++r) to_each.push_back(letter(world.rank() + round, r));
      const auto from_each = world.all_to_all("letters", to_each);
      expect(from_each.size() == to_each.size(), "one entry per rank");
      for (int r = 0; r < world.size(); ++r) {
        expect(from_each[static_cast<size_t>(r)] == letter(r + round, world.rank()), "the letter of this pair");
      }
    }
    expect(contains(fault_of([&] { world.all_to_all("too many", std::vector<std::string>(99)); }), "99 entries"), "a Fault");
  });
}

TEST_CASE("bytes with zeros and long payloads arrive whole") {
  everywhere([](Communicator world) {
    std::string mine(3'000'001, '\0');
    for (size_t i = 0; i < mine.size(); i += 7) mine[i] = static_cast<char>(i + static_cast<size_t>(world.rank()));
    const auto all = world.all_gather("long", mine);
    for (int r = 0; r < world.size(); ++r) {
      const std::string& got = all[static_cast<size_t>(r)];
      expect(got.size() == mine.size(), "the length");
      for (size_t i = 0; i < got.size(); i += 7) expect(got[i] == static_cast<char>(i + static_cast<size_t>(r)), "the bytes");
    }
  });
}

TEST_CASE("broadcast gives everybody the root's bytes") {
  everywhere([](Communicator world) {
    for (int root = 0; root < world.size(); ++root) {
      const std::string mine = "from " + std::to_string(world.rank());
      expect(world.broadcast("word", mine, root) == "from " + std::to_string(root), "the root's word");
      expect(world.broadcast("nothing", world.rank() == root ? "" : "x", root).empty(), "an empty word");
    }
    expect(contains(fault_of([&] { world.broadcast("word", "", world.size()); }), "no rank"), "a Fault for a root that is not there");
  });
}

TEST_CASE("gather fills the root's table only") {
  everywhere([](Communicator world) {
    for (int root = 0; root < world.size(); ++root) {
      const auto all = world.gather("letters", letter(world.rank(), root), root);
      if (world.rank() != root) {
        expect(all.empty(), "nothing away from root");
        continue;
      }
      expect(all.size() == static_cast<size_t>(world.size()), "one entry per rank");
      for (int r = 0; r < world.size(); ++r) expect(all[static_cast<size_t>(r)] == letter(r, root), "the letter of each rank");
    }
  });
}

TEST_CASE("reduce_scatter gives each rank its slice of the sum and leaves the rest alone; all_gather_slices makes it whole") {
  for (size_t length : {size_t{0}, size_t{1}, size_t{3}, size_t{1000}, size_t{1025}}) {
    everywhere([length](Communicator world) { check_slices(world, length); });
  }
}

TEST_CASE("reduce_scatter in several pieces") {
  run_on_threads(
      3, [](Communicator world) { check_slices(world, (size_t{1} << 22) + 5); }, test::impatient());
  on_mpi([](Communicator world) { check_slices(world, (size_t{1} << 22) + 5); });
}

TEST_CASE("gather_ranges brings each rank what it wants, from the owners, and nothing else") {
  for (size_t length : {size_t{0}, size_t{5}, size_t{1000}, size_t{1001}})
    everywhere([length](Communicator world) {
      const size_t ranks = static_cast<size_t>(world.size());
      const auto owner = [&](size_t i) {
        int rank = 0;
        while (slice_of(length, rank, world.size()).first + slice_of(length, rank, world.size()).second <= i) ++rank;
        return rank;
      };
      std::vector<std::vector<std::pair<size_t, size_t>>> all(3);
      for (size_t r = 0; r < ranks; ++r) {
        all[0].emplace_back(0, length);                                       // everything
        all[1].emplace_back(length / 3, length / 3 + length / 2);             // the same part of it
        all[2].emplace_back(length * (r % 2) / 2, length * (r % 2 + 1) / 2);  // the one or the other half
      }
      for (const auto& wanted : all) {
        std::vector<float> values(length, -1.0F);
        for (size_t i = 0; i < length; ++i)
          if (owner(i) == world.rank()) values[i] = static_cast<float>(i);
        world.gather_ranges("values", values, wanted);
        const auto [begin, end] = wanted[static_cast<size_t>(world.rank())];
        for (size_t i = 0; i < length; ++i) {
          const bool here = owner(i) == world.rank() || (i >= begin && i < end);
          expect(values[i] == (here ? static_cast<float>(i) : -1.0F), "what was wanted, and nothing else, at " + std::to_string(i));
        }
      }
      std::vector<std::pair<size_t, size_t>> beyond(ranks, {0, length + 1}), few(ranks - 1);
      std::vector<float> values(length);
      if (ranks > 1) expect(!test::fault_of([&] { world.gather_ranges("values", values, beyond); }).empty(), "no range beyond the end");
      expect(!test::fault_of([&] { world.gather_ranges("values", values, few); }).empty(), "a range for every rank");
    });
}

TEST_CASE("slices cover everything once, in rank order") {
  for (size_t length : {size_t{0}, size_t{2}, size_t{7}, size_t{64}, size_t{1} << 40}) {
    for (int ranks : {1, 2, 3, 7, 512}) {
      size_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const auto [begin, count] = slice_of(length, rank, ranks);
        CHECK(begin == next);
        CHECK(count <= length / static_cast<size_t>(ranks) + 1);
        next = begin + count;
      }
      CHECK(next == length);
    }
  }
}

TEST_CASE("sum has the bits of the documented tree") {
  for (size_t length : {size_t{0}, size_t{1}, size_t{3}, size_t{1000}, size_t{1025}}) {
    everywhere([length](Communicator world) { check_sum(world, length); });
  }
}

TEST_CASE("sum in several pieces") {
  run_on_threads(
      2, [](Communicator world) { check_sum(world, (size_t{1} << 22) + 5); }, test::impatient());
  on_mpi([](Communicator world) { check_sum(world, (size_t{1} << 22) + 5); });
}

TEST_CASE("the order of additions matters for the values used here") {
  const std::vector<std::vector<float>> rows{values_of(0, 100), values_of(1, 100), values_of(2, 100), values_of(3, 100)};
  int different = 0;
  for (size_t i = 0; i < 100; ++i) {
    const float in_a_row = ((rows[0][i] + rows[1][i]) + rows[2][i]) + rows[3][i];
    if (in_a_row != tree_sum(rows, i, 0, 4)) ++different;
  }
  CHECK(different > 10);
}

TEST_CASE("members that add equal shares by the same tree give the same bits as more members") {
  constexpr size_t kLength = 257;
  std::vector<std::vector<float>> results;
  for (int ranks : {1, 2, 4, 8}) {
    std::vector<float> result;
    run_on_threads(ranks, [&](Communicator world) {
      std::vector<std::vector<float>> share;
      std::vector<float*> rows;
      const int each = 8 / world.size();
      for (int i = 0; i < each; ++i) share.push_back(values_of(world.rank() * each + i, kLength));
      for (auto& row : share) rows.push_back(row.data());
      add_by_tree(rows, kLength);
      world.sum("values", share[0]);
      if (world.rank() == 0) result = share[0];
    });
    results.push_back(result);
  }
  for (const auto& result : results) CHECK(std::memcmp(result.data(), results[0].data(), kLength * sizeof(float)) == 0);
}

TEST_CASE("nobody leaves a barrier before everybody has entered") {
  for (int ranks : {2, 3, 4, 5}) {
    std::atomic<int> entered{0};
    run_on_threads(ranks, [&](Communicator world) {
      for (int round = 1; round <= 10; ++round) {
        if (world.rank() == round % ranks) std::this_thread::sleep_for(std::chrono::milliseconds(2));
        ++entered;
        world.barrier("line");
        expect(entered >= round * ranks, "all ranks in");
        world.barrier("second line");
      }
    });
  }
  everywhere([](Communicator world) { world.barrier("alone or not"); });
}

TEST_CASE("messages of one tag keep their order, and tags do not mix") {
  const auto ring = [](Communicator world) {
    const int next = (world.rank() + 1) % world.size();
    const int previous = (world.rank() + world.size() - 1) % world.size();
    for (int i = 0; i < 5; ++i) world.send("five", next, 5, "five " + std::to_string(i));
    world.send("nine", next, 9, "");
    expect(world.recv("nine", previous, 9).empty(), "the message of tag 9");
    for (int i = 0; i < 5; ++i) expect(world.recv("five", previous, 5) == "five " + std::to_string(i), "message in order");
  };
  on_threads(ring);
  on_mpi(ring);
}

TEST_CASE("operations of all kinds in a row stay in step") {
  everywhere([](Communicator world) {
    for (int round = 0; round < 50; ++round) {
      std::vector<float> one{1.0F};
      world.sum("count", one);
      expect(one[0] == static_cast<float>(world.size()), "the number of ranks");
      expect(world.broadcast("round", std::to_string(round), round % world.size()) == std::to_string(round), "the round");
      world.gather("round", std::to_string(round));
      if (round % 3 == 0) world.barrier("third");
    }
  });
}

TEST_CASE("ranks that make different calls get a Fault that says which") {
  std::atomic<int> named{0};
  const auto disagree = [&named](const std::function<void(Communicator)>& body) {
    return [&named, body](Communicator world) {
      world.barrier("start");
      const std::string fault = fault_of([&] { body(world); });
      if (contains(fault, "#2") && contains(fault, "host") && contains(fault, "rank")) ++named;
      if (!fault.empty()) throw Fault(fault);
    };
  };
  const auto other_label = disagree([](Communicator world) { world.barrier(world.rank() == 1 ? "left" : "right"); });
  CHECK_THROWS_WITH(run_on_threads(4, other_label, test::impatient()), Catch::Contains("barrier \"left\" #2") &&
                                                                           Catch::Contains("barrier \"right\" #2") &&
                                                                           Catch::Contains("do not make the same calls"));
  CHECK(named >= 1);

  const auto other_operation = disagree([](Communicator world) {
    if (world.rank() == 0) {
      world.all_gather("x", "");
    } else {
      world.barrier("x");
    }
  });
  CHECK_THROWS_WITH(run_on_threads(2, other_operation, test::impatient()),
                    Catch::Contains("all_gather \"x\" #2") && Catch::Contains("barrier \"x\" #2"));

  const auto other_length = disagree([](Communicator world) {
    std::vector<float> values(world.rank() == 1 ? 10 : 8);
    world.sum("gradients", values);
  });
  CHECK_THROWS_WITH(run_on_threads(2, other_length, test::impatient()),
                    Catch::Contains("sum \"gradients\" #2") && Catch::Contains("are expected"));

  const auto skipped = disagree([](Communicator world) {
    if (world.rank() != 1) world.barrier("odd");
    world.barrier("even");
  });
  CHECK_THROWS_WITH(run_on_threads(3, skipped, test::impatient()), Catch::Contains("\"odd\" #2") && Catch::Contains("\"even\" #2"));
}

TEST_CASE("a label mismatch is found under MPI too") {
  on_mpi([](Communicator world) {
    const std::string fault = fault_of([&] { world.barrier("label " + std::to_string(world.rank())); });
    CHECK(contains(fault, "do not make the same calls"));
    CHECK(contains(fault, "barrier \"label " + std::to_string(world.rank()) + "\" #1"));
    CHECK(contains(fault_of([&] { world.barrier("again"); }), "failed before"));
  });
}

TEST_CASE("sum has the same bits through messages and through shared memory") {
  const Communicator world = MpiSession::world({.deadline_s = 20.0, .shared_memory = false});
  if (world.size() == 1) return;
  for (const size_t length : {size_t{0}, size_t{1}, size_t{1025}, (size_t{1} << 22) + 5}) check_sum(world, length);
}

TEST_CASE("many sums in a row, of changing lengths, with slow ranks") {
  on_mpi([](Communicator world) {
    for (size_t i = 0; i < 60; ++i) {
      if (i % 7 == static_cast<size_t>(world.rank())) std::this_thread::sleep_for(std::chrono::milliseconds(3));
      check_sum(world, (i * 37) % 500);
      if (i % 5 == 0) world.barrier("between");
    }
    check_sum(world, (size_t{3} << 18) + 1);
  });
}

TEST_CASE("sums in memory made for them have the bits of other sums, in turn with these") {
  everywhere([](Communicator world) {
    const size_t length = (size_t{1} << 18) + 7;
    const auto first = world.floats_for_sums("first", length);
    auto second = world.floats_for_sums("second", 5);
    for (const size_t count : {length, size_t{1}, size_t{0}, size_t{1000}}) check_sum_in(world, {first.get(), count});
    check_sum_in(world, {second.get(), 5});
    check_sum(world, 300);
    second.reset();  // each rank for itself
    check_sum_in(world, {first.get(), length});
    check_sum(world, 300);
    const auto third = world.floats_for_sums("third", 6);
    check_sum_in(world, {third.get(), 6});
    check_sum_in(world, {first.get() + 1, 50});  // not its beginning: as any other memory
  });
}

TEST_CASE("a sum in shared memory on one rank and in its own memory on another is a Fault") {
  on_mpi([](Communicator world) {
    const auto block = world.floats_for_sums("block", 8);
    std::vector<float> own(8, 1.0F);
    const std::string fault = fault_of([&] { world.sum("gradients", world.rank() == 0 ? std::span(block.get(), 8) : std::span(own)); });
    CHECK(contains(fault, "sums other memory"));
  });
}

TEST_CASE("ranks that meet in a sum with another call or another length get a Fault at once") {
  on_mpi([](Communicator world) {
    std::vector<float> values(8, 1.0F);
    const std::string other_call = fault_of([&] {
      if (world.rank() == 0)
        world.sum("gradients", values);
      else
        world.sum("loads", values);
    });
    CHECK(contains(other_call, "do not make the same calls"));
  });
  on_mpi([](Communicator world) {
    std::vector<float> values(world.rank() == 0 ? 8 : 9, 1.0F);
    CHECK(contains(fault_of([&] { world.sum("gradients", values); }), "bytes where"));
  });
  on_mpi([](Communicator world) {  // the rank in the sum sees that the other one waits for messages
    std::vector<float> values(8, 1.0F);
    if (world.rank() != 0) world.set_deadline(1.0);
    const std::string fault = fault_of([&] {
      if (world.rank() == 0)
        world.sum("gradients", values);
      else
        world.all_gather("metrics", "x");
    });
    if (world.rank() == 0) CHECK(contains(fault, "is at all_gather \"metrics\" #1: the ranks do not make the same calls"));
    if (world.rank() == 1) CHECK(contains(fault, world.size() == 2 ? "waiting for rank 0" : "waiting for"));
  });
  on_mpi([](Communicator world) {
    std::vector<float> values(8, 1.0F);
    world.set_deadline(0.3);
    if (world.rank() != 0) CHECK(contains(fault_of([&] { world.sum("gradients", values); }), "waiting for rank 0"));
  });
}

TEST_CASE("an operation that nobody answers ends at its deadline") {
  const auto wait = [](Communicator world) {
    world.set_deadline(0.2);
    const int peer = world.size() - 1 - world.rank();
    if (peer == world.rank()) return;
    const auto start = std::chrono::steady_clock::now();
    const std::string fault = fault_of([&] { world.recv("nothing", peer, 3); });
    const double waited = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    expect(contains(fault, "waiting for rank " + std::to_string(peer) + " (host " + world.host(peer) + ")"), "who it waits for: " + fault);
    expect(contains(fault, "send/recv \"nothing\" #1"), "what it does: " + fault);
    expect(waited >= 0.2 && waited < 10.0, "about the deadline");
    expect(contains(fault_of([&] { world.barrier("later"); }), "failed before"), "no further use");
  };
  run_on_threads(2, wait);
  run_on_threads(4, wait);
  on_mpi(wait);
}

TEST_CASE("a slow rank is waited for") {
  const auto slow = [](Communicator world) {
    world.set_deadline(10);
    if (world.rank() == world.size() - 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    world.barrier("slow");
  };
  on_threads(slow);
  on_mpi(slow);
}

TEST_CASE("the error that comes first ends all threads and is the one reported") {
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_AS(run_on_threads(4,
                                 [](Communicator world) {
                                   if (world.rank() == 2) throw InputError("bad: key: expected a, found b");
                                   expect(contains(fault_of([&] { world.barrier("never"); }), "rank 2 was lost"), "the lost rank's name");
                                 }),
                  InputError);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("messages over the limit are refused before they are sent") {
  CHECK_THROWS_WITH(
      run_on_threads(2, [](Communicator world) { world.all_gather("big", std::string(1001, 'x')); }, {.max_message_bytes = 1000}),
      Catch::Contains("1001 bytes is over the limit of 1000"));
}

TEST_CASE("wrong arguments are Faults") {
  everywhere([](Communicator world) {
    expect(contains(fault_of([&] { world.send("x", world.rank(), 0, ""); }), "no other rank"), "sending to oneself");
    expect(contains(fault_of([&] { world.recv("x", world.size(), 0); }), "no other rank"), "receiving from nobody");
    expect(contains(fault_of([&] { world.barrier(std::string(kMaxLabel + 1, 'x')); }), "label"), "a label that is too long");
    expect(!fault_of([&] { world.set_deadline(0); }).empty(), "a deadline of 0");
    expect(!world.host().empty(), "a host name");
  });
  CHECK_THROWS_AS(run_on_threads(0, [](Communicator) {}), Fault);
}

}  // namespace cohort::comm
