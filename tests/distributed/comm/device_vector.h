#pragma once
/// Numbers in device memory, for tests: a real device's or the fake's.

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "distributed/comm/nccl_api.h"
#include "distributed/comm/nccl_group.h"

namespace cohort::test {

inline void check_cuda(const comm::NcclApi& api, cudaError_t result, const char* what) {
  if (result != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + api.cudaGetErrorString(result));
}

/// Holds floats as fp32 or, rounded towards zero, as bf16; small whole numbers are exact in both.
class DeviceVector {
 public:
  DeviceVector(const comm::NcclApi& api, const std::vector<float>& values, comm::Element element = comm::Element::kFloat32)
      : api_(api), length_(values.size()), element_(element) {
    check_cuda(api_, api_.cudaMalloc(&data_, length_ * width() + 1), "cudaMalloc");
    std::vector<char> bytes(length_ * width());
    for (size_t i = 0; i < length_; ++i) {
      const auto bits = std::bit_cast<uint32_t>(values[i]);
      for (size_t b = 0; b < width(); ++b) bytes[i * width() + b] = static_cast<char>(bits >> (8 * (b + 4 - width())));
    }
    check_cuda(api_, api_.cudaMemcpy(data_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  ~DeviceVector() { api_.cudaFree(data_); }
  DeviceVector(const DeviceVector&) = delete;
  DeviceVector& operator=(const DeviceVector&) = delete;

  comm::DeviceArray array() const { return {data_, length_, element_}; }
  void* data() const { return data_; }

  std::vector<float> values() const {
    std::vector<char> bytes(length_ * width());
    check_cuda(api_, api_.cudaMemcpy(bytes.data(), data_, bytes.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    std::vector<float> values(length_);
    for (size_t i = 0; i < length_; ++i) {
      uint32_t bits = 0;
      for (size_t b = 0; b < width(); ++b)
        bits |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i * width() + b])) << (8 * (b + 4 - width()));
      values[i] = std::bit_cast<float>(bits);
    }
    return values;
  }

 private:
  size_t width() const { return element_ == comm::Element::kFloat32 ? 4 : 2; }

  const comm::NcclApi& api_;
  size_t length_;
  comm::Element element_;
  void* data_ = nullptr;
};

/// The device for this rank when each rank of a host takes one of its own.
inline int device_of(const comm::Communicator& world) {
  int before = 0;
  for (int r = 0; r < world.rank(); ++r) before += world.host(r) == world.host() ? 1 : 0;
  return before;
}

}  // namespace cohort::test
