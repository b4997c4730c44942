#pragma once
/// Counts the memory of tensors.

#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <cstring>
#include <memory>

namespace cohort::test {

/// Counts the bytes of tensors that are made between construction and destruction.
class CountedMemory final : public c10::Allocator {
 public:
  CountedMemory() : inner_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 1); }
  ~CountedMemory() override { c10::SetCPUAllocator(inner_, 1); }
  c10::DataPtr allocate(size_t bytes) override {
    auto block = std::make_unique<Block>(Block{inner_->allocate(bytes), bytes, count_});
    count_->now += bytes, count_->peak = std::max(count_->peak, count_->now);
    void* data = block->data.get();
    return {data, block.release(), &release, c10::Device(c10::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t count) const override { std::memcpy(to, from, count); }
  size_t peak() const { return count_->peak; }

 private:
  struct Count {
    size_t now = 0, peak = 0;
  };
  struct Block {
    c10::DataPtr data;
    size_t bytes;
    std::shared_ptr<Count> count;  // a tensor may outlive the allocator
  };
  static void release(void* context) {
    const std::unique_ptr<Block> block(static_cast<Block*>(context));
    block->count->now -= block->bytes;
  }
  c10::Allocator* inner_;
  std::shared_ptr<Count> count_ = std::make_shared<Count>();
};

}  // namespace cohort::test
