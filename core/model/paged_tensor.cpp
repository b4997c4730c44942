#include "core/model/paged_tensor.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/base/error.h"
#include "core/base/log.h"

namespace cohort::model {
namespace {

size_t page_size() {
  static const auto size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

size_t whole_pages(size_t bytes) { return (bytes + page_size() - 1) / page_size() * page_size(); }

struct Pages {
  char* begin;
  size_t bytes;
};

Pages all_pages(const at::Tensor& flat) { return {static_cast<char*>(flat.data_ptr()), whole_pages(flat.nbytes())}; }

/// Those that hold nothing but [begin, end). Nothing lies behind the last number, so its page counts as its own.
Pages pages_within(const at::Tensor& flat, int64_t begin, int64_t end) {
  const size_t first = whole_pages(static_cast<size_t>(begin) * sizeof(float));
  const size_t stop =
      end == flat.numel() ? whole_pages(flat.nbytes()) : static_cast<size_t>(end) * sizeof(float) / page_size() * page_size();
  return {static_cast<char*>(flat.data_ptr()) + first, stop > first && end > begin ? stop - first : 0};
}

/// Those that hold any of [begin, end).
Pages pages_with(const at::Tensor& flat, int64_t begin, int64_t end) {
  const size_t first = static_cast<size_t>(begin) * sizeof(float) / page_size() * page_size();
  const size_t stop = whole_pages(static_cast<size_t>(end) * sizeof(float));
  return {static_cast<char*>(flat.data_ptr()) + first, end > begin ? stop - first : 0};
}

void require(int result, const char* call, const Pages& pages) {
  if (result != 0) throw Fault(fmt::format("{} of {} bytes of parameters: {}", call, pages.bytes, std::strerror(errno)));
}

void warn_once(const Pages& pages, int error) {
  static std::atomic<bool> said = false;
  if (!said.exchange(true)) log_warn("{} bytes of parameters were not given back: {}. The run goes on", pages.bytes, std::strerror(error));
}

}  // namespace

at::Tensor paged_zeros(int64_t numbers) {
  if (numbers == 0) return at::zeros({0}, at::kFloat);
  const size_t bytes = whole_pages(static_cast<size_t>(numbers) * sizeof(float));
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw Fault(fmt::format("no memory for {} bytes of parameters: {}", bytes, std::strerror(errno)));
  return at::from_blob(
      memory, {numbers}, [bytes](void* data) { munmap(data, bytes); }, at::kFloat);
}

void prefer_large_pages(const at::Tensor& flat) {
  if (flat.numel() > 0) madvise(all_pages(flat).begin, all_pages(flat).bytes, MADV_HUGEPAGE);  // fails where the kernel has none
}

void keep_pages_small(const at::Tensor& flat) {
  madvise(all_pages(flat).begin, all_pages(flat).bytes, MADV_NOHUGEPAGE);  // fails where the kernel has no huge ones
}

void close_pages(const at::Tensor& flat, int64_t begin, int64_t end) {
  const Pages pages = pages_within(flat, begin, end);
  if (pages.bytes == 0) return;
  if (madvise(pages.begin, pages.bytes, MADV_DONTNEED) != 0) warn_once(pages, errno);
  if (mprotect(pages.begin, pages.bytes, PROT_NONE) != 0) warn_once(pages, errno);  // ENOMEM: vm.max_map_count
}

void open_pages(const at::Tensor& flat, int64_t begin, int64_t end) {
  const Pages pages = pages_with(flat, begin, end);
  if (pages.bytes > 0) require(mprotect(pages.begin, pages.bytes, PROT_READ | PROT_WRITE), "mprotect", pages);
}

void clear_pages(const at::Tensor& flat) {
  const Pages pages = all_pages(flat);
  if (pages.bytes == 0 || madvise(pages.begin, pages.bytes, MADV_DONTNEED) == 0) return;
  warn_once(pages, errno);
  flat.zero_();
}

int64_t resident_bytes(const at::Tensor& flat) {
  const Pages pages = all_pages(flat);
  std::vector<unsigned char> there(pages.bytes / page_size());
  if (!there.empty()) require(mincore(pages.begin, pages.bytes, there.data()), "mincore", pages);
  const auto count = std::count_if(there.begin(), there.end(), [](unsigned char page) { return (page & 1) != 0; });
  return static_cast<int64_t>(count) * static_cast<int64_t>(page_size());
}

}  // namespace cohort::model
