// Parts of one process stand for parts of several: what they share is found by process and descriptor all the same.
#include "distributed/comm/shared_block.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <limits>

#include "distributed/comm/mpi_session.h"
#include "tests/distributed/worlds.h"

namespace cohort::comm {

TEST_CASE("all ranks see what one writes into its part") {
  const auto one = SharedBlock::create(1000), other = SharedBlock::create(1000);
  REQUIRE((one && other));
  REQUIRE(one->open({one->address(), other->address()}, 0));
  REQUIRE(other->open({one->address(), other->address()}, 1));
  one->stop_sharing(), other->stop_sharing();
  CHECK(one->of(0) == one->mine().data());
  CHECK(one->of(1) != other->mine().data());  // another mapping of the same memory
  one->of(1)[999] = 7.0F;
  CHECK(other->mine()[999] == 7.0F);
  other->of(0)[0] = 8.0F;
  CHECK(one->mine()[0] == 8.0F);
}

TEST_CASE("a part that is not what its address says is not opened") {
  const auto one = SharedBlock::create(1000), larger = SharedBlock::create(1001);
  REQUIRE((one && larger));
  const std::string address = one->address();
  const size_t label = address.rfind(' ') + 1;
  for (const std::string& bad :
       {std::string(), std::string("1"), std::string("1 2"), larger->address(), "x" + address, "-1 0 " + address.substr(label),
        address.substr(0, label) + "cohort-00000000000000000000000000000000", std::to_string(getpid()) + " 0 " + address.substr(label),
        std::string("99999999999999999999 0 x"), address.substr(0, label) + "../../../etc/passwd"}) {
    CAPTURE(bad);
    const auto mine = SharedBlock::create(1000);
    REQUIRE(mine);
    CHECK_FALSE(mine->open({mine->address(), bad}, 0));
  }
  const auto mine = SharedBlock::create(1000);
  CHECK(mine->open({mine->address(), address}, 0));
  one->stop_sharing();
  const auto late = SharedBlock::create(1000);
  CHECK_FALSE(late->open({late->address(), address}, 0));
}

TEST_CASE("more memory than there is cannot be had, and a part cannot be cut") {
  CHECK(SharedBlock::create(std::numeric_limits<size_t>::max() / 8) == nullptr);
  const auto one = SharedBlock::create(4096);
  const std::string address = one->address();
  const int descriptor = std::stoi(address.substr(address.find(' ')));
  CHECK(ftruncate(descriptor, 0) != 0);
}

TEST_CASE("ranks of one host get memory that they share") {
  test::on_mpi([](Communicator world) {
    const auto floats = world.floats_for_sums("shared", 4096);
    std::vector<float> own(4096);
    // A sum of the block on one rank and of other memory on another is a Fault only where the block is shared.
    CHECK(test::contains(test::fault_of([&] { world.sum("sum", world.rank() == 0 ? std::span(floats.get(), 4096) : std::span(own)); }),
                         "sums other memory"));
  });
}

}  // namespace cohort::comm
