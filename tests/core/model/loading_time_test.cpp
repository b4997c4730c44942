// How long a large folder takes to load: COHORT_MODEL=DIR build/cohort_tests "[loading_time]". Hidden, because it measures the machine.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/base/stopwatch.h"
#include "core/model/weights_io.h"

namespace cohort::model {
namespace {

/// `whole`: into new memory, as any program that keeps the bytes must; otherwise into one buffer again and again, as cat does.
double seconds_to_read(const std::string& path, bool whole) {
  const Stopwatch clock;
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  REQUIRE(file >= 0);
  const size_t size = whole ? static_cast<size_t>(::lseek(file, 0, SEEK_END)) : size_t{1} << 17;
  const std::unique_ptr<char[]> bytes(new char[size]);
  ::lseek(file, 0, SEEK_SET);
  size_t done = 0;
  for (ssize_t got = 1; got > 0; done += static_cast<size_t>(got))
    got = ::read(file, bytes.get() + (whole ? done : 0), whole ? std::min(size - done, size_t{1} << 20) : size);
  ::close(file);
  return clock.seconds();
}

}  // namespace

TEST_CASE("loading time of the folder COHORT_MODEL", "[.][loading_time]") {
  const char* folder = std::getenv("COHORT_MODEL");
  REQUIRE(folder != nullptr);
  const auto names = weight_file_names(folder);
  for (int round = 0; round < 5; ++round) {
    double through = 0.0, kept = 0.0;
    for (const std::string& name : names) {
      through += seconds_to_read(std::string(folder) + "/" + name, false);
      kept += seconds_to_read(std::string(folder) + "/" + name, true);
    }
    const Stopwatch clock;
    const auto model = load_model(folder);
    std::printf("read through a buffer %.3f s, read into memory %.3f s, loaded as fp32 %.3f s on %d threads, %lld parameters\n", through,
                kept, clock.seconds(), at::get_num_threads(), static_cast<long long>(model->parameters().size()));
  }
}

}  // namespace cohort::model
