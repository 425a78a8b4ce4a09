// A group of pixels above threshold, measured: one source for the CPU and the CUDA kernels. Float32 throughout and
// in the original's order of additions, so that both give its bits.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "peakrt/moments.hpp"
#include "peakrt/peak.hpp"

namespace peakrt {

struct Peakfinder8Options {
  float adc_threshold, min_snr;
  int min_pixels, max_pixels, background_radius;
};

// One ASIC of one frame, with what the radial statistics say of its pixels. bin n_bins: the mask is bad.
template <class T>
struct AsicView {
  const T* frame;
  const std::uint16_t* bin;
  const float *threshold, *offset;
  Shape shape;
  Asic asic;
  int n_bins;

  PEAKRT_HD int n_ss() const { return asic.end_ss - asic.min_ss; }
  PEAKRT_HD int n_fs() const { return asic.end_fs - asic.min_fs; }
  // Position of the ASIC's first pixel in the slab of stacked panels.
  PEAKRT_HD int first_ss() const { return asic.panel * shape.ss + asic.min_ss; }
  PEAKRT_HD int first_fs() const { return asic.min_fs; }
  PEAKRT_HD std::int64_t index(int ss, int fs) const {
    return std::int64_t(first_ss() + ss) * shape.fs + first_fs() + fs;
  }
  PEAKRT_HD float value(std::int64_t pixel) const { return static_cast<float>(frame[pixel]); }
  PEAKRT_HD bool above(std::int64_t pixel) const {
    return value(pixel) > threshold[bin[pixel]] && value(pixel) <= FLT_MAX;
  }
  // Whether a slab position lies between the centres of the outermost pixels.
  PEAKRT_HD bool inside(float ss, float fs) const {
    return fs >= first_fs() && fs <= first_fs() + n_fs() - 1 && ss >= first_ss() && ss <= first_ss() + n_ss() - 1;
  }
};

// Sums over the pixels of a group in the order they were found; weights are above the radial mean.
struct GroupSums {
  float weight = 0, ss = 0, fs = 0;

  template <class T>
  PEAKRT_HD void add(const AsicView<T>& view, int ss_in_asic, int fs_in_asic) {
    const std::int64_t pixel = view.index(ss_in_asic, fs_in_asic);
    const float above = view.value(pixel) - view.offset[view.bin[pixel]];
    weight += above;
    fs += above * static_cast<float>(view.first_fs() + fs_in_asic);
    ss += above * static_cast<float>(view.first_ss() + ss_in_asic);
  }
};

struct RingStats {
  float background, noise, highest;
};

// Mean and scatter of the good pixels below threshold in a disc about a pixel (in the ASIC); the disc's last row and
// column are left out, as in the original.
template <class T>
PEAKRT_HD RingStats measure_ring(const AsicView<T>& view, int com_ss, int com_fs, int reach) {
  RingStats ring = {0.f, 0.01f, 0.f};
  float sum = 0, squares = 0;
  int n = 0;
  for (int d_ss = -reach; d_ss < reach; ++d_ss)
    for (int d_fs = -reach; d_fs < reach; ++d_fs) {
      const int ss = com_ss + d_ss, fs = com_fs + d_fs;
      if (ss < 0 || fs < 0 || ss >= view.n_ss() || fs >= view.n_fs()) continue;
      if (d_ss * d_ss + d_fs * d_fs > reach * reach) continue;
      const std::int64_t pixel = view.index(ss, fs);
      const int bin = view.bin[pixel];
      const float v = view.value(pixel);
      if (bin == view.n_bins || !(v < view.threshold[bin])) continue;
      ++n;
      sum += v;
      squares += v * v;
      if (v > ring.highest) ring.highest = v;
    }
  if (n == 0) {
    const int bin = view.bin[view.index(com_ss, com_fs)];
    if (bin != view.n_bins) ring.background = view.offset[bin];
    return ring;
  }
  ring.background = sum / static_cast<float>(n);
  const float variance = squares / static_cast<float>(n) - ring.background * ring.background;
  if (variance >= 0) ring.noise = std::sqrt(variance);
  return ring;
}

// Brightest pixel, extent and moments of a peak: what the original does not give. pixels: indices in the slab.
template <class T>
PEAKRT_HD void describe(const AsicView<T>& view, const std::int32_t* pixels, int n, Peak* peak) {
  const int panel_ss = view.asic.panel * view.shape.ss;
  const int origin_ss = pixels[0] / view.shape.fs - panel_ss, origin_fs = pixels[0] % view.shape.fs;
  Moments moments;
  float brightest = -INFINITY;
  peak->min_ss = peak->max_ss = origin_ss;
  peak->min_fs = peak->max_fs = origin_fs;
  for (int k = 0; k < n; ++k) {
    const int ss = pixels[k] / view.shape.fs - panel_ss, fs = pixels[k] % view.shape.fs;
    const float v = view.value(pixels[k]);
    moments.add(v - peak->background, float(ss - origin_ss), float(fs - origin_fs));
    peak->min_ss = ss < peak->min_ss ? ss : peak->min_ss;
    peak->max_ss = ss > peak->max_ss ? ss : peak->max_ss;
    peak->min_fs = fs < peak->min_fs ? fs : peak->min_fs;
    peak->max_fs = fs > peak->max_fs ? fs : peak->max_fs;
    if (v > brightest) {
      brightest = v;
      peak->top_ss = ss;
      peak->top_fs = fs;
    }
  }
  moments.variances(&peak->var_ss, &peak->var_fs, &peak->cov);
}

// Measures a group of n pixels; false if it is no peak.
template <class T>
PEAKRT_HD bool measure_group(const AsicView<T>& view, const Peakfinder8Options& options, const GroupSums& sums,
                             const std::int32_t* pixels, int n, Peak* peak) {
  if (n < options.min_pixels || n > options.max_pixels || std::fabs(sums.weight) < 1e-10) return false;
  const float seed_fs = sums.fs / std::fabs(sums.weight), seed_ss = sums.ss / std::fabs(sums.weight);
  if (!view.inside(seed_ss, seed_fs)) return false;
  const RingStats ring = measure_ring(view, int(std::rint(seed_ss)) - view.first_ss(),
                                      int(std::rint(seed_fs)) - view.first_fs(), 2 * options.background_radius);
  float total = 0, raw = 0, top = 0, raw_fs = 0, raw_ss = 0;
  for (int k = 0; k < n; ++k) {
    const float v = view.value(pixels[k]), above = v - ring.background;
    total += above;
    raw += v;
    raw_fs += v * static_cast<float>(pixels[k] % view.shape.fs);
    raw_ss += v * static_cast<float>(pixels[k] / view.shape.fs);
    if (above > top) top = above;
  }
  if (std::fabs(raw) < 1e-10) return false;
  const float com_fs = raw_fs / std::fabs(raw), com_ss = raw_ss / std::fabs(raw);
  const float snr = std::fabs(ring.noise) > 1e-10 ? total / ring.noise : 0.f;
  if (snr < options.min_snr || top < ring.highest - ring.background || !view.inside(com_ss, com_fs)) return false;
  *peak = Peak{};
  peak->panel = view.asic.panel;
  peak->ss = com_ss - float(view.asic.panel * view.shape.ss);
  peak->fs = com_fs;
  peak->intensity = total;
  peak->max = top;
  peak->background = ring.background;
  peak->noise = ring.noise;
  peak->snr = snr;
  peak->npix = n;
  peak->score = peak->err_ss = peak->err_fs = NAN;
  describe(view, pixels, n, peak);
  return true;
}

}  // namespace peakrt
