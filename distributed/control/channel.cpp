#include "distributed/control/channel.h"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/activity.h"
#include "core/base/error.h"
#include "core/base/text_util.h"
#include "distributed/control/invitation.h"
#include "distributed/control/pulse.h"

namespace cohort::control {
namespace {

constexpr double kFarewell_s = 1.0;       // for the others to read a goodbye
constexpr size_t kMostStrangers = 8;      // at a time, beside the ranks
constexpr double kLingerVerdict_s = 1.0;  // rank 0 has told the others in the same moment
constexpr double kLingerAlone_s = 3.0;    // each finds out for itself that rank 0 is lost: a beat or two apart

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

[[noreturn]] void end_process(double linger_s) {
  std::this_thread::sleep_for(std::chrono::duration<double>(linger_s));
  _exit(kExitFault);  // no destructors: the main thread uses what they would destroy
}

}  // namespace

double AwakeClock::monotonic() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

double AwakeClock::now() {
  const double real = monotonic(), gap = real - std::exchange(last_, real);
  longest_gap_ = std::max(longest_gap_, gap);
  return awake_ += std::min(gap, 1.0);
}

double AwakeClock::take_longest_gap() { return std::exchange(longest_gap_, 0.0); }

/// The thread of one rank.
class Loop {
 public:
  Loop(ChannelOptions options, const Token& token, int rank, int ranks, std::string host)
      : options_(std::move(options)),
        token_(token),
        rank_(rank),
        ranks_(ranks),
        host_(std::move(host)),
        wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
        pulse_(options_.timeout_s, options_.grace_s) {
    if (!wake_.is_open()) throw Fault("eventfd failed");
    if (!options_.end) options_.end = end_process;
  }
  virtual ~Loop() = default;

  void start() {
    clock_.now(), clock_.take_longest_gap();  // the thread does not exist before
    sigset_t all, before;                     // signals are for the main thread
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  /// Called by the main thread.
  virtual TicketRange take(uint64_t round, uint64_t total, uint64_t most) = 0;

  /// Before the destructor of what is derived.
  void stop() {
    stopping_ = true;
    wake();
    if (thread_.joinable()) thread_.join();
  }

 protected:
  void wake() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
  }

  virtual void collect(std::vector<pollfd>& fds) = 0;
  virtual void ready(const std::vector<pollfd>& fds) = 0;  // as collected, with what has happened
  virtual void tick() = 0;
  virtual void farewell() = 0;

  Message make(Kind kind) const {
    Message m;
    m.token = token_;
    m.kind = static_cast<uint16_t>(kind);
    m.rank = static_cast<uint32_t>(rank_), m.pid = static_cast<uint32_t>(getpid());
    set_text(m.host, sizeof m.host, host_);
    set_text(m.doing, sizeof m.doing, activity());
    return m;
  }

