#include "distributed/comm/mpi_transport.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

#include "core/base/error.h"
#include "distributed/comm/back_off.h"

namespace cohort::comm {
namespace {

// MPI counts in int, so payloads go in pieces; small enough that a large payload shows progress long before the deadline.
constexpr uint64_t kChunkBytes = uint64_t{64} << 20;

std::string error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return fmt::format("error {}", code);
  return std::string(text.data(), static_cast<size_t>(length));
}

}  // namespace

MpiTransport::MpiTransport(MPI_Comm parent, const CommOptions& given) {
  options() = given;
  if (MPI_Comm_dup(parent, &comm_) != MPI_SUCCESS) throw Fault("MPI_Comm_dup failed");
  MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN);
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
  void* last_tag = nullptr;
  int known = 0;
  MPI_Comm_get_attr(comm_, MPI_TAG_UB, static_cast<void*>(&last_tag), &known);
  last_tag_ = known != 0 ? *static_cast<int*>(last_tag) : kChannels;
  std::array<char, MPI_MAX_PROCESSOR_NAME> mine{};
  int length = 0;
  MPI_Get_processor_name(mine.data(), &length);
  mine.back() = '\0';
  std::vector<char> all(mine.size() * static_cast<size_t>(size_));
  const int bytes = static_cast<int>(mine.size());
  const int code = MPI_Allgather(mine.data(), bytes, MPI_CHAR, all.data(), bytes, MPI_CHAR, comm_);
  if (code != MPI_SUCCESS) throw Fault("exchange of host names: " + error_text(code));
  for (int r = 0; r < size_; ++r) hosts_.emplace_back(all.data() + mine.size() * static_cast<size_t>(r));
  if (options().shared_memory && size_ > 1) shared_ = MpiSharedWindow::open(comm_);
}

MpiTransport::~MpiTransport() {
  shared_.reset();
  int finalized = 0;
  MPI_Finalized(&finalized);
  if (finalized == 0) MPI_Comm_free(&comm_);
}

void MpiTransport::transfer(const Call& call, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) {
  using Clock = std::chrono::steady_clock;
  require_whole(call);
  if (shared_ && call.channel == 0 && call.group == 0) shared_->announce(make_header(call, 0));
  Flight flight;
  try {
    start(call, flight, outgoing, incoming);
    auto last_move = Clock::now();
    bool open = true;
    for (int idle = 0; open; ++idle) {
      if (progress(call, flight, outgoing.size(), incoming, open)) {
        last_move = Clock::now();
        idle = 0;
      } else if (open && std::chrono::duration<double>(Clock::now() - last_move).count() > options().deadline_s) {
        std::vector<int> peers;
        for (size_t i = 0; i < flight.requests.size(); ++i) {
          if (flight.requests[i] != MPI_REQUEST_NULL) peers.push_back(flight.peers[i]);
        }
        fail_stalled(call, peers);
      }
      if (open) back_off(idle);
    }
  } catch (...) {
    abandon(flight);
    throw;
  }
}

bool MpiTransport::sum(const Call& call, std::span<float> values) {
  if (!shared_) return false;
  require_whole(call);
  const Header header = make_header(call, values.size_bytes());
  const auto problem = shared_->sum(header, values, options().deadline_s);
  if (!problem) return true;
  if (!problem->missing.empty()) fail_stalled(call, problem->missing);
  fail(call, problem->what);
}

void MpiTransport::adopt(const std::shared_ptr<SharedBlock>& block, uint64_t number) { shared_->adopt(block, number); }

