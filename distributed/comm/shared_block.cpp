#include "distributed/comm/shared_block.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>

namespace cohort::comm {
namespace {

constexpr const char* kPrefix = "/cohort-";

std::string fresh_name() {
  std::random_device device;  // not the process number: containers on one host may count alike
  return fmt::format("{}{:08x}{:08x}{:08x}{:08x}", kPrefix, device(), device(), device(), device());
}

/// Null when it cannot be mapped. The descriptor is closed.
float* map_and_close(int descriptor, size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  close(descriptor);
  return memory == MAP_FAILED ? nullptr : static_cast<float*>(memory);
}

/// Another rank's part; null unless it is of this size and of this user.
float* map_part(const std::string& name, size_t bytes) {
  if (!name.starts_with(kPrefix) || name.find('/', 1) != std::string::npos || name.find('\0') != std::string::npos) return nullptr;
  const int descriptor = shm_open(name.c_str(), O_RDWR, 0);
  if (descriptor < 0) return nullptr;
  struct stat about {};
  if (fstat(descriptor, &about) != 0 || about.st_uid != geteuid() || static_cast<size_t>(about.st_size) != bytes) {
    close(descriptor);
    return nullptr;
  }
  return map_and_close(descriptor, bytes);
}

}  // namespace

std::shared_ptr<SharedBlock> SharedBlock::create(size_t floats) {
  const std::string name = fresh_name();
  const size_t bytes = floats * sizeof(float);
  const int descriptor = shm_open(name.c_str(), O_CREAT | O_EXCL | O_RDWR, S_IRUSR | S_IWUSR);
  if (descriptor < 0) return nullptr;
  float* memory = nullptr;
  if (posix_fallocate(descriptor, 0, static_cast<off_t>(bytes)) == 0) {
    memory = map_and_close(descriptor, bytes);
  } else {
    close(descriptor);
  }
  if (memory == nullptr) {
    shm_unlink(name.c_str());
    return nullptr;
  }
  return std::shared_ptr<SharedBlock>(new SharedBlock(name, memory, floats));
}

SharedBlock::~SharedBlock() {
  forget_name();
  for (float* part : parts_)
    if (part != mine_) munmap(part, floats_ * sizeof(float));
  munmap(mine_, floats_ * sizeof(float));
}

bool SharedBlock::open(const std::vector<std::string>& names, int rank) {
  for (size_t r = 0; r < names.size(); ++r) {
    float* part = static_cast<int>(r) == rank ? mine_ : map_part(names[r], floats_ * sizeof(float));
    if (part == nullptr) return false;
    parts_.push_back(part);
  }
  return true;
}

void SharedBlock::forget_name() {
  if (named_) shm_unlink(name_.c_str());
  named_ = false;
}

}  // namespace cohort::comm