  /// Says goodbye and waits until the others have read it and closed: a socket that is closed with something unread in it takes back what
  /// it has sent.
  void part(std::vector<Connection*> connections) {
    for (Connection* c : connections) c->send(make(Kind::kGoodbye));
    const auto start = Clock::now();
    while (true) {
      std::erase_if(connections, [](Connection* c) { return !c->part(); });
      if (connections.empty() || seconds_since(start) > kFarewell_s) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  double beat_s() const { return std::min(2.0, options_.timeout_s / 5); }

  void finish(double linger_s) {
    stopping_ = true;
    options_.end(linger_s);
  }

  ChannelOptions options_;
  Token token_;
  int rank_, ranks_;
  std::string host_;
  Descriptor wake_;
  Pulse pulse_;
  AwakeClock clock_;
  double now_ = 0.0;
  std::atomic<bool> stopping_ = false;

 private:
  void run() {
    try {
      while (!stopping_) {
        std::vector<pollfd> fds = {{wake_.get(), POLLIN, 0}};
        collect(fds);
        poll(fds.data(), fds.size(), static_cast<int>(std::min(0.25, beat_s() / 4) * 1000));
        now_ = clock_.now();
        uint64_t count = 0;
        if (fds[0].revents != 0 && read(wake_.get(), &count, sizeof count) < 0) count = 0;  // read only to empty it
        ready(fds);
        if (const double gap = clock_.take_longest_gap(); gap >= options_.timeout_s / 2)
          options_.say(LogLevel::kWarn, fmt::format("straggler: rank {} (host {}, pid {}), this process, did not run for {:.1f} s", rank_,
                                                    host_, getpid(), gap));
        if (!stopping_) tick();
      }
      farewell();
    } catch (const std::exception& error) {
      options_.say(LogLevel::kError, fmt::format("control channel of rank {}: {}", rank_, error.what()));
      finish(0.0);
    }
  }

  std::thread thread_;
};

namespace {

/// Rank 0's end.
class Server final : public Loop {
 public:
  Server(ChannelOptions options, const Token& token, int ranks, std::string host)
      : Loop(std::move(options), token, 0, ranks, std::move(host)), listening_(listen_anywhere()) {}

  uint16_t port() const { return port_of(listening_); }

  TicketRange take(uint64_t round, uint64_t total, uint64_t most) override { return tickets_.take(round, total, most); }

 private:
  struct Guest {
    Connection connection;
    double since;
    int rank = -1;         // a stranger's
    bool watched = false;  // from the first beat on: before, the rank may give this connection up and try another
    bool gone = false;
  };

  void collect(std::vector<pollfd>& fds) override {
    fds.push_back({listening_.get(), POLLIN, 0});
    for (const Guest& g : guests_)
      fds.push_back({g.connection.fd(), static_cast<short>(POLLIN | (g.connection.waits_to_send() ? POLLOUT : 0)), 0});
  }

  void ready(const std::vector<pollfd>& fds) override {
    for (size_t i = 0; i < guests_.size(); ++i) {
      const short events = fds[i + 2].revents;
      if ((events & POLLOUT) != 0 && !guests_[i].connection.flush()) give_up(guests_[i]);
      if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) listen_to(guests_[i]);
    }
    if ((fds[1].revents & POLLIN) != 0) accept_guest();
  }

  void tick() override {
    for (Guest& g : guests_)
      if (g.rank < 0 && now_ - g.since > options_.hello_s) drop(g, "it did not say who it is");
    std::erase_if(guests_, [](const Guest& g) { return g.gone; });
    bool lost = false;
    for (const Finding& finding : pulse_.look(now_)) {
      const bool end = finding.what == Finding::What::kLost;
      options_.say(end ? LogLevel::kError : LogLevel::kWarn, finding.words());
      if (end) announce(finding);
      lost = lost || end;
    }
    if (lost) finish(kLingerVerdict_s);
  }

  void farewell() override {
    std::vector<Connection*> ranks;
    for (Guest& g : guests_)
      if (g.rank >= 0) ranks.push_back(&g.connection);
    part(std::move(ranks));
  }

  void accept_guest() {
    Descriptor socket(accept4(listening_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!socket.is_open()) return;
    std::erase_if(guests_, [](const Guest& g) { return g.gone; });
    // Every rank that is still to come may be among the strangers, and is likely to be the newest: it speaks at once.
    if (guests_.size() >= kMostStrangers + static_cast<size_t>(ranks_) - 1) {
      const auto oldest = std::find_if(guests_.begin(), guests_.end(), [](const Guest& g) { return g.rank < 0; });
      if (oldest == guests_.end()) return;
      drop(*oldest, "it makes room for another");
      guests_.erase(oldest);
    }
    guests_.push_back({Connection(std::move(socket)), now_});
  }

  void drop(Guest& g, const std::string& why) {
    if (!why.empty()) options_.say(LogLevel::kDebug, "control channel: a connection was dropped: " + why);
    if (g.watched) pulse_.closed(g.rank, now_);
    g.gone = true;
  }

  /// After a send that failed: a goodbye may have arrived before the connection broke.
  void give_up(Guest& g) {
    Message m;
    while (g.connection.receive(m) == Connection::Received::kMessage && problem_of(m, token_, ranks_).empty())
      if (static_cast<Kind>(m.kind) == Kind::kGoodbye && static_cast<int>(m.rank) == g.rank) pulse_.left(g.rank);
    drop(g, "");
  }

  void listen_to(Guest& g) {
    Message m;
    while (!g.gone) {
      const auto received = g.connection.receive(m);
      if (received == Connection::Received::kNothing) return;
      if (received == Connection::Received::kClosed) return drop(g, "");
      const std::string problem = problem_of(m, token_, ranks_);
      if (!problem.empty()) return drop(g, problem);
      if (g.rank < 0)
        welcome(g, m);
      else
        answer(g, m);
    }
  }

  void welcome(Guest& g, const Message& m) {
    const int rank = static_cast<int>(m.rank);
    const bool taken = std::any_of(guests_.begin(), guests_.end(), [&](const Guest& o) { return o.rank == rank && o.watched && !o.gone; });
    if (static_cast<Kind>(m.kind) != Kind::kHello || rank == 0 || taken) return drop(g, fmt::format("it came as rank {}", rank));
    for (Guest& other : guests_)
      if (other.rank == rank && !other.gone) drop(other, fmt::format("rank {} came again", rank));
    g.rank = rank;
    if (!g.connection.send(make(Kind::kWelcome))) give_up(g);
  }

  void answer(Guest& g, const Message& m) {
    if (static_cast<int>(m.rank) != g.rank) return drop(g, fmt::format("rank {} came as rank {}", g.rank, m.rank));
    if (static_cast<Kind>(m.kind) == Kind::kGoodbye) {
      pulse_.left(g.rank);
      return drop(g, "");
    }
    if (static_cast<Kind>(m.kind) == Kind::kTake) return deal(g, m);
    if (static_cast<Kind>(m.kind) != Kind::kBeat) return drop(g, fmt::format("rank {} sent what only rank 0 sends", g.rank));
    if (g.watched)
      pulse_.heard(g.rank, m.doing, now_);
    else
      pulse_.joined({g.rank, m.host, m.pid, m.doing}, now_), g.watched = true;
    if (!g.connection.send(make(Kind::kAnswer))) give_up(g);
  }

  void deal(Guest& g, const Message& asked) {
    Message m = make(Kind::kDealt);
    try {
      const TicketRange range = tickets_.take(asked.round, asked.total, asked.count);
      m.round = asked.round, m.total = asked.total, m.first = range.first, m.count = range.count;
    } catch (const Fault& fault) {
      options_.say(LogLevel::kError, fmt::format("control channel: rank {}: {}", g.rank, fault.what()));
      return drop(g, "");
    }
    if (!g.connection.send(m)) give_up(g);
  }

  void announce(const Finding& finding) {
    Message m = make(Kind::kLost);
    m.rank = static_cast<uint32_t>(finding.peer.rank), m.pid = finding.peer.pid;
    m.silent_ms = static_cast<uint32_t>(finding.silent_s * 1000), m.closed = finding.closed ? 1 : 0;
    set_text(m.host, sizeof m.host, finding.peer.host);
    set_text(m.doing, sizeof m.doing, finding.peer.doing);
    for (Guest& g : guests_)
      if (g.rank >= 0) g.connection.send(m);
  }

  Descriptor listening_;
  std::vector<Guest> guests_;
  TicketCounter tickets_;
};

/// The other ranks' end.
class Client final : public Loop {
 public:
  Client(ChannelOptions options, const Invitation& invitation, int rank, int ranks, std::string host)
      : Loop(std::move(options), invitation.token, rank, ranks, std::move(host)) {}

  /// "" or why rank 0 cannot be reached.
  std::string connect(const Invitation& invitation) {
    const std::vector<std::string> targets = invitation.targets(host_);
    if (targets.empty()) return "rank 0 has no network address";
    std::map<std::string, std::string> last;  // problem of each address
    const auto start = Clock::now();
    for (size_t i = 0;; ++i) {
      const double left = options_.connect_s - seconds_since(start);
      if (left <= 0.0) break;
      const std::string& address = targets[i % targets.size()];
      Descriptor socket = connect_to(address, invitation.port, std::min(left, options_.hello_s), last[address]);
      if (socket.is_open() && shake_hands(Connection(std::move(socket)), last[address])) return "";
      if ((i + 1) % targets.size() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    std::vector<std::string> problems;
    for (const auto& [address, problem] : last) problems.push_back(fmt::format("{} port {}: {}", address, invitation.port, problem));
    return join(problems, "; ");
  }

  TicketRange take(uint64_t round, uint64_t total, uint64_t most) override {
    std::unique_lock lock(mutex_);
    Message m = make(Kind::kTake);
    m.round = round, m.total = total, m.count = most;
    asked_ = m, answer_.reset();
    wake();
    answered_.wait(lock, [&] { return answer_ || closed_; });
    if (!answer_) {
      lock.unlock();
      // Whoever ends the job after rank 0 left or died does it with the right exit code. This rank's Fault would replace it.
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.leave_s));
      throw Fault(fmt::format("rank {}: tickets of round {}: rank 0 has closed the control channel", rank_, round));
    }
    const bool right = answer_->round == round && answer_->total == total && answer_->count <= most && answer_->first <= total &&
                       answer_->count <= total - answer_->first;
    if (!right) throw Fault(fmt::format("rank {}: rank 0 answered with other tickets than those of round {}", rank_, round));
    return {answer_->first, answer_->count};
  }

 private:
  bool shake_hands(Connection connection, std::string& problem) {
    problem = "no answer";
    if (!connection.send(make(Kind::kHello))) return false;
    const auto start = Clock::now();
    Message m;
    while (seconds_since(start) < options_.hello_s) {
      pollfd waiting{connection.fd(), POLLIN, 0};
      poll(&waiting, 1, 100);
      const auto received = connection.receive(m);
      if (received == Connection::Received::kClosed) return problem = "the connection was closed", false;
      if (received == Connection::Received::kNothing) continue;
      problem = problem_of(m, token_, ranks_);
      if (problem.empty() && (static_cast<Kind>(m.kind) != Kind::kWelcome || m.rank != 0)) problem = "it is not rank 0";
      if (!problem.empty()) return false;
      pulse_.joined({0, m.host, m.pid, m.doing}, now_);
      connection_.push_back(std::move(connection));
      return true;
    }
    return false;
  }

  void collect(std::vector<pollfd>& fds) override {
    for (const Connection& c : connection_) fds.push_back({c.fd(), static_cast<short>(POLLIN | (c.waits_to_send() ? POLLOUT : 0)), 0});
  }

  void ready(const std::vector<pollfd>& fds) override {
    ask();
    if (connection_.empty() || fds.size() < 2 || fds[1].revents == 0) return;
    if ((fds[1].revents & POLLOUT) != 0 && !connection_[0].flush()) return give_up();
    listen();
  }

  void listen() {
    Message m;
    while (!connection_.empty()) {
      const auto received = connection_[0].receive(m);
      if (received == Connection::Received::kNothing) return;
      if (received == Connection::Received::kClosed || !problem_of(m, token_, ranks_).empty()) return hang_up();
      obey(m);
    }
  }

  /// Passes on what the main thread asks for.
  void ask() {
    std::unique_lock lock(mutex_);
    const std::optional<Message> m = std::exchange(asked_, std::nullopt);
    lock.unlock();
    if (m && !connection_.empty() && !connection_[0].send(*m)) give_up();
  }

  void obey(const Message& m) {
    switch (static_cast<Kind>(m.kind)) {
      case Kind::kAnswer:
        return pulse_.heard(0, m.doing, now_);
      case Kind::kDealt: {
        const std::lock_guard lock(mutex_);
        answer_ = m;
        return answered_.notify_all();
      }
      case Kind::kGoodbye:
        pulse_.left(0);
        return hang_up();
      case Kind::kLost:
        options_.say(LogLevel::kError, words_of(m));
        hang_up();
        return finish(kLingerVerdict_s);
      default:
        return hang_up();
    }
  }

  std::string words_of(const Message& m) const {
    const Finding finding{Finding::What::kLost, {static_cast<int>(m.rank), m.host, m.pid, m.doing}, m.silent_ms / 1000.0, m.closed != 0};
    if (static_cast<int>(m.rank) != rank_) return finding.words();
    return fmt::format("rank {} (host {}, pid {}), this process, was given up by rank 0 after {:.1f} s of silence", rank_, host_, getpid(),
                       finding.silent_s);
  }

  void tick() override {
    if (now_ - beat_at_ >= beat_s() && !connection_.empty()) {
      beat_at_ = now_;
      if (!connection_[0].send(make(Kind::kBeat))) give_up();
    }
    for (const Finding& finding : pulse_.look(now_)) {
      const bool end = finding.what == Finding::What::kLost;
      options_.say(end ? LogLevel::kError : LogLevel::kWarn, finding.words());
      if (end) finish(kLingerAlone_s);
    }
  }

  void farewell() override {
    std::vector<Connection*> all;
    for (Connection& c : connection_) all.push_back(&c);
    part(std::move(all));
  }

  /// After a send that failed: a goodbye or a verdict may have arrived before the connection broke.
  void give_up() {
    listen();
    hang_up();
  }

  void hang_up() {
    connection_.clear();
    pulse_.closed(0, now_);
    const std::lock_guard lock(mutex_);
    closed_ = true;
    answered_.notify_all();
  }

  std::vector<Connection> connection_;  // one, or none after it was closed
  double beat_at_ = -1e9;

  std::mutex mutex_;  // of what main thread and channel's thread share
  std::condition_variable answered_;
  std::optional<Message> asked_, answer_;
  bool closed_ = false;
};

}  // namespace

Channel::Channel(comm::Communicator& world, ChannelOptions options) {
  if (world.size() == 1) return;
  Invitation invitation;
  if (world.rank() == 0) {
    invitation.token = random_token();
    std::unique_ptr<Server, Stop> server(new Server(options, invitation.token, world.size(), world.host()));
    invitation.port = server->port(), invitation.host = world.host(), invitation.addresses = own_addresses();
    loop_ = std::move(server);
    loop_->start();
  }
  const std::string bytes = world.broadcast("control channel", world.rank() == 0 ? invitation.to_bytes() : "");
  std::string problem;
  if (world.rank() != 0) {
    invitation = Invitation::from_bytes(bytes);
    std::unique_ptr<Client, Stop> client(new Client(options, invitation, world.rank(), world.size(), world.host()));
    problem = client->connect(invitation);
    if (problem.empty()) loop_ = std::move(client), loop_->start();
  }
  const auto problems = world.all_gather("control channel", problem);
  complete_ = std::all_of(problems.begin(), problems.end(), [](const std::string& p) { return p.empty(); });
  for (size_t rank = 1; rank < problems.size() && world.rank() == 0; ++rank)
    if (!problems[rank].empty())
      options.say(LogLevel::kWarn, fmt::format("rank {} (host {}) cannot connect to the control channel ({}): if it stops, only "
                                               "cluster.deadline_s notices",
                                               rank, world.host(static_cast<int>(rank)), problems[rank]));
}

TicketRange Channel::take(uint64_t round, uint64_t total, uint64_t most) {
  if (!loop_) throw Fault("tickets are asked for, and there is no control channel");
  return loop_->take(round, total, most);
}

void Channel::Stop::operator()(Loop* loop) const {
  loop->stop();
  delete loop;
}

}  // namespace cohort::control
