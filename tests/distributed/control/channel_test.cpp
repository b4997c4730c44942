#include "distributed/control/channel.h"

#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <mutex>
#include <thread>

#include "distributed/control/invitation.h"
#include "tests/distributed/worlds.h"

using namespace cohort;
using namespace cohort::control;
using comm::Communicator;
using test::expect;

namespace {

void sleep_s(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

/// What the channel of one rank said, and whether it ended its process.
struct Heard {
  std::mutex mutex;
  std::vector<std::pair<LogLevel, std::string>> lines;
  std::atomic<int> ends = 0;

  ChannelOptions options(double timeout_s) {
    ChannelOptions o;
    o.timeout_s = timeout_s, o.grace_s = 0.5;
    o.say = [this](LogLevel level, const std::string& line) {
      const std::lock_guard lock(mutex);
      lines.emplace_back(level, line);
    };
    o.end = [this](double) { ++ends; };
    return o;
  }
  /// Lines about other processes: on a busy machine a channel may also have to say that its own thread did not run.
  int count(LogLevel level, const std::string& part) {
    const std::lock_guard lock(mutex);
    return static_cast<int>(std::count_if(lines.begin(), lines.end(), [&](const auto& line) {
      return line.first == level && test::contains(line.second, part) && !test::contains(line.second, "this process, did not run");
    }));
  }
  static bool await(const std::function<bool()>& condition, double seconds = 15.0) {
    const auto start = std::chrono::steady_clock::now();
    while (!condition()) {
      if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds) return false;
      sleep_s(0.02);
    }
    return true;
  }
};

/// A rank that makes Channel's calls by hand and then does with its connection what it likes.
struct Forged {
  Invitation invitation;
  std::vector<Connection> connections;

  explicit Forged(Communicator& world) {
    invitation = Invitation::from_bytes(world.broadcast("control channel", ""));
    open();
  }
  Connection& open() {
    std::string problem;
    Descriptor socket;
    for (const std::string& address : invitation.targets(invitation.host)) {
      socket = connect_to(address, invitation.port, 5.0, problem);
      if (socket.is_open()) break;
    }
    expect(socket.is_open(), "a connection: " + problem);
    return connections.emplace_back(Connection(std::move(socket)));
  }
  Message make(Kind kind, int rank) const {
    Message m;
    m.token = invitation.token, m.kind = static_cast<uint16_t>(kind), m.rank = static_cast<uint32_t>(rank), m.pid = 4242;
    set_text(m.host, sizeof m.host, "forged");
    set_text(m.doing, sizeof m.doing, "stage x, 5 steps done");
    return m;
  }
  /// Rank 0 has welcomed the newest connection as that of `rank`, and watches it.
  void join(int rank) {
    connections.back().send(make(Kind::kHello, rank));
    expect(Heard::await([&] {
             Message m;
             return connections.back().receive(m) == Connection::Received::kMessage && m.kind == static_cast<uint16_t>(Kind::kWelcome);
           }),
           "a welcome");
    connections.back().send(make(Kind::kBeat, rank));
  }
  /// Whether the other end closes connection `c` within `seconds`.
  static bool closed(Connection& c, double seconds) {
    const auto start = std::chrono::steady_clock::now();
    Message m;
    while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
      if (c.receive(m) == Connection::Received::kClosed) return true;
      sleep_s(0.02);
    }
    return false;
  }
};

/// The last rank is `body`, with a forged connection that has not yet said hello; the others have channels. On three threads, or on the
/// ranks of the job.
void with_forged(const std::function<void(Communicator&, Channel*, Heard&, Forged*)>& body, double timeout_s) {
  const auto run = [&](Communicator world) {
    Heard heard;
    if (world.rank() == world.size() - 1) {
      Forged forged(world);
      world.all_gather("control channel", "");
      body(world, nullptr, heard, &forged);
    } else {
      Channel channel(world, heard.options(timeout_s));
      body(world, &channel, heard, nullptr);
    }
    world.barrier("end");
  };
  if (comm::MpiSession::world().size() == 1) comm::run_on_threads(3, run, test::impatient());
  test::on_mpi(run);
}

}  // namespace

