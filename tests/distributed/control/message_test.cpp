#include "distributed/control/message.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "core/base/error.h"
#include "distributed/control/invitation.h"

using namespace cohort;
using namespace cohort::control;

TEST_CASE("a control message is checked, its token before anything else", "[control]") {
  const Token token = random_token();
  Message good;
  good.token = token, good.kind = static_cast<uint16_t>(Kind::kBeat), good.rank = 3;
  CHECK(problem_of(good, token, 4) == "");
  const auto with = [&](auto change) {
    Message m = good;
    change(m);
    return problem_of(m, token, 4);
  };
  CHECK(with([](Message& m) { m.token[15] ^= 1, m.version = 9; }) == "it does not know the job's token");
  CHECK(with([](Message& m) { m.magic = 0; }) == "it sent something else than a control message");
  CHECK(with([](Message& m) { m.version = 9; }) == "it speaks version 9 of the control protocol, expected 1");
  CHECK(with([](Message& m) { m.kind = 0; }) == "it sent a control message of unknown kind 0");
  CHECK(with([](Message& m) { m.kind = 999; }) == "it sent a control message of unknown kind 999");
  CHECK(with([](Message& m) { m.rank = 4; }) == "it speaks of rank 4 of 4");
  CHECK(with([](Message& m) { std::memset(m.host, 'x', sizeof m.host); }) == "it sent text without an end");
  CHECK(with([](Message& m) { std::memset(m.doing, 'x', sizeof m.doing); }) == "it sent text without an end");
  CHECK(random_token() != token);
}

TEST_CASE("text that does not fit a field is cut and ends", "[control]") {
  char field[4] = {'?', '?', '?', '?'};
  set_text(field, sizeof field, "abcdef");
  CHECK(std::string(field) == "abc");
  set_text(field, sizeof field, "");
  CHECK(std::string(field).empty());
}

TEST_CASE("an invitation comes back from its bytes; others are refused", "[control]") {
  Invitation sent;
  sent.token = random_token(), sent.port = 40000, sent.host = "a", sent.addresses = {"10.0.0.1", "fd00::1"};
  const Invitation got = Invitation::from_bytes(sent.to_bytes());
  CHECK(got.token == sent.token);
  CHECK(got.port == 40000);
  CHECK(got.targets("b") == std::vector<std::string>{"10.0.0.1", "fd00::1"});
  CHECK(got.targets("a") == std::vector<std::string>{"127.0.0.1", "::1", "10.0.0.1", "fd00::1"});
  for (const char* bytes : {"", "short", "0123456789abcdef0\na\n", "0123456789abcdef70000\na\n", "0123456789abcdef12"})
    CHECK_THROWS_AS(Invitation::from_bytes(bytes), Fault);
}
