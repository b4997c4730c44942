#include "core/model/rope_table.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace cohort::model {
namespace {

double yarn_mscale(double factor, double mscale) { return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0; }

/// The dimension whose wavelength fits `rotations` times into the original context.
double correction_index(double rotations, double dim, double base, double original) {
  return dim * std::log(original / (rotations * 2.0 * std::numbers::pi)) / (2.0 * std::log(base));
}

double yarn_frequency(double f, int64_t i, int64_t dim, const Architecture& a) {
  const RopeScaling& s = a.rope_scaling;
  const double d = static_cast<double>(dim);
  const double low = std::max(std::floor(correction_index(s.beta_fast, d, a.rope_theta, s.original_max_position_embeddings)), 0.0);
  double high = std::min(std::ceil(correction_index(s.beta_slow, d, a.rope_theta, s.original_max_position_embeddings)), d - 1.0);
  if (high == low) high += 0.001;
  const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
  return ramp * f / s.factor + (1.0 - ramp) * f;
}

double llama3_frequency(double f, const RopeScaling& s) {
  const double wavelength = 2.0 * std::numbers::pi / f;
  if (wavelength < s.original_max_position_embeddings / s.high_freq_factor) return f;
  if (wavelength > s.original_max_position_embeddings / s.low_freq_factor) return f / s.factor;
  const double smooth = (s.original_max_position_embeddings / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - smooth) * f / s.factor + smooth * f;
}

}  // namespace

std::vector<double> rope_frequencies(const Architecture& a, int64_t dim) {
  std::vector<double> out;
  for (int64_t i = 0; i < dim / 2; ++i) {
    const double f = std::pow(a.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
    out.push_back(a.rope_scaling.type == "yarn"     ? yarn_frequency(f, i, dim, a)
                  : a.rope_scaling.type == "llama3" ? llama3_frequency(f, a.rope_scaling)
                                                    : f);
  }
  return out;
}

double rope_amplitude(const RopeScaling& s) {
  if (s.type != "yarn") return 1.0;
  if (s.attention_factor > 0.0) return s.attention_factor;
  if (s.mscale > 0.0 && s.mscale_all_dim > 0.0) return yarn_mscale(s.factor, s.mscale) / yarn_mscale(s.factor, s.mscale_all_dim);
  return yarn_mscale(s.factor, 1.0);
}

double attention_scale(const Architecture& a) {
  if (!a.uses_mla()) return 1.0 / std::sqrt(static_cast<double>(a.head_dim));
  double scale = 1.0 / std::sqrt(static_cast<double>(a.qk_nope_head_dim + a.qk_rope_head_dim));
  if (a.rope_scaling.type == "yarn" && a.rope_scaling.mscale_all_dim > 0.0) {
    const double m = yarn_mscale(a.rope_scaling.factor, a.rope_scaling.mscale_all_dim);
    scale *= m * m;
  }
  return scale;
}

RopeTable make_rope_table(const Architecture& a, int64_t dim) {
  const std::vector<double> frequency = rope_frequencies(a, dim);
  const double amplitude = rope_amplitude(a.rope_scaling);
  RopeTable table{at::empty({a.max_position_embeddings, dim / 2}, at::kFloat), at::empty({a.max_position_embeddings, dim / 2}, at::kFloat)};
  float *cosine = table.cosine.data_ptr<float>(), *sine = table.sine.data_ptr<float>();
  for (int64_t p = 0; p < a.max_position_embeddings; ++p)
    for (double f : frequency) {
      // The angle is rounded to fp32 first, as in the published implementations.
      const float angle = static_cast<float>(p) * static_cast<float>(f);
      *cosine++ = static_cast<float>(std::cos(static_cast<double>(angle)) * amplitude);
      *sine++ = static_cast<float>(std::sin(static_cast<double>(angle)) * amplitude);
    }
  return table;
}

}  // namespace cohort::model
