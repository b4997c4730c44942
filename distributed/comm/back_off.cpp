#include "distributed/comm/back_off.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace cohort::comm {

void back_off(int idle) {
  constexpr int kSpins = 200;
  constexpr int kYields = 200;
  if (idle < kSpins) return;
  if (idle < kSpins + kYields) {
    std::this_thread::yield();
    return;
  }
  const int doublings = std::min((idle - kSpins - kYields) / 20, 5);
  std::this_thread::sleep_for(std::chrono::microseconds(std::min(20 << doublings, 500)));
}

}  // namespace cohort::comm
