#include "launcher/failure.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <new>

#include "core/base/error.h"

using cohort::launcher::describe_failure;

namespace {

std::string described(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return describe_failure(error);
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("memory that LibTorch cannot have is reported with the bytes that were asked for") {
  const std::string text = described([] { at::empty({int64_t{1} << 50}, at::kByte); });
  CHECK_THAT(text, Catch::StartsWith("out of memory: 1125899906842624 bytes (") && Catch::Contains("resident; its limit (ulimit -v) is"));
  CHECK(text.find('\n') == std::string::npos);
}

TEST_CASE("memory that operator new cannot have is reported, its size is not known") {
  CHECK_THAT(described([] { throw std::bad_alloc(); }),
             Catch::StartsWith("out of memory: an allocation of unknown size failed; this process"));
}

TEST_CASE("other failures keep their message; LibTorch's lose the backtrace") {
  CHECK(described([] { throw cohort::Fault("rank 1: lost"); }) == "rank 1: lost");
  const std::string text = described([] { at::ones({2, 3}).matmul(at::ones({2, 3})); });
  CHECK_THAT(text, Catch::Contains("cannot be multiplied"));
  CHECK(text.find('\n') == std::string::npos);
}
