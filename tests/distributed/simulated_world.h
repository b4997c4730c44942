#pragma once
/// N ranks as fibers of one thread over a network that a seed makes slow and faulty: every run of a seed is the same, and time is
/// simulated, so that a deadline costs nothing. One fiber runs until it waits for a message; then the next message arrives.

#include <ucontext.h>

#include <algorithm>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "core/base/error.h"
#include "distributed/comm/communicator.h"

namespace cohort::test {

struct NetworkFault {
  enum Kind { kDrop, kDuplicate, kReorder, kCrash } kind;
  int letter;  ///< which letter of the run it strikes; with kCrash its sender is gone at that moment
};

class SimulatedWorld {
 public:
  explicit SimulatedWorld(uint64_t seed, std::vector<NetworkFault> faults) : random_(seed), faults_(std::move(faults)) {}

  /// Runs body on every rank; returns what the first rank that failed said, "" when all came to the end.
  std::string run(int ranks, const std::function<void(comm::Communicator)>& body);

 private:
  struct Letter {
    int from, to, channel;
    comm::Header header;
    std::string payload;
  };
  struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool done = false, waits = false;
  };
  class SimulatedTransport;

  void start(int rank);
  void wait(int rank) {
    fibers_[static_cast<size_t>(rank)]->waits = true;
    swapcontext(&fibers_[static_cast<size_t>(rank)]->context, &scheduler_);
  }
  void send(Letter letter);
  bool deliver();
  std::optional<NetworkFault::Kind> strikes();

  std::mt19937_64 random_;
  std::vector<NetworkFault> faults_;
  int letters_ = 0;
  uint64_t now_ = 0, tie_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, Letter> flying_;           // (time of arrival, order of sending)
  std::map<std::tuple<int, int, int>, uint64_t> last_arrival_;       // a channel keeps its order, unless kReorder strikes
  std::map<std::tuple<int, int, int>, std::deque<Letter>> arrived_;  // (from, to, channel)
  std::vector<std::unique_ptr<Fiber>> fibers_;
  const std::function<void(comm::Communicator)>* body_ = nullptr;
  std::string failure_;
  bool stalled_ = false;
  ucontext_t scheduler_;
  int size_ = 0;
};

class SimulatedWorld::SimulatedTransport final : public comm::Transport {
 public:
  SimulatedTransport(SimulatedWorld& world, int rank) : world_(world), rank_(rank) {}
  int rank() const override { return rank_; }
  int size() const override { return world_.size_; }
  const std::string& host(int) const override { return host_; }

  void transfer(const comm::Call& call, std::span<const comm::Outgoing> outgoing, std::span<comm::Incoming> incoming) override {
    require_whole(call);
    for (const auto& message : outgoing)
      world_.send({rank_, message.peer, channel_of(call), make_header(call, message.payload.size()), std::string(message.payload)});
    std::vector<comm::Incoming*> missing;
    for (auto& message : incoming) missing.push_back(&message);
    while (true) {
      if (!world_.failure_.empty()) fail(call, "lost: " + world_.failure_);
      std::erase_if(missing, [&](comm::Incoming* message) { return take(call, *message); });
      if (missing.empty()) return;
      if (world_.stalled_) fail_stalled(call, {missing.front()->peer});
      world_.wait(rank_);
    }
  }

 private:
  static int channel_of(const comm::Call& call) { return call.group * comm::kChannels + call.channel; }

  bool take(const comm::Call& call, comm::Incoming& message) {
    auto& box = world_.arrived_[{message.peer, rank_, channel_of(call)}];
    if (box.empty()) return false;
    const Letter letter = std::move(box.front());
    box.pop_front();
    accept(call, letter.header, message);
    std::copy(letter.payload.begin(), letter.payload.end(), message.place.begin());
    return true;
  }

  SimulatedWorld& world_;
  int rank_;
  std::string host_ = "simulated";
};

inline std::optional<NetworkFault::Kind> SimulatedWorld::strikes() {
  const int letter = letters_++;
  for (const NetworkFault& f : faults_)
    if (f.letter == letter) return f.kind;
  return std::nullopt;
}

inline void SimulatedWorld::send(Letter letter) {
  const auto fault = strikes();
  if (fault == NetworkFault::kCrash) throw Fault("rank " + std::to_string(letter.from) + " crashed");
  if (fault == NetworkFault::kDrop) return;
  uint64_t& last = last_arrival_[{letter.from, letter.to, letter.channel}];
  const uint64_t delay = random_() % 8 == 0 ? random_() % 1000 : random_() % 20;
  const uint64_t arrival = fault == NetworkFault::kReorder ? now_ + 2000 : std::max(now_ + delay, last);
  if (fault != NetworkFault::kReorder) last = arrival;
  if (fault == NetworkFault::kDuplicate) flying_.insert({{arrival + random_() % 30, tie_++}, letter});
  flying_.insert({{arrival, tie_++}, std::move(letter)});
}

inline bool SimulatedWorld::deliver() {
  if (flying_.empty()) return false;
  auto next = flying_.extract(flying_.begin());
  now_ = std::max(now_, next.key().first);
  Letter& letter = next.mapped();
  fibers_[static_cast<size_t>(letter.to)]->waits = false;
  arrived_[{letter.from, letter.to, letter.channel}].push_back(std::move(letter));
  return true;
}

inline void SimulatedWorld::start(int rank) {
  std::string failure;
  try {
    (*body_)(comm::Communicator(std::make_shared<SimulatedTransport>(*this, rank)));
  } catch (const std::exception& error) {
    failure = error.what();
  }
  if (failure_.empty()) failure_ = failure;
  fibers_[static_cast<size_t>(rank)]->done = true;
}

inline std::string SimulatedWorld::run(int ranks, const std::function<void(comm::Communicator)>& body) {
  size_ = ranks, body_ = &body;
  for (int rank = 0; rank < ranks; ++rank) {
    fibers_.push_back(std::make_unique<Fiber>());
    Fiber& fiber = *fibers_.back();
    fiber.stack.resize(256 << 10);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data(), fiber.context.uc_stack.ss_size = fiber.stack.size();
    fiber.context.uc_link = &scheduler_;
    const auto address = reinterpret_cast<uintptr_t>(this);  // makecontext passes ints only
    makecontext(&fiber.context, reinterpret_cast<void (*)()>(+[](unsigned high, unsigned low, int of) {
      reinterpret_cast<SimulatedWorld*>((static_cast<uintptr_t>(high) << 32) | low)->start(of);
    }),
                3, static_cast<unsigned>(address >> 32), static_cast<unsigned>(address & 0xffffffffU), rank);
  }
  while (true) {
    std::vector<size_t> ready;
    bool all_done = true;
    for (size_t rank = 0; rank < fibers_.size(); ++rank) {
      all_done = all_done && fibers_[rank]->done;
      if (!fibers_[rank]->done && (!fibers_[rank]->waits || stalled_ || !failure_.empty())) ready.push_back(rank);
    }
    if (all_done) return failure_;
    if (!ready.empty()) {
      swapcontext(&scheduler_, &fibers_[ready[random_() % ready.size()]]->context);
    } else if (!deliver()) {
      stalled_ = true;  // everybody waits and nothing is on its way: deadlines pass
    }
  }
}

}  // namespace cohort::test
