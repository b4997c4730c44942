#include "core/model/paged_tensor.h"

#include <ATen/ATen.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cerrno>

namespace cohort::model {
namespace {

/// Whether the number may be read. The kernel answers for a system call what a read by the process itself would die of.
bool readable(const at::Tensor& flat, int64_t i) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const ssize_t written = write(ends[1], flat.data_ptr<float>() + i, sizeof(float));
  const bool refused = written == -1 && errno == EFAULT;
  close(ends[0]), close(ends[1]);
  REQUIRE((refused || written == static_cast<ssize_t>(sizeof(float))));
  return !refused;
}

}  // namespace

TEST_CASE("pages of a tensor go and come back at the same address, and only those that hold nothing else") {
  const int64_t page = sysconf(_SC_PAGESIZE), on_page = page / static_cast<int64_t>(sizeof(float));
  const at::Tensor flat = paged_zeros(10 * on_page + 3);
  CHECK(resident_bytes(flat) == 0);
  CHECK(flat.sum().item<float>() == 0.0f);
  keep_pages_small(flat);
  flat.fill_(1.0f);
  CHECK(resident_bytes(flat) == 11 * page);
  const at::Tensor view = flat.narrow(0, 2 * on_page, on_page);

  close_pages(flat, on_page + 1, 5 * on_page - 1);  // pages 2 and 3 whole, 1 and 4 in part
  CHECK(resident_bytes(flat) == 9 * page);
  CHECK(readable(flat, 2 * on_page - 1));
  CHECK_FALSE(readable(flat, 2 * on_page));
  CHECK_FALSE(readable(flat, 4 * on_page - 1));
  CHECK(readable(flat, 4 * on_page));
  CHECK(flat[on_page + 1].item<float>() == 1.0f);

  open_pages(flat, 2 * on_page + 5, 2 * on_page + 6);
  CHECK(readable(flat, 2 * on_page));
  CHECK_FALSE(readable(flat, 3 * on_page));
  view.fill_(2.0f);
  CHECK(flat[2 * on_page].item<float>() == 2.0f);

  close_pages(flat, on_page + 1, on_page + 1);
  close_pages(flat, on_page + 1, 2 * on_page - 1);  // no whole page
  CHECK(resident_bytes(flat) == 10 * page);
  close_pages(flat, 9 * on_page, flat.numel());  // the last page is not full, and yet nobody else's
  CHECK(resident_bytes(flat) == 8 * page);

  open_pages(flat, 0, flat.numel());
  CHECK(flat[3 * on_page].item<float>() == 0.0f);
  CHECK(flat[flat.numel() - 1].item<float>() == 0.0f);
  CHECK(flat[0].item<float>() == 1.0f);
  clear_pages(flat);
  CHECK(resident_bytes(flat) == 0);
  CHECK(flat.abs().sum().item<float>() == 0.0f);
  CHECK(paged_zeros(0).numel() == 0);
}

namespace {

/// Takes all mappings that the kernel lets a process have (vm.max_map_count): every second page of a region may be read.
class AllMappings {
 public:
  AllMappings() : begin_(static_cast<char*>(mmap(nullptr, bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    for (size_t at = 0; at < bytes() && !none_left; at += 2 * page()) none_left = mprotect(begin_ + at, page(), PROT_READ) != 0;
  }
  ~AllMappings() { munmap(begin_, bytes()); }
  AllMappings(const AllMappings&) = delete;
  AllMappings& operator=(const AllMappings&) = delete;

  bool none_left = false;

 private:
  static size_t page() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }
  static size_t bytes() { return (size_t{1} << 21) * page(); }  // for a limit of a million

  char* begin_;
};

}  // namespace

TEST_CASE("pages that the kernel does not take back stay, and nothing ends") {
  const int64_t on_page = sysconf(_SC_PAGESIZE) / static_cast<int64_t>(sizeof(float));
  const at::Tensor flat = paged_zeros(10 * on_page);
  flat.fill_(1.0f);
  bool none_left = false, closed = true;
  {
    const AllMappings taken;
    none_left = taken.none_left;
    if (none_left) {
      close_pages(flat, 2 * on_page, 4 * on_page);  // would cut the mapping in three
      closed = !readable(flat, 2 * on_page);
    }
  }
  if (!none_left) return;  // a kernel without such a limit
  CHECK_FALSE(closed);
  CHECK(flat[4 * on_page].item<float>() == 1.0f);
  open_pages(flat, 2 * on_page, 4 * on_page);
  flat.fill_(2.0f);
  close_pages(flat, 2 * on_page, 4 * on_page);
  CHECK_FALSE(readable(flat, 2 * on_page));
}

}  // namespace cohort::model
