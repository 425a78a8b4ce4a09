// What a candidate's neighbours and its frame say of it. Written once for every device.
#pragma once
#include "peakrt/features.hpp"

namespace peakrt {

constexpr int kNear = 30, kRivalReach = 7;   // pixels: where neighbours are counted, where the strongest is looked for
constexpr float kOfBin = 4, kStrong = 4.5f;  // significance of what is counted as a peak of a bin, of the frame

// Logarithm of how much stronger the strongest neighbour is; -1 without a stronger one.
PEAKRT_HD inline float rival_number(float rival, float strength) {
  return rival > 0 ? logf(most(rival, 1.f) / most(strength, 1.f)) : -1;
}

// Whether a candidate is clear enough to say how sharp the frame's peaks are; whether it is a peak or a spike.
PEAKRT_HD inline bool tells_sharpness(const float* f) { return is_clear(f[f_sum3_poisson], f[f_sum3_snr]); }
PEAKRT_HD inline bool is_sharp(const float* f) { return f[f_second_of_height] > .15f; }

PEAKRT_HD inline float quantile(const float* sorted, int n, float q) {
  const float at = q * float(n - 1);
  const int low = int(at), high = low + 1 < n ? low + 1 : n - 1;
  return sorted[low] + (at - float(low)) * (sorted[high] - sorted[low]);
}

struct CrowdNumbers {
  float density, frame_density, candidate_density, sharp_density, spike_density, quantiles[4];

  // clear: clear peaks by bin; pixels: good pixels by bin.
  PEAKRT_HD void put(float* f, const std::int32_t* clear, const std::int32_t* bin_pixels, int n_bins, int bin) const {
    float n = 0, pixels = 0;
    for (int b = bin > 2 ? bin - 2 : 0; b <= bin + 2 && b < n_bins; ++b) {
      n += float(clear[b]);
      pixels += float(bin_pixels[b]);
    }
    f[f_frame_density] = frame_density;
    f[f_bin_density] = logf((n / most(pixels, 50.f) * 1e6f + 20) / (density + 20));
    f[f_candidate_density] = candidate_density;
    f[f_sharp_density] = sharp_density;
    f[f_spike_density] = spike_density;
    for (int i = 0; i < 4; ++i) f[f_sharpness25 + i] = quantiles[i];
  }
};

// megapixels: good ones; sharpness, seconds: of the sharp peaks, sorted.
PEAKRT_HD inline CrowdNumbers crowd_numbers(float megapixels, int candidates, int strong, int sharp, int spikes,
                                            const float* sharpness, const float* seconds) {
  const float density = float(strong) / megapixels;
  CrowdNumbers numbers = {density,
                          log1pf(density),
                          log1pf(float(candidates) / megapixels),
                          log1pf(float(sharp) / megapixels),
                          log1pf(float(spikes) / megapixels),
                          {-1, -1, -1, -1}};
  if (sharp >= 4) {  // else too few to say
    numbers.quantiles[0] = quantile(sharpness, sharp, .25f);
    numbers.quantiles[1] = quantile(sharpness, sharp, .5f);
    numbers.quantiles[2] = quantile(sharpness, sharp, .75f);
    numbers.quantiles[3] = quantile(seconds, sharp, .5f);
  }
  return numbers;
}

// A pixel is bad once it stood alone in kBadFrames frames, and in kBadShare of all (peakrt/finders/bad_pixels.py).
constexpr int kBadFrames = 5;
constexpr float kBadShare = 0.4f, kAlone = 6, kDark = 2.5f;  // significance of the pixel, and of the eight around it
PEAKRT_HD inline bool stands_alone(const float* f) {
  return f[f_height_poisson] > kAlone && f[f_around3_poisson] < kDark;
}
PEAKRT_HD inline bool is_often(int times, int frames) {
  return times >= kBadFrames && float(times) >= kBadShare * float(frames);
}

}  // namespace peakrt