TEST_CASE("ranks that beat and leave in order, not together, raise no alarm", "[control]") {
  const auto body = [](Communicator world) {
    Heard heard;
    {
      const Channel channel(world, heard.options(20.0));
      expect(channel.connected() == (world.size() > 1), "connected");
      sleep_s(0.2 + 0.7 * ((world.rank() + 1) % 3));  // who stays is there for longer than the grace
    }
    world.barrier("end");
    expect(heard.ends == 0, "no end");
    expect(heard.count(LogLevel::kWarn, "") + heard.count(LogLevel::kError, "") == 0, "no alarm");
  };
  body(Communicator::self());
  if (comm::MpiSession::world().size() == 1) comm::run_on_threads(5, body, test::impatient());
  test::on_mpi(body);
}

TEST_CASE("a rank that falls silent is named on every other rank", "[control]") {
  with_forged(
      [](Communicator& world, Channel* channel, Heard& heard, Forged* forged) {
        if (forged) {
          forged->join(world.rank());
        } else {
          expect(channel->connected(), "connected");
          expect(Heard::await([&] { return heard.ends == 1; }), "an end");
          const std::string name = "rank " + std::to_string(world.size() - 1) + " (host forged, pid 4242)";
          expect(heard.count(LogLevel::kError, "lost: " + name + " was last heard ") == 1, "who");
          expect(heard.count(LogLevel::kError, "last known at stage x, 5 steps done") == 1, "what");
        }
        world.barrier("told");
      },
      5.0);
}

TEST_CASE("a connection that closes without a goodbye is a lost rank, after the grace", "[control]") {
  with_forged(
      [](Communicator& world, Channel*, Heard& heard, Forged* forged) {
        if (forged) {
          forged->join(world.rank());
          forged->connections.clear();
        } else {
          expect(Heard::await([&] { return heard.ends == 1; }), "an end before the timeout");
          const std::string name = "rank " + std::to_string(world.size() - 1) + " (host forged, pid 4242)";
          expect(heard.count(LogLevel::kError, "lost: " + name + " closed its connection without a goodbye") == 1, "how");
        }
        world.barrier("told");
      },
      100.0);
}

TEST_CASE("a rank that gives a connection up before its first beat may come again", "[control]") {
  with_forged(
      [](Communicator& world, Channel*, Heard& heard, Forged* forged) {
        if (forged) {
          forged->connections[0].send(forged->make(Kind::kHello, world.rank()));
          sleep_s(0.1);
          forged->connections.clear();
          forged->open();  // is not closed by this rank before rank 0 has the next hello
          forged->connections[0].send(forged->make(Kind::kHello, world.rank()));
          forged->open();
          forged->join(world.rank());
          sleep_s(1.0);  // longer than the grace
          forged->connections.back().send(forged->make(Kind::kGoodbye, world.rank()));
        }
        world.barrier("done");
        expect(heard.ends == 0 && heard.count(LogLevel::kError, "") == 0, "no alarm");
      },
      100.0);
}

TEST_CASE("a goodbye counts when the connection breaks before it is read", "[control]") {
  with_forged(
      [](Communicator& world, Channel*, Heard& heard, Forged* forged) {
        if (forged) {
          forged->connections.clear();
          for (int i = 0; i < 50; ++i) {
            Connection& c = forged->open();
            c.send(forged->make(Kind::kHello, world.rank()));
            for (int beats = 0; beats < 20; ++beats) c.send(forged->make(Kind::kBeat, world.rank()));
            c.send(forged->make(Kind::kGoodbye, world.rank()));
            sleep_s(0.0005 * (i % 4));
            forged->connections.clear();  // with answers unread: a reset
            sleep_s(0.02);
          }
          sleep_s(0.8);  // longer than the grace
        }
        world.barrier("done");
        expect(heard.ends == 0 && heard.count(LogLevel::kError, "") == 0, "no alarm");
      },
      100.0);
}

