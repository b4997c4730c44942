#include "distributed/control/tickets.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>

#include "distributed/control/channel.h"
#include "tests/distributed/worlds.h"

using namespace cohort;
using namespace cohort::control;
using comm::Communicator;
using test::expect;

namespace {

/// All tickets that this rank gets of a round, `most` at a time.
std::string take_all(Tickets& tickets, uint64_t round, uint64_t total, uint64_t most) {
  std::string taken;
  while (true) {
    const TicketRange range = tickets.take(round, total, most);
    if (range.count == 0) return taken;
    expect(range.count <= most, "no more than asked for");
    for (uint64_t i = 0; i < range.count; ++i) taken += static_cast<char>(range.first + i);
  }
}

}  // namespace

TEST_CASE("tickets are given once, in order, and begin again with a round", "[control]") {
  TicketCounter tickets;
  CHECK(tickets.take(1, 5, 3).first == 0);
  const TicketRange rest = tickets.take(1, 5, 3);
  CHECK((rest.first == 3 && rest.count == 2));
  CHECK(tickets.take(1, 5, 3).count == 0);
  CHECK(tickets.take(2, 4, UINT64_MAX).count == 4);
  CHECK_THROWS_WITH(tickets.take(1, 5, 1), "tickets of round 1 with 5 in all are asked for in round 2 with 4");
  CHECK_THROWS_AS(tickets.take(2, 5, 1), Fault);
}

TEST_CASE("ranks take tickets through the control channel, each once", "[control]") {
  const auto body = [](Communicator world) {
    Channel channel(world, {});
    expect(channel.complete(), "a complete channel");
    for (uint64_t round = 1; round <= 20; ++round) {
      const uint64_t total = (round * 17) % 100;
      std::string all;
      for (const std::string& part : world.all_gather("taken", take_all(channel, round, total, 1 + round % 4))) all += part;
      std::sort(all.begin(), all.end());
      expect(all.size() == total, "all tickets");
      for (uint64_t i = 0; i < total; ++i) expect(all[i] == static_cast<char>(i), "each once");
    }
    world.barrier("end");
  };
  if (comm::MpiSession::world().size() == 1) test::on_threads(body);
  test::on_mpi(body);
}

TEST_CASE("a rank that asks for tickets of another round gets a Fault and no answer", "[control]") {
  if (comm::MpiSession::world().size() > 1) return;
  comm::run_on_threads(
      2,
      [](Communicator world) {
        ChannelOptions options;
        options.say = [](LogLevel, const std::string&) {};
        options.end = [](double) {};
        options.leave_s = 0.1;
        Channel channel(world, options);
        if (world.rank() == 0) channel.take(2, 8, 1);
        world.barrier("begun");
        if (world.rank() == 1)
          expect(test::contains(test::fault_of([&] { channel.take(1, 8, 1); }), "rank 0 has closed the control channel"), "a Fault");
        world.barrier("end");
      },
      test::impatient());
}

TEST_CASE("a rank that wants tickets after rank 0 has left gives it time to end the job with its own exit code", "[control]") {
  if (comm::MpiSession::world().size() > 1) return;
  comm::run_on_threads(
      2,
      [](Communicator world) {
        ChannelOptions options;
        options.leave_s = 0.7;
        auto channel = std::make_unique<Channel>(world, options);
        if (world.rank() == 0) {
          channel.reset();
        } else {
          const auto start = std::chrono::steady_clock::now();
          std::string fault;
          for (uint64_t round = 1; fault.empty(); ++round) fault = test::fault_of([&] { channel->take(round, 8, 1); });
          expect(test::contains(fault, "rank 0 has closed the control channel"), "a Fault, found " + fault);
          expect(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(700), "a Fault that comes late enough");
        }
        world.barrier("end");
      },
      test::impatient());
}
