// The input of the segmentation model for a pixel. Written once for every device.
#pragma once
#include <cmath>

#include "peakrt/features.hpp"

namespace peakrt {

constexpr int kSegmentationChannels = 3;

// Pixel i of a frame in units of sigma, compressed; the photons of that sigma; whether it is good. Zeros if it is not.
template <class T>
PEAKRT_HD inline void segmentation_input(const T* frame, const std::uint16_t* bin, const float* mean,
                                         const float* inverse, const float* photons, std::int64_t i, float* height,
                                         float* level, float* good) {
  const float scale = inverse[bin[i]], z = (static_cast<float>(frame[i]) - mean[bin[i]]) * scale;
  const bool counts = scale > 0 && z > -1e9f && z < 1e9f;
  const float size = .5f * log1pf(fabsf(z));
  *height = counts ? (z > 0 ? size : -size) : 0.f;
  *level = counts ? .2f * logf(most(photons[bin[i]], 1e-6f)) : 0.f;
  *good = counts ? 1.f : 0.f;
}

}  // namespace peakrt
