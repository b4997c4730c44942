#include "distributed/comm/thread_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <tuple>

#include "core/base/error.h"

namespace cohort::comm {
namespace {

struct Letter {
  Header header;
  std::string payload;
};

/// What the threads share. Everything below `mutex` is read and written with it held.
struct Post {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::tuple<int, int, int, int>, std::deque<Letter>> boxes;  // (from, to, group, channel) → letters in order
  std::string lost;                                                    // what the first rank that threw said
  std::exception_ptr first_error;
};

class ThreadTransport final : public Transport {
 public:
  ThreadTransport(std::shared_ptr<Post> post, int rank, int size, const CommOptions& given)
      : post_(std::move(post)), rank_(rank), size_(size) {
    options() = given;
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& host(int) const override { return host_; }

  void transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) override {
    require_whole(call);
    std::unique_lock lock(post_->mutex);
    for (const Outgoing& message : outgoing) {
      post_->boxes[{rank_, message.peer, call.group, call.channel}].push_back(
          {make_header(call, message.payload.size()), std::string(message.payload)});
    }
    post_->changed.notify_all();
    std::vector<Incoming*> missing;
    for (Incoming& message : incoming) missing.push_back(&message);
    while (!missing.empty()) {
      const std::chrono::duration<double> deadline(options().deadline_s);
      const auto limit = std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(deadline);
      if (!post_->changed.wait_until(lock, limit, [&] { return !post_->lost.empty() || take(call, missing); })) {
        std::vector<int> peers;
        for (const Incoming* message : missing) peers.push_back(message->peer);
        fail_stalled(call, peers);
      }
      if (!post_->lost.empty()) fail(call, post_->lost);
    }
  }

 private:
  /// Takes out what has arrived of `missing`; whether there was anything.
  bool take(const Call& call, std::vector<Incoming*>& missing) {
    const size_t before = missing.size();
    std::erase_if(missing, [&](Incoming* message) {
      auto& box = post_->boxes[{message->peer, rank_, call.group, call.channel}];
      if (box.empty()) return false;
      accept(call, box.front().header, *message);
      std::copy(box.front().payload.begin(), box.front().payload.end(), message->place.begin());
      box.pop_front();
      return true;
    });
    return missing.size() != before;
  }

  std::shared_ptr<Post> post_;
  int rank_;
  int size_;
  std::string host_ = "thread";
};

/// Called from a catch block: tells the other ranks and keeps the first error.
void report_loss(Post& post, int rank, const char* what) {
  const std::lock_guard lock(post.mutex);
  if (post.first_error != nullptr) return;
  post.first_error = std::current_exception();
  post.lost = fmt::format("rank {} was lost: {}", rank, what);
  post.changed.notify_all();
}

void run_rank(const std::shared_ptr<Post>& post, int rank, int size, const CommOptions& options,
              const std::function<void(Communicator)>& body) {
  try {
    body(Communicator(std::make_shared<ThreadTransport>(post, rank, size, options)));
  } catch (const std::exception& error) {
    report_loss(*post, rank, error.what());
  } catch (...) {
    report_loss(*post, rank, "unknown error");
  }
}

}  // namespace

void run_on_threads(int ranks, const std::function<void(Communicator)>& body, const CommOptions& options) {
  if (ranks < 1) throw Fault(fmt::format("{} ranks cannot be run on threads", ranks));
  const auto post = std::make_shared<Post>();
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank) threads.emplace_back([&, rank] { run_rank(post, rank, ranks, options, body); });
  for (std::thread& thread : threads) thread.join();
  if (post->first_error != nullptr) std::rethrow_exception(post->first_error);
}

}  // namespace cohort::comm
