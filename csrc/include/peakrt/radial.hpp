// The sigma-clipping step of peakfinder8 for one radial bin, shared by the CPU and the CUDA kernels.
// Barty et al., J. Appl. Cryst. 47 (2014) 1118. All in float32, without fused multiply-add, so that the
// result is the original's to the last bit.
#pragma once
#include <cfloat>
#include <cmath>

#include "peakrt/peak.hpp"

namespace peakrt {

struct RadialBin {
  float offset, low, high;  // mean; the open interval that the next pass keeps
};

// sum, sum_squares, count: of the pixels kept by this pass.
PEAKRT_HD inline RadialBin clip(float sum, float sum_squares, int count, float min_snr, float adc_threshold) {
  if (count == 0) return {0.f, FLT_MIN, FLT_MAX};
  const float n = static_cast<float>(count);
#if defined(__CUDA_ARCH__)
  const float offset = __fdiv_rn(sum, n);
  float sigma = __fsub_rn(__fdiv_rn(sum_squares, n), __fmul_rn(offset, offset));
  if (sigma >= 0) sigma = __fsqrt_rn(sigma);
  const float width = __fmul_rn(min_snr, sigma);
  const float high = __fadd_rn(offset, width);
  return {offset, __fsub_rn(offset, width), high < adc_threshold ? adc_threshold : high};
#else
  const float offset = sum / n;
  float sigma = sum_squares / n - offset * offset;
  if (sigma >= 0) sigma = std::sqrt(sigma);
  const float width = min_snr * sigma;
  const float high = offset + width;
  return {offset, offset - width, high < adc_threshold ? adc_threshold : high};
#endif
}

constexpr int kClipPasses = 5;  // as in Cheetah

}  // namespace peakrt
