// Connected components of a sparse foreground, and the measurement of each.
#pragma once
#include <cstdint>
#include <vector>

#include "peakrt/dtype.hpp"
#include "peakrt/peak.hpp"

namespace peakrt {

// Numbers the 8-connected components of each panel, 1, 2, ... through all panels in raster order of their
// first pixel; labels 0 = background. Returns their number. Union-find over the foreground alone: Wu, Otoo &
// Suzuki, Pattern Anal. Appl. 12 (2009) 117.
std::int32_t label(Shape shape, const std::uint8_t* foreground, std::int32_t* labels);

// One Peak for each of the n components of label(). background: ADU in each pixel, subtracted; variance:
// ADU^2. Weights are frame - background; where they sum to nothing the centroid is the mean of the pixels.
// snr = intensity / sqrt(sum of variance).
void measure(Shape shape, Dtype dtype, const void* frame, const std::int32_t* labels, std::int32_t n,
             const float* background, const float* variance, const float* score, std::vector<Peak>* peaks);

}  // namespace peakrt