TEST_CASE("the other ranks notice that rank 0 is lost, and that it was given up", "[control]") {
  if (comm::MpiSession::world().size() > 1) return;
  comm::run_on_threads(
      3,
      [](Communicator world) {
        Heard heard;
        if (world.rank() > 0) {
          const Channel channel(world, heard.options(5.0));
          expect(Heard::await([&] { return heard.ends == 1; }), "an end");
          if (world.rank() == 1)
            expect(heard.count(LogLevel::kError, "lost: rank 0 (host forged, pid 4242) was last heard ") == 1, "who");
          else
            expect(heard.count(LogLevel::kError, "this process, was given up by rank 0 after 30.0 s") == 1, "itself");
        } else {
          Invitation invitation;
          const Descriptor listening = listen_anywhere();
          invitation.token = random_token(), invitation.port = port_of(listening), invitation.host = world.host();
          world.broadcast("control channel", invitation.to_bytes());
          std::vector<Connection> connections;
          while (connections.size() < 2) {
            Descriptor socket(accept4(listening.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (socket.is_open()) connections.emplace_back(Connection(std::move(socket)));
            sleep_s(0.01);
          }
          for (Connection& c : connections) {
            Message m, hello;
            while (c.receive(hello) != Connection::Received::kMessage) sleep_s(0.01);
            m.token = invitation.token, m.kind = static_cast<uint16_t>(Kind::kWelcome), m.pid = 4242;
            set_text(m.host, sizeof m.host, "forged");
            c.send(m);
            m.kind = static_cast<uint16_t>(Kind::kLost), m.rank = 2, m.silent_ms = 30000;
            if (hello.rank == 2) c.send(m);
          }
          world.all_gather("control channel", "");
          world.barrier("end");
          return;
        }
        world.barrier("end");
      },
      test::impatient());
}

TEST_CASE("strangers are dropped: without the token, slow, too many, as another rank", "[control]") {
  with_forged(
      [](Communicator& world, Channel*, Heard& heard, Forged* forged) {
        if (forged) {
          // Strangers that say nothing, more than are let wait, and then a rank: the oldest make room.
          std::vector<Connection> silent;
          while (silent.size() < 19) forged->open(), silent.push_back(std::move(forged->connections[1])), forged->connections.pop_back();
          silent.push_back(std::move(forged->connections[0])), forged->connections.clear();
          forged->open();
          forged->join(world.rank());
          const auto refused = [&](const Message& m) {
            Connection c = std::move(forged->open());
            forged->connections.pop_back();
            c.send(m);
            return Forged::closed(c, 10.0);
          };
          Message wrong = forged->make(Kind::kHello, world.rank());
          wrong.token[0] ^= 1;
          expect(refused(wrong), "a wrong token is refused");
          wrong = forged->make(Kind::kHello, world.rank());
          wrong.version = 7;
          expect(refused(wrong), "another version is refused");
          expect(refused(forged->make(Kind::kHello, world.rank())), "a second connection of a rank is refused");
          expect(refused(forged->make(Kind::kHello, 0)), "another rank 0 is refused");
          expect(std::all_of(silent.begin(), silent.end(), [](Connection& c) { return Forged::closed(c, 10.0); }),
                 "silent ones are closed");
          forged->connections[0].send(forged->make(Kind::kGoodbye, world.rank()));
          world.barrier("done");
        } else {
          world.barrier("done");
          if (world.rank() == 0) {
            expect(heard.count(LogLevel::kDebug, "it does not know the job's token") == 1, "token");
            expect(heard.count(LogLevel::kDebug, "version 7 of the control protocol, expected 1") == 1, "version");
            const int full = heard.count(LogLevel::kDebug, "it makes room for another");
            const int slow = heard.count(LogLevel::kDebug, "it did not say who it is");
            expect(full >= 10 && slow >= 1 && full + slow == 20,
                   "silent strangers, found " + std::to_string(full) + " and " + std::to_string(slow));
          }
          expect(heard.ends == 0, "no end");
        }
      },
      100.0);
}

TEST_CASE("a rank that cannot reach rank 0 is named with the reason, and is not watched", "[control]") {
  if (comm::MpiSession::world().size() > 1) return;
  comm::run_on_threads(
      2,
      [](Communicator world) {
        Heard heard;
        if (world.rank() == 0) {
          const Channel channel(world, heard.options(5.0));
          sleep_s(0.7);  // longer than the grace
          expect(heard.count(LogLevel::kWarn, "rank 1 (host thread) cannot connect to the control channel (10.0.0.1 port 1: refused)") == 1,
                 "a warning");
          expect(heard.ends == 0, "no end");
        } else {
          world.broadcast("control channel", "");
          world.all_gather("control channel", "10.0.0.1 port 1: refused");
        }
        world.barrier("end");
      },
      test::impatient());
  comm::run_on_threads(
      2,
      [](Communicator world) {
        Heard heard;
        if (world.rank() == 0) {
          Invitation invitation;
          invitation.token = random_token(), invitation.host = world.host();
          invitation.port = port_of(listen_anywhere());  // and closed again
          world.broadcast("control channel", invitation.to_bytes());
          expect(test::contains(world.all_gather("control channel", "")[1], "Connection refused"), "the reason");
        } else {
          ChannelOptions options = heard.options(5.0);
          options.connect_s = 0.3;
          const Channel channel(world, options);
          expect(!channel.connected(), "not connected");
        }
        world.barrier("end");
      },
      test::impatient());
}
