// One row of the peak table; the numpy dtype peakrt.peaks.PEAK mirrors it field for field.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define PEAKRT_HD __host__ __device__
#else
#define PEAKRT_HD
#endif

namespace peakrt {

struct Peak {
  std::int32_t panel;
  float ss, fs;     // centroid in the panel; an integer is a pixel centre
  float intensity;  // sum above background, ADU
  float max;        // brightest pixel above background, ADU
  float background, noise, snr;
  std::int32_t npix;
  std::int32_t top_ss, top_fs;                  // the brightest pixel
  std::int32_t min_ss, max_ss, min_fs, max_fs;  // extent, both ends included
  float var_ss, var_fs, cov;                    // second central moments, pixel^2
  float score;                                  // 0..1; NaN for classical finders
  float err_ss, err_fs;                         // standard errors of the centroid; NaN for classical finders
};

// A rectangle of one panel inside which peaks are connected: an ASIC, or the whole panel.
struct Asic {
  std::int32_t panel, min_ss, end_ss, min_fs, end_fs;
};

struct Shape {
  std::int32_t panel, ss, fs;
  PEAKRT_HD std::int64_t pixels() const { return std::int64_t(panel) * ss * fs; }
};

}  // namespace peakrt
