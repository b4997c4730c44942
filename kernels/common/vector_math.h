#pragma once
/// The scalar and row functions from which every CPU kernel is made. Included only by the files that are compiled once per instruction
/// set (row_kernels_*.cpp), each with its own -march.
///
/// Bitwise rules, so that the same row gives the same bits on every instruction set, in every batch, in training and in decoding:
///   * no contraction by the compiler (-ffp-contract=off): a fused multiply-add is written as one;
///   * sums over a row run in 16 lanes (lane = index mod 16), then lanes are added as a binary tree;
///   * no libm function inside (its result may change with the machine).

#include <bit>
#include <cstdint>

namespace cohort::kernels {
namespace COHORT_ISA {

constexpr int kLanes = 16;

inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

/// exp(x) to about 1 ulp: x = n·ln2 + r, a degree-6 polynomial for exp(r) (coefficients: Cephes expf). 0 below -87.3; saturates above 88.3.
inline float exp_f32(float x) {
  const float clamped = x < -87.3f ? -87.3f : (x > 88.3f ? 88.3f : x);
  constexpr float kRound = 12582912.0f;  // 1.5·2^23: adding and subtracting it rounds to an integer
  const float n = fused(clamped, 1.44269504088896341f, kRound) - kRound;
  float r = fused(n, -0.693359375f, clamped);
  r = fused(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = fused(p, r, 1.3981999507e-3f);
  p = fused(p, r, 8.3334519073e-3f);
  p = fused(p, r, 4.1665795894e-2f);
  p = fused(p, r, 1.6666665459e-1f);
  p = fused(p, r, 5.0000001201e-1f);
  p = fused(p, r * r, r + 1.0f);
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  return x < -87.3f ? 0.0f : p * scale;
}

inline float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

inline float add_lanes(const float* lanes) {
  float a[8], b[4];
  for (int i = 0; i < 8; ++i) a[i] = lanes[i] + lanes[i + 8];
  for (int i = 0; i < 4; ++i) b[i] = a[i] + a[i + 4];
  return (b[0] + b[2]) + (b[1] + b[3]);
}

inline float dot(const float* a, const float* b, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] = fused(a[i + l], b[i + l], lanes[l]);
  for (int l = 0; i + l < n; ++l) lanes[l] = fused(a[i + l], b[i + l], lanes[l]);
  return add_lanes(lanes);
}

inline float sum(const float* a, int64_t n) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += a[i + l];
  for (int l = 0; i + l < n; ++l) lanes[l] += a[i + l];
  return add_lanes(lanes);
}

inline float largest(const float* a, int64_t n) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = a[0];
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] = a[i + l] > lanes[l] ? a[i + l] : lanes[l];
  for (int l = 0; i + l < n; ++l) lanes[l] = a[i + l] > lanes[l] ? a[i + l] : lanes[l];
  float best = lanes[0];
  for (float lane : lanes) best = lane > best ? lane : best;
  return best;
}

}  // namespace COHORT_ISA
}  // namespace cohort::kernels
