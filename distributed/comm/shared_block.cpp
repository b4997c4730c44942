#include "distributed/comm/shared_block.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <random>

namespace cohort::comm {
namespace {

/// So that a descriptor of that number in another process, or in another container's count of processes, is not taken for ours.
std::string fresh_label() {
  std::random_device device;
  return fmt::format("cohort-{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

bool reserve(int descriptor, size_t bytes) {
  int error = EINTR;
  while (error == EINTR) error = posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));
  // Nobody can take pages away from under the others.
  return error == 0 && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
}

float* map(int descriptor, size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<float*>(memory);
}

/// "PID DESCRIPTOR LABEL" to the path of that descriptor, if it is what the label says; "" otherwise.
std::string path_of(const std::string& address) {
  const size_t first = address.find(' '), second = address.find(' ', first + 1);
  if (second == std::string::npos) return "";
  int pid = 0, descriptor = 0;
  const char* text = address.data();
  if (std::from_chars(text, text + first, pid).ptr != text + first || pid <= 0) return "";
  if (std::from_chars(text + first + 1, text + second, descriptor).ptr != text + second || descriptor < 0) return "";
  const std::string path = fmt::format("/proc/{}/fd/{}", pid, descriptor), expected = "/memfd:" + address.substr(second + 1) + " (deleted)";
  std::array<char, 128> found{};
  const ssize_t length = readlink(path.c_str(), found.data(), found.size());
  return length > 0 && std::string(found.data(), static_cast<size_t>(length)) == expected ? path : "";
}

/// Another rank's part; null unless it is of this size.
float* map_part(const std::string& address, size_t bytes) {
  const std::string path = path_of(address);
  if (path.empty()) return nullptr;
  const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return nullptr;
  struct stat about {};
  const bool fits = fstat(descriptor, &about) == 0 && static_cast<size_t>(about.st_size) == bytes;
  float* memory = fits ? map(descriptor, bytes) : nullptr;
  close(descriptor);
  return memory;
}

}  // namespace

std::shared_ptr<SharedBlock> SharedBlock::create(size_t floats) {
  // To reserve more than the machine has would not fail: the kernel would end processes until it has it.
  if (floats > static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE)) / sizeof(float)) return nullptr;
  const std::string label = fresh_label();
  const size_t bytes = floats * sizeof(float);
  const int descriptor = memfd_create(label.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return nullptr;
  float* memory = reserve(descriptor, bytes) ? map(descriptor, bytes) : nullptr;
  if (memory == nullptr) {
    close(descriptor);
    return nullptr;
  }
  return std::shared_ptr<SharedBlock>(new SharedBlock(fmt::format("{} {} {}", getpid(), descriptor, label), descriptor, memory, floats));
}

SharedBlock::~SharedBlock() {
  stop_sharing();
  for (float* part : parts_)
    if (part != mine_) munmap(part, floats_ * sizeof(float));
  munmap(mine_, floats_ * sizeof(float));
}

bool SharedBlock::open(const std::vector<std::string>& addresses, int rank) {
  for (size_t r = 0; r < addresses.size(); ++r) {
    float* part = static_cast<int>(r) == rank ? mine_ : map_part(addresses[r], floats_ * sizeof(float));
    if (part == nullptr) return false;
    parts_.push_back(part);
  }
  return true;
}

void SharedBlock::stop_sharing() {
  if (descriptor_ >= 0) close(descriptor_);
  descriptor_ = -1;
}

}  // namespace cohort::comm
