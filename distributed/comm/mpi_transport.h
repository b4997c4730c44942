#pragma once
/// Transport over MPI in host memory. Compiled only with MPI.
///
/// Only non-blocking point-to-point calls, polled: a blocking MPI call never returns when its partner is gone (Open MPI 4.1 has no fault
/// tolerance), a poll can look at the clock. Polling spins for a moment, then yields, then sleeps up to half a millisecond, so that ranks
/// which share a core do not take it from the one they wait for.

#include <mpi.h>

#include "distributed/comm/mpi_shared_window.h"
#include "distributed/comm/transport.h"

namespace cohort::comm {

class MpiTransport final : public Transport {
 public:
  /// All ranks of `parent`, in a message space of their own. Collective over parent, without a deadline: done at the start of a job.
  MpiTransport(MPI_Comm parent, const CommOptions& options);
  ~MpiTransport() override;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const std::string& host(int rank) const override { return hosts_.at(static_cast<size_t>(rank)); }
  void transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) override;
  bool sum(const Call& call, std::span<float> values) override;
  bool shares_memory() const override { return shared_ != nullptr; }
  void adopt(const std::shared_ptr<SharedBlock>& block, uint64_t number) override;

 private:
  /// The requests of one transfer. An entry of `requests` is MPI_REQUEST_NULL once it is done.
  struct Flight {
    int tag = 0;
    std::vector<MPI_Request> requests;
    std::vector<int> peers;        // of each request
    std::vector<size_t> incoming;  // which incoming message's header a request receives, or kNoHeader
    std::vector<int> expected;     // bytes that a request must receive; -1: it sends
    std::vector<Header> headers;   // of outgoing, then of incoming; never resized while requests are open
  };
  static constexpr size_t kNoHeader = SIZE_MAX;

  void start(const Call& call, Flight& flight, std::span<const Outgoing> outgoing, std::span<Incoming> incoming);
  /// What has finished since the last call; whether there was anything. `open` is set to whether requests are left.
  bool progress(const Call& call, Flight& flight, size_t outgoing_count, std::span<Incoming> incoming, bool& open);
  void post_chunks(const Call& call, Flight& flight, int peer, char* data, uint64_t bytes, bool sending);
  int tag_of(const Call& call);
  void check(const Call& call, int code, const char* function);
  /// Takes back what can be taken back. A payload that is on its way may still arrive: after a Fault the process must end.
  static void abandon(Flight& flight);

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  int last_tag_ = 0;
  std::vector<std::string> hosts_;
  std::unique_ptr<MpiSharedWindow> shared_;  // null: ranks on several hosts, or switched off
};

}  // namespace cohort::comm
