// Messages of a rank that does not keep the protocol: rank 0 has a transport, rank 1 makes its constructor's calls by hand and then sends
// what it likes. Needs mpirun -n 2 or more; other ranks look on.
#include <mpi.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstring>
#include <string>

#include "distributed/comm/mpi_transport.h"
#include "tests/distributed/worlds.h"
#include "tests/support/ranks.h"

namespace cohort::comm {
namespace {

using test::contains;

/// Rank 1's side: the same collective calls as MpiTransport's constructor, without shared memory.
MPI_Comm forged_comm(MPI_Comm pair) {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm_dup(pair, &comm);
  std::array<char, MPI_MAX_PROCESSOR_NAME> name{"forged"};
  std::array<char, 2 * MPI_MAX_PROCESSOR_NAME> all{};
  MPI_Allgather(name.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR, all.data(), MPI_MAX_PROCESSOR_NAME, MPI_CHAR, comm);
  return comm;
}

void send_bytes(MPI_Comm comm, const void* data, size_t bytes) { MPI_Send(data, static_cast<int>(bytes), MPI_BYTE, 0, 0, comm); }

Header gather_header(uint64_t bytes) {
  Header header;
  header.operation = static_cast<uint32_t>(Operation::kAllGather);
  header.sequence = 1, header.bytes = bytes;
  std::strcpy(header.label, "metrics");
  return header;
}

/// The message of the Fault that rank 0 gets in all_gather("metrics") from what `forge` sends. "" on the other ranks.
std::string fault_after(const std::function<void(MPI_Comm)>& forge) {
  MPI_Comm pair = MPI_COMM_NULL;
  MPI_Comm_split(MPI_COMM_WORLD, test::rank() < 2 ? 0 : 1, test::rank(), &pair);
  std::string fault;
  if (test::rank() == 0) {
    Communicator world(std::make_shared<MpiTransport>(pair, CommOptions{.deadline_s = 5.0, .shared_memory = false}));
    fault = test::fault_of([&] { world.all_gather("metrics", "mine"); });
  } else if (test::rank() == 1) {
    const MPI_Comm comm = forged_comm(pair);
    std::array<char, 256> theirs{};  // rank 0's header and payload
    MPI_Recv(theirs.data(), 256, MPI_BYTE, 0, 0, comm, MPI_STATUS_IGNORE);
    MPI_Recv(theirs.data(), 256, MPI_BYTE, 0, 0, comm, MPI_STATUS_IGNORE);
    forge(comm);
  }
  test::gather(0);  // as a barrier
  return fault;
}

void check_fault(const std::function<void(MPI_Comm)>& forge, const std::string& expected) {
  const std::string fault = fault_after(forge);
  if (test::rank() != 0) return;
  INFO(fault);
  CHECK(contains(fault, "all_gather \"metrics\" #1: rank 1 (host forged) " + expected));
}

}  // namespace

TEST_CASE("a forged peer's messages are Faults that name what is wrong", "[forged]") {
  if (test::rank_count() == 1) return;
  const std::string payload(300, 'x');
  check_fault(
      [&](MPI_Comm comm) {
        Header header = gather_header(0);
        header.version = 7;
        send_bytes(comm, &header, sizeof header);
      },
      "speaks version 7 of the protocol between ranks, this rank version 2");
  check_fault(
      [&](MPI_Comm comm) {
        Header header = gather_header(0);
        header.magic = 1;
        send_bytes(comm, &header, sizeof header);
      },
      "sent something else than a message of this program");
  check_fault([&](MPI_Comm comm) { send_bytes(comm, payload.data(), 16); }, "sent 16 bytes where its header has 128");
  check_fault(
      [&](MPI_Comm comm) {
        const Header header = gather_header(100);
        send_bytes(comm, &header, sizeof header);
        send_bytes(comm, payload.data(), 10);
      },
      "sent 10 bytes where its message's next part has 100");
  check_fault(
      [&](MPI_Comm comm) {
        const Header header = gather_header(uint64_t{1} << 60);
        send_bytes(comm, &header, sizeof header);
      },
      "announces 1152921504606846976 bytes, over the limit");
  // Longer than what was posted: MPI itself sees it.
  const std::string longer = fault_after([&](MPI_Comm comm) {
    const Header header = gather_header(100);
    send_bytes(comm, &header, sizeof header);
    send_bytes(comm, payload.data(), 300);
  });
  INFO(longer);
  if (test::rank() == 0) CHECK((contains(longer, "message of rank 1 (host forged)") && contains(longer, "TRUNCATE")));
}

TEST_CASE("a forged peer that keeps the protocol is understood", "[forged]") {
  if (test::rank_count() == 1) return;
  const std::string fault = fault_after([](MPI_Comm comm) {
    const Header header = gather_header(3);
    send_bytes(comm, &header, sizeof header);
    send_bytes(comm, "abc", 3);
  });
  CHECK(fault.empty());
}

}  // namespace cohort::comm
