#include "distributed/comm/nccl_group.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>

#include "core/base/random.h"
#include "core/base/stopwatch.h"
#include "distributed/comm/nccl_api.h"
#include "tests/distributed/comm/device_vector.h"
#include "tests/distributed/worlds.h"
#include "tests/support/fake_nccl.h"

namespace cohort::comm {
namespace {

using test::contains;
using test::device_of;
using test::DeviceVector;
using test::everywhere;
using test::expect;
using test::fake_nccl;
using test::fault_of;
using test::on_threads;

NcclOptions on_fake(bool check_calls = false) { return {.check_calls = check_calls, .api = &test::fake_nccl_api()}; }

/// A fresh fake for this rank before `body`; afterwards the fake's rules were kept, and nothing is left over.
std::function<void(Communicator)> with_fake(const std::function<void(Communicator)>& body) {
  return [body](Communicator world) {
    test::reset_fake_nccl();
    body(world);
    const test::FakeNccl& fake = fake_nccl();
    expect(fake.misuse.empty(), "no misuse of NCCL, found: " + (fake.misuse.empty() ? "" : fake.misuse.front()));
    expect(fake.live_communicators == 0 && fake.live_events == 0 && fake.live_allocations == 0, "nothing left");
    expect(fake.open_groups == 0, "every group of calls ended");
    expect(fake.current_device == 0, "the thread's device as before");
  };
}

/// Small whole numbers: any order of additions gives the same bits, in bf16 too.
std::vector<float> whole_numbers(int rank, size_t length) {
  std::vector<float> values(length);
  for (size_t i = 0; i < length; ++i) values[i] = static_cast<float>((i * 7 + static_cast<size_t>(rank) * 5) % 13) - 6.0F;
  return values;
}

/// Sums, slices and broadcasts of one length, compared with the host's.
void compare_with_host(Communicator& world, NcclGroup& group, const NcclApi& api, size_t length, Element element) {
  const std::vector<float> mine = whole_numbers(world.rank(), length);
  const auto [begin, count] = slice_of(length, world.rank(), world.size());
  const std::string where = " of " + std::to_string(length) + (element == Element::kFloat32 ? " fp32" : " bf16");

  std::vector<float> sum = mine;
  world.sum("host", sum);
  const DeviceVector summed(api, mine, element);
  group.sum("values", summed.array());
  expect(summed.values() == sum, "the sum" + where);

  const DeviceVector slices(api, mine, element);
  group.reduce_scatter("values", slices.array());
  const std::vector<float> scattered = slices.values();
  for (size_t i = begin; i < begin + count; ++i) expect(scattered[i] == sum[i], "my slice of the sum" + where);
  group.all_gather_slices("values", slices.array());
  expect(slices.values() == sum, "the slices" + where);

  for (int root = 0; root < world.size(); ++root) {
    const DeviceVector values(api, mine, element);
    group.broadcast("values", values.array(), root);
    expect(values.values() == whole_numbers(root, length), "the root's values" + where);
  }
}

/// Each pair of ranks sends another length, some of them 0.
void compare_all_to_all(Communicator& world, NcclGroup& group, const NcclApi& api, int round, Element element) {
  const auto length = [&](int from, int to) { return static_cast<size_t>((from * 3 + to * 5 + round) % 7); };
  const auto letter = [&](int from, int to) {
    std::vector<float> values(length(from, to));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>((from * 16 + to + static_cast<int>(i) * 2) % 251);
    return values;
  };
  std::vector<float> sent, wanted;
  std::vector<size_t> out, in;
  for (int peer = 0; peer < world.size(); ++peer) {
    for (const float v : letter(world.rank(), peer)) sent.push_back(v);
    for (const float v : letter(peer, world.rank())) wanted.push_back(v);
    out.push_back(length(world.rank(), peer));
    in.push_back(length(peer, world.rank()));
  }
  const DeviceVector send(api, sent, element), receive(api, std::vector<float>(wanted.size(), -1.0F), element);
  group.all_to_all("letters", send.array(), out, receive.array(), in);
  expect(receive.values() == wanted, "every pair's letter, round " + std::to_string(round));
}

/// Numbers whose sum depends on the order of additions: near to the host's, and the same on every rank and the second time.
void compare_random_sum(Communicator& world, NcclGroup& group, const NcclApi& api) {
  constexpr size_t kLength = 5001;
  RandomStream stream(11, "test/device sum", {static_cast<uint64_t>(world.rank())});
  std::vector<float> mine(kLength);
  for (float& value : mine) value = static_cast<float>(stream.normal());
  std::vector<float> sum = mine;
  world.sum("host", sum);
  const DeviceVector first(api, mine), second(api, mine);
  group.sum("first", first.array());
  group.sum("second", second.array());
  const std::vector<float> found = first.values();
  expect(found == second.values(), "the same bits twice");
  for (size_t i = 0; i < kLength; ++i)
    expect(std::abs(found[i] - sum[i]) < 1e-5F * static_cast<float>(world.size()), "a sum near the host's");
  const std::string bytes(reinterpret_cast<const char*>(found.data()), kLength * sizeof(float));
  for (const std::string& other : world.all_gather("sums", bytes)) expect(other == bytes, "the same bits on every rank");
}

/// Every operation of a group, on real devices or the fake.
void check_operations(Communicator world, const NcclApi& api, bool check_calls) {
  const int device = device_of(world);
  int before = 0;
  test::check_cuda(api, api.cudaGetDevice(&before), "cudaGetDevice");
  {
    NcclGroup group(world, device, {.check_calls = check_calls, .api = &api});
    expect(group.rank() == world.rank() && group.size() == world.size() && group.device() == device, "rank, size and device");
    test::check_cuda(api, api.cudaSetDevice(device), "cudaSetDevice");
    const auto size = static_cast<size_t>(world.size());
    for (const Element element : {Element::kFloat32, Element::kBfloat16}) {
      for (const size_t length : {size_t{0}, size_t{1}, size_t{3}, 4 * size, size_t{1001}, size_t{12000}})
        compare_with_host(world, group, api, length, element);
      for (int round = 0; round < 7; ++round) compare_all_to_all(world, group, api, round, element);
    }
    compare_random_sum(world, group, api);
    for (int i = 0; i < 3; ++i) group.barrier("step");
  }
  test::check_cuda(api, api.cudaSetDevice(before), "cudaSetDevice");
}

/// What a rank of a failed group says, how long it took, and that the group is at its end.
void expect_failure(NcclGroup& group, const std::function<void()>& body, const std::vector<std::string>& parts) {
  const std::string fault = fault_of(body);
  for (const std::string& part : parts) expect(contains(fault, part), "'" + part + "' in: " + fault);
  expect(fake_nccl().aborted == 1 && fake_nccl().live_communicators == 0, "aborted at once, once: " + fault);
  const size_t calls = fake_nccl().calls.size();
  const std::string later = fault_of([&] { group.barrier("later"); });
  expect(contains(later, "device barrier \"later\"") && contains(later, "the group failed before: " + fault), "no further use: " + later);
  expect(fake_nccl().calls.size() == calls && fake_nccl().aborted == 1, "nothing more was asked of NCCL");
}

/// When a failure is noticed.
enum class Noticed { kAtOnce, kAtTheDeadline };

/// A deadline that the host's own messages keep on a busy machine, and shorter than the time after which the fake gives up.
double deadline_for(Noticed noticed) { return noticed == Noticed::kAtOnce ? 5.0 : 1.0; }

void expect_time(const Stopwatch& clock, Noticed noticed) {
  const double seconds = clock.seconds(), deadline = deadline_for(noticed);
  const bool in_time = noticed == Noticed::kAtOnce ? seconds < deadline : seconds >= deadline && seconds < 8.0;
  expect(in_time, "the time it took: " + std::to_string(seconds));
}

/// On the ranks of every world: a group starts well, then `set` spoils the fake of this rank, then a sum fails with `what`.
void failing_sum(const std::function<void(test::FakeNccl&)>& set, const std::string& what, Noticed noticed) {
  everywhere(with_fake([=](Communicator world) {
    const double deadline = world.deadline();
    {
      NcclGroup group(world, 1, on_fake());
      const DeviceVector values(test::fake_nccl_api(), whole_numbers(world.rank(), 100));
      group.sum("weights", values.array());
      world.barrier("all have a group");
      world.set_deadline(deadline_for(noticed));
      set(fake_nccl());
      const std::string who = "rank " + std::to_string(world.rank()) + " (host " + world.host() + "): device sum \"gradients\" #2: ";
      const Stopwatch clock;
      expect_failure(group, [&] { group.sum("gradients", values.array()); }, {who, what});
      expect_time(clock, noticed);
    }
    expect(fake_nccl().destroyed == 0, "an aborted communicator is not destroyed again");
    world.set_deadline(deadline);
    world.barrier("all have failed");
  }));
}

/// On the ranks of every world: a group does not start, with `what`. `communicators`: how many were made and so have to be aborted.
void failing_start(const std::function<void(test::FakeNccl&)>& set, const std::string& what, Noticed noticed, int communicators) {
  everywhere(with_fake([=](Communicator world) {
    const double deadline = world.deadline();
    set(fake_nccl());
    world.barrier("all are set");
    world.set_deadline(deadline_for(noticed));
    const Stopwatch clock;
    const std::string fault = fault_of([&] { NcclGroup(world, 0, on_fake()); });
    const std::string who = "rank " + std::to_string(world.rank()) + " (host " + world.host() + "): device start \"nccl\" #0: ";
    expect(contains(fault, who) && contains(fault, what), fault);
    expect_time(clock, noticed);
    expect(fake_nccl().aborted == communicators && fake_nccl().destroyed == 0, "aborted");
    world.set_deadline(deadline);
    world.barrier("all have failed");
  }));
}

/// Two ranks on threads that call differently; the faults of both.
std::vector<std::string> faults_of_two(bool check_calls, const std::function<void(Communicator&, NcclGroup&, const DeviceVector&)>& body) {
  std::vector<std::string> faults(2);
  run_on_threads(2, with_fake([&](Communicator world) {
                   NcclGroup group(world, 0, on_fake(check_calls));
                   const DeviceVector values(test::fake_nccl_api(), whole_numbers(world.rank(), 10));
                   world.barrier("both have a group");
                   if (!check_calls) world.set_deadline(deadline_for(Noticed::kAtTheDeadline));
                   faults[static_cast<size_t>(world.rank())] = fault_of([&] { body(world, group, values); });
                   expect(fake_nccl().aborted == 1, "aborted");
                 }),
                 test::impatient());
  return faults;
}

}  // namespace

TEST_CASE("a device group's operations give what the host's give (fake device)") {
  everywhere(with_fake([](Communicator world) {
    for (const bool check_calls : {false, true}) check_operations(world, test::fake_nccl_api(), check_calls);
    expect(fake_nccl().started == 2 && fake_nccl().destroyed == 2 && fake_nccl().aborted == 0, "started and ended in order");
    if (world.size() > 1) {
      for (const char* call :
           {"ncclAllReduce", "ncclReduceScatter", "ncclReduce", "ncclAllGather", "ncclBroadcast", "ncclSend", "ncclRecv"})
        expect(std::count(fake_nccl().calls.begin(), fake_nccl().calls.end(), call) > 0, std::string("a call of ") + call);
    }
  }));
}

TEST_CASE("a device group of a part of the ranks names the job's ranks") {
  run_on_threads(4, with_fake([](Communicator world) {
                   Communicator half = world.split("half", world.rank() / 2);
                   NcclGroup group(half, half.rank(), on_fake(true));
                   const DeviceVector values(test::fake_nccl_api(), {1.0F, 2.0F});
                   group.sum("half", values.array());
                   expect(values.values() == std::vector<float>{2.0F, 4.0F}, "the sum of two");
                   const std::string fault = fault_of([&] { group.broadcast("half", values.array(), 2); });
                   expect(contains(fault, "rank " + std::to_string(world.rank()) + " (host thread): device broadcast \"half\" #2: "),
                          fault);
                 }),
                 test::impatient());
}

TEST_CASE("an error while a device group starts is a Fault, and what was begun is aborted") {
  failing_start([](test::FakeNccl& fake) { fake.start_answer = ncclSystemError; },
                "ncclCommInitRankConfig: unhandled system error (the fake says so)", Noticed::kAtOnce, 0);
  failing_start([](test::FakeNccl& fake) { fake.start_error = ncclRemoteError; }, "NCCL: remote process exited", Noticed::kAtOnce, 1);
  failing_start([](test::FakeNccl& fake) { fake.devices = 0; }, "there is no device 0, expected one below 0", Noticed::kAtOnce, 0);
}

TEST_CASE("a device group that does not start is given up at the deadline and aborted") {
  failing_start([](test::FakeNccl& fake) { fake.start_hangs = true; }, "not done after 1 s", Noticed::kAtTheDeadline, 1);
}

TEST_CASE("an error of NCCL or of the device is a Fault long before the deadline, and the communicator is aborted") {
  failing_sum([](test::FakeNccl& fake) { fake.flight_error = ncclRemoteError; },
              "NCCL: remote process exited or there was a network error (the fake says so)", Noticed::kAtOnce);
  failing_sum([](test::FakeNccl& fake) { fake.launch_answer = ncclSystemError; }, "NCCL: unhandled system error", Noticed::kAtOnce);
  failing_sum([](test::FakeNccl& fake) { fake.launch_error = ncclRemoteError; }, "NCCL: remote process exited", Noticed::kAtOnce);
  failing_sum([](test::FakeNccl& fake) { fake.device_error = cudaErrorIllegalAddress; }, "cudaEventQuery: an illegal memory access",
              Noticed::kAtOnce);
}

TEST_CASE("a device operation that never ends is given up at the deadline, and the communicator is aborted") {
  failing_sum([](test::FakeNccl& fake) { fake.hangs = true; }, "not done after 1 s: other ranks of the", Noticed::kAtTheDeadline);
}

TEST_CASE("an error within a group of NCCL calls ends the group of calls too") {
  on_threads(with_fake([](Communicator world) {
    NcclGroup group(world, 0, on_fake());
    const DeviceVector values(test::fake_nccl_api(), whole_numbers(world.rank(), 121));  // divides by none of the worlds' sizes
    fake_nccl().launch_answer = ncclSystemError;
    expect_failure(group, [&] { group.reduce_scatter("values", values.array()); }, {"device reduce_scatter \"values\" #1", "system error"});
    expect(fake_nccl().calls.back() == "ncclReduce", "the call that failed");
  }));
}

TEST_CASE("a rank that has failed leaves the others to their deadline") {
  std::vector<std::string> faults = faults_of_two(false, [](Communicator& world, NcclGroup& group, const DeviceVector& values) {
    if (world.rank() == 1) fake_nccl().flight_error = ncclRemoteError;
    if (world.rank() == 0) fake_nccl().hangs = true;
    group.sum("values", values.array());
  });
  CHECK_THAT(faults[0], Catch::Contains("rank 0 (host thread): device sum \"values\" #1: not done after 1 s"));
  CHECK_THAT(faults[1], Catch::Contains("rank 1 (host thread): device sum \"values\" #1: NCCL: remote process exited"));
}

TEST_CASE("ranks that make other device calls are told so before the device is asked, with check_calls") {
  const auto check = [](const std::function<void(Communicator&, NcclGroup&, const DeviceVector&)>& body, const std::string& zero,
                        const std::string& one) {
    const auto faults = faults_of_two(true, [&](Communicator& world, NcclGroup& group, const DeviceVector& values) {
      body(world, group, values);
      expect(fake_nccl().calls.empty(), "NCCL was not asked");
    });
    CHECK_THAT(faults[0], Catch::Contains("rank 0 (host thread): " + zero) && Catch::Contains("rank 1 (host thread) is at " + one));
    CHECK_THAT(faults[1], Catch::Contains("rank 1 (host thread): " + one) && Catch::Contains("rank 0 (host thread) is at " + zero));
  };
  check([](Communicator& world, NcclGroup& group, const DeviceVector& v) { group.sum(world.rank() == 0 ? "a" : "b", v.array()); },
        "device sum \"a\" #1", "device sum \"b\" #1");
  check(
      [](Communicator& world, NcclGroup& group, const DeviceVector& v) {
        if (world.rank() == 0) return group.sum("a", v.array());
        group.barrier("a");
      },
      "device sum \"a\" #1", "device barrier \"a\" #1");
  const auto lengths = faults_of_two(true, [](Communicator& world, NcclGroup& group, const DeviceVector& v) {
    group.sum("a", {v.data(), world.rank() == 0 ? size_t{10} : size_t{9}, Element::kFloat32});
  });
  CHECK_THAT(lengths[0], Catch::Contains("of 10 fp32; rank 1 (host thread) is at device sum \"a\" #1 of 9 fp32"));
  const auto roots = faults_of_two(
      true, [](Communicator& world, NcclGroup& group, const DeviceVector& v) { group.broadcast("a", v.array(), world.rank()); });
  CHECK_THAT(roots[0], Catch::Contains("of 10 fp32 from 0; rank 1 (host thread) is at device broadcast \"a\" #1 of 10 fp32 from 1"));
  const auto ragged = faults_of_two(true, [](Communicator& world, NcclGroup& group, const DeviceVector& v) {
    const std::vector<size_t> out{5, 5}, in = world.rank() == 0 ? std::vector<size_t>{5, 4} : std::vector<size_t>{5, 5};
    const DeviceVector into(test::fake_nccl_api(), std::vector<float>(in[0] + in[1]));
    group.all_to_all("a", v.array(), out, into.array(), in);
    expect(fake_nccl().calls.empty(), "NCCL was not asked");
  });
  for (const std::string& fault : ragged)
    CHECK_THAT(fault,
               Catch::Contains("device all_to_all \"a\" #1: rank 1 (host thread) sends 5 numbers where rank 0 (host thread) expects 4"));
}

TEST_CASE("without check_calls, ranks that make other device calls hang until the deadline, which names their own") {
  const auto faults = faults_of_two(false, [](Communicator& world, NcclGroup& group, const DeviceVector& values) {
    if (world.rank() == 0) return group.sum("a", values.array());
    group.broadcast("b", values.array(), 0);
  });
  CHECK_THAT(faults[0], Catch::Contains("device sum \"a\" #1: not done after 1 s"));
  CHECK_THAT(faults[1], Catch::Contains("device broadcast \"b\" #1: not done after 1 s"));
}

TEST_CASE("arguments of device operations that cannot be right are Faults") {
  const auto fault = [](const std::function<void(NcclGroup&, const DeviceVector&)>& body) {
    std::string message;
    with_fake([&](Communicator world) {
      NcclGroup group(world, 0, on_fake());
      const DeviceVector values(test::fake_nccl_api(), {1.0F, 2.0F, 3.0F});
      message = fault_of([&] { body(group, values); });
    })(Communicator::self());
    return message;
  };
  const auto lengths = [](size_t length) { return std::vector<size_t>{length}; };
  CHECK_THAT(fault([](NcclGroup& g, const DeviceVector& v) { g.broadcast("a", v.array(), 1); }), Catch::Contains("there is no rank 1"));
  CHECK_THAT(fault([](NcclGroup& g, const DeviceVector& v) { g.broadcast("a", v.array(), -1); }), Catch::Contains("there is no rank -1"));
  CHECK_THAT(fault([](NcclGroup& g, const DeviceVector&) { g.sum("a", {nullptr, 5}); }), Catch::Contains("no memory for 5 numbers"));
  CHECK_THAT(fault([](NcclGroup& g, const DeviceVector& v) { g.sum(std::string(96, 'x'), v.array()); }), Catch::Contains("too long"));
  CHECK_THAT(fault([&](NcclGroup& g, const DeviceVector& v) { g.all_to_all("a", v.array(), lengths(2), v.array(), lengths(3)); }),
             Catch::Contains("expected 1 lengths each that add up to the 3 numbers sent and the 3 received"));
  CHECK_THAT(fault([&](NcclGroup& g, const DeviceVector& v) { g.all_to_all("a", v.array(), {}, v.array(), lengths(3)); }),
             Catch::Contains("expected 1 lengths"));
  CHECK_THAT(fault([&](NcclGroup& g, const DeviceVector& v) {
               g.all_to_all("a", v.array(), lengths(3), {nullptr, 3}, lengths(3));
             }),
             Catch::Contains("no memory for 3 numbers"));
}

TEST_CASE("a device group ends in order, or is aborted: when an exception passes, and at the deadline") {
  on_threads(with_fake([](Communicator world) {
    { NcclGroup group(world, 0, on_fake()); }
    expect(fake_nccl().destroyed == 1 && fake_nccl().aborted == 0, "in order");
    try {
      NcclGroup group(world, 0, on_fake());
      throw std::runtime_error("something else");
    } catch (const std::runtime_error&) {
    }
    expect(fake_nccl().destroyed == 1 && fake_nccl().aborted == 1, "an exception");
    world.barrier("all are here");
    world.set_deadline(0.3);
    fake_nccl().end_hangs = true;
    const Stopwatch clock;
    { NcclGroup group(world, 0, on_fake()); }
    expect(fake_nccl().destroyed == 1 && fake_nccl().aborted == 2, "the deadline");
    expect(clock.seconds() < 3, "the time it took");
  }));
}

TEST_CASE("libraries for devices that are not there, or are others, are named") {
  CHECK_THAT(fault_of([] { load_nccl("libnot_nccl.so.7", "libnot_cudart.so.7"); }),
             Catch::Contains("NCCL cannot be used: libnot_cudart.so.7 was not loaded"));
  CHECK_THAT(fault_of([] { load_nccl("libnot_nccl.so.7", "libm.so.6"); }), Catch::Contains("libm.so.6 has no function cudaGetDeviceCount"));
  // The system's own: usable, or one line that names what is missing.
  const std::string fault = fault_of([] { system_nccl(); });
  if (fault.empty()) {
    CHECK(system_nccl().ncclCommAbort != nullptr);
    CHECK_THAT(fault_of([] { load_nccl("libnot_nccl.so.7", "libcudart.so." + std::to_string(CUDART_VERSION / 1000)); }),
               Catch::Contains("NCCL cannot be used: libnot_nccl.so.7 was not loaded"));
  } else {
    CHECK_THAT(fault, Catch::StartsWith("NCCL cannot be used: lib"));
  }
}

TEST_CASE("without NCCL's libraries, or without a device, a device group is a Fault that says so") {
  const std::string missing = fault_of([] { system_nccl(); });
  int devices = 0;
  if (missing.empty() && system_nccl().cudaGetDeviceCount(&devices) == cudaSuccess && devices > 0) return;
  const Communicator self = Communicator::self();
  const std::string fault = fault_of([&] { NcclGroup(self, 0); });
  const std::string start = "rank 0 (host " + self.host() + "): device start \"nccl\" #0: ";
  CHECK_THAT(fault, Catch::StartsWith(start + (missing.empty() ? "cudaGetDeviceCount: " : missing)) ||
                        Catch::StartsWith(start + "there is no device 0, expected one below 0"));
}

// scripts/gpu_check.sh runs these on a machine with a GPU per rank.
TEST_CASE("a device group's operations give what the host's give (this machine's GPUs)", "[.][gpu]") {
  const Communicator world = MpiSession::world(test::impatient());
  for (const bool check_calls : {false, true}) check_operations(world, system_nccl(), check_calls);
}

TEST_CASE("a failed device group refuses every further call (this machine's GPUs)", "[.][gpu]") {
  const Communicator world = MpiSession::world(test::impatient());
  NcclGroup group(world, device_of(world));
  const DeviceVector values(system_nccl(), {1.0F});
  CHECK_THAT(fault_of([&] { group.broadcast("values", values.array(), world.size()); }), Catch::Contains("there is no rank"));
  CHECK_THAT(fault_of([&] { group.barrier("later"); }), Catch::Contains("the group failed before"));
}

TEST_CASE("a rank that the others wait for is given up at the deadline (this machine's GPUs)", "[.][gpu][several_gpus]") {
  const Communicator world = MpiSession::world(test::impatient());
  if (world.size() < 2) return;
  Communicator waiting = world;
  NcclGroup group(waiting, device_of(world));
  test::check_cuda(system_nccl(), system_nccl().cudaSetDevice(device_of(world)), "cudaSetDevice");
  const DeviceVector values(system_nccl(), {1.0F});
  group.sum("values", values.array());
  if (world.rank() == 0) {
    waiting.set_deadline(3.0);
    const Stopwatch clock;
    CHECK_THAT(fault_of([&] { group.sum("alone", values.array()); }), Catch::Contains("device sum \"alone\" #2: not done after 3 s"));
    CHECK(clock.seconds() < 15.0);
    waiting.set_deadline(20.0);
  }
  waiting.barrier("rank 0 has given up");
  waiting.set_deadline(3.0);  // the others' end of the group waits for rank 0, which has none any more
}

}  // namespace cohort::comm