void MpiTransport::start(const Call& call, Flight& flight, std::span<const Outgoing> outgoing, std::span<Incoming> incoming) {
  flight.tag = tag_of(call);
  flight.headers.reserve(outgoing.size() + incoming.size());
  for (const Outgoing& message : outgoing) flight.headers.push_back(make_header(call, message.payload.size()));
  flight.headers.resize(outgoing.size() + incoming.size());
  const auto open = [&](int peer, size_t header_for) {
    flight.peers.push_back(peer);
    flight.incoming.push_back(header_for);
    flight.expected.push_back(header_for == kNoHeader ? -1 : static_cast<int>(sizeof(Header)));
    flight.requests.push_back(MPI_REQUEST_NULL);
    return &flight.requests.back();
  };
  for (size_t i = 0; i < incoming.size(); ++i) {
    MPI_Request* request = open(incoming[i].peer, i);
    check(call, MPI_Irecv(&flight.headers[outgoing.size() + i], sizeof(Header), MPI_BYTE, incoming[i].peer, flight.tag, comm_, request),
          "MPI_Irecv");
  }
  for (size_t i = 0; i < outgoing.size(); ++i) {
    const Outgoing& message = outgoing[i];
    MPI_Request* request = open(message.peer, kNoHeader);
    check(call, MPI_Isend(&flight.headers[i], sizeof(Header), MPI_BYTE, message.peer, flight.tag, comm_, request), "MPI_Isend");
    // MPI-3 takes const buffers for sending; the pointer is shared with receiving, which writes.
    post_chunks(call, flight, message.peer, const_cast<char*>(message.payload.data()), message.payload.size(), true);
  }
}

void MpiTransport::post_chunks(const Call& call, Flight& flight, int peer, char* data, uint64_t bytes, bool sending) {
  for (uint64_t done = 0; done < bytes; done += kChunkBytes) {
    const int length = static_cast<int>(std::min(kChunkBytes, bytes - done));
    flight.peers.push_back(peer);
    flight.incoming.push_back(kNoHeader);
    flight.expected.push_back(sending ? -1 : length);
    MPI_Request* request = &flight.requests.emplace_back(MPI_REQUEST_NULL);
    if (sending) {
      check(call, MPI_Isend(data + done, length, MPI_BYTE, peer, flight.tag, comm_, request), "MPI_Isend");
    } else {
      check(call, MPI_Irecv(data + done, length, MPI_BYTE, peer, flight.tag, comm_, request), "MPI_Irecv");
    }
  }
}

bool MpiTransport::progress(const Call& call, Flight& flight, size_t outgoing_count, std::span<Incoming> incoming, bool& open) {
  const int count = static_cast<int>(flight.requests.size());
  std::vector<int> done(static_cast<size_t>(count));
  std::vector<MPI_Status> statuses(static_cast<size_t>(count));
  int done_count = 0;
  const int code = MPI_Testsome(count, flight.requests.data(), &done_count, done.data(), statuses.data());
  open = done_count != MPI_UNDEFINED;
  if (!open) return false;
  for (size_t i = 0; i < static_cast<size_t>(done_count); ++i) {
    const auto index = static_cast<size_t>(done[i]);
    if (code != MPI_SUCCESS) {
      check(call, statuses[i].MPI_ERROR, ("message of " + name_of(flight.peers[index])).c_str());
    }
    const size_t message = flight.incoming[index];
    if (flight.expected[index] < 0) continue;
    int bytes = 0;
    MPI_Get_count(&statuses[i], MPI_BYTE, &bytes);
    if (bytes != flight.expected[index])
      fail(call, fmt::format("{} sent {} bytes where its {} has {}", name_of(flight.peers[index]), bytes,
                             message == kNoHeader ? "message's next part" : "header", flight.expected[index]));
    if (message == kNoHeader) continue;
    accept(call, flight.headers[outgoing_count + message], incoming[message]);
    const std::span<char> place = incoming[message].place;
    post_chunks(call, flight, incoming[message].peer, place.data(), place.size(), false);
  }
  if (code != MPI_SUCCESS) check(call, code, "MPI_Testsome");
  return done_count > 0;
}

int MpiTransport::tag_of(const Call& call) {
  const int64_t tag = int64_t{call.group} * kChannels + call.channel;
  if (tag > last_tag_) fail(call, fmt::format("tag {} is beyond the {} of this MPI: too many groups were made", tag, last_tag_));
  return static_cast<int>(tag);
}

void MpiTransport::check(const Call& call, int code, const char* function) {
  if (code != MPI_SUCCESS) fail(call, fmt::format("{}: {}", function, error_text(code)));
}

void MpiTransport::abandon(Flight& flight) {
  for (MPI_Request& request : flight.requests) {
    if (request == MPI_REQUEST_NULL) continue;
    MPI_Cancel(&request);  // works for a receive nobody has answered; Open MPI ignores it for a send
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done == 0) MPI_Request_free(&request);
  }
}

}  // namespace cohort::comm
