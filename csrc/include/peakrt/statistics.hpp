// Clipped statistics of the proposer: background and noise of a bin, and the noise of sums of pixels. Written once for
// every device, sums in one order, so that all give the same bits.
#pragma once
#include "peakrt/candidate.hpp"

namespace peakrt {

constexpr int kPool = 500;      // values that a mean and a sigma should rest on
constexpr int kPoolReach = 12;  // bins to each side that may be pooled to get there
constexpr int kLeast = 12;      // values without which a bin has no statistics
constexpr int kPasses = 5, kNoisePasses = 3;
constexpr int kSumsSide = (kWindow - 4) / 2, kSums = kSumsSide * kSumsSide;  // sums that a window gives

// What the next pass keeps; background, 1 / sigma (0: no statistics) and sigma^2 in photons.
struct BinLevel {
  float low, high, mean, inverse, photons;
};

// From how many values were kept of a bin and its neighbours, their mean and their standard deviation.
PEAKRT_HD inline BinLevel bin_level(double n, double mean, double deviation, float gain, Clip clip) {
  if (n < kLeast) return {1e30f, -1e30f, 0.f, 0.f, 1.f};
  const float sigma = float(deviation), trusted = most(sigma, kSigmaFloor * gain);
  return {float(mean) - kClip * sigma, float(mean) + most(clip.high * sigma, 3 * gain), float(mean), 1 / trusted,
          trusted * trusted / (gain * gain)};
}

// Sums over what was kept of bin b and of as many neighbours as it takes.
PEAKRT_HD inline void pool(const float* count, const float* sum, const float* squares, int bins, int b, bool radial,
                           double* n_of, double* s_of, double* q_of) {
  double n = count[b], s = sum[b], q = squares[b];
  for (int reach = 1; radial && reach <= kPoolReach && (reach == 1 || n < kPool); ++reach) {
    if (b - reach >= 0) {
      n += count[b - reach];
      s += sum[b - reach];
      q += squares[b - reach];
    }
    if (b + reach < bins) {
      n += count[b + reach];
      s += sum[b + reach];
      q += squares[b + reach];
    }
  }
  *n_of = n;
  *s_of = s;
  *q_of = q;
}

// Mean and sigma of bin b and its neighbours.
PEAKRT_HD inline BinLevel pool_bin(const float* count, const float* sum, const float* squares, int bins, int b,
                                   bool radial, float gain, Clip clip) {
  double n, s, q;
  pool(count, sum, squares, bins, b, radial, &n, &s, &q);
  const double mean = s / n, variance = q / n - mean * mean;
  return bin_level(n, mean, sqrt(variance > 0 ? variance : 0.), gain, clip);
}

// What the threads that look at a window share.
struct WindowShared {
  float z[kWindow][kWindow], rows[(kWindow + 1) * 2];
  bool good[kWindow][kWindow];
};

// Sums of 3 x 3 and of 5 x 5 pixels in a window, above the window's mean, in units of independent pixels' sigma; NaN
// where the window has no good pixel. three, five: kSums of each, stride numbers apart.
template <class T, class Members>
PEAKRT_HD inline void window_sums(Members team, WindowShared* shared, const SigmaView<T>& view, const Window& window,
                                  float* three, float* five, int stride) {
  auto& z = shared->z;
  auto& good = shared->good;
  for (int k = team.rank(); k < kWindow * kWindow; k += team.size) {
    const int i = k / kWindow, j = k % kWindow;
    good[i][j] = view.z(view.asic.min_ss + window.ss + i, view.asic.min_fs + window.fs + j, &z[i][j]);
  }
  team.meet();
  float sums[2];
  sum_rows<2>(team, 0, kWindow - 1, shared->rows, sums, [&](int j, float* own) {  // column by column
    for (int i = 0; i < kWindow; ++i) {
      if (!good[i][j]) continue;
      own[0] += least(most(z[i][j], -4.f), 4.f);
      own[1] += 1;
    }
  });
  for (int k = team.rank(); k < kWindow * kWindow; k += team.size) {
    const int i = k / kWindow, j = k % kWindow;
    z[i][j] = good[i][j] ? z[i][j] - sums[0] / sums[1] : 0;
  }
  team.meet();
  for (int k = team.rank(); k < kSums; k += team.size) {
    const int i = 2 + k / kSumsSide * 2, j = 2 + k % kSumsSide * 2;
    float t = 0, f = 0;
    for (int a = -2; a <= 2; ++a)
      for (int b = -2; b <= 2; ++b) {
        f += z[i + a][j + b];
        if (a >= -1 && a <= 1 && b >= -1 && b <= 1) t += z[i + a][j + b];
      }
    three[k * stride] = sums[1] > 0 ? t / 3 : NAN;
    five[k * stride] = sums[1] > 0 ? f / 5 : NAN;
  }
}

struct NoiseSums {
  double n = 0, s = 0, q = 0;

  // Where it is within 4 sigma.
  PEAKRT_HD void add(float value, float sigma) {
    if (!(fabsf(value) < 4 * sigma)) return;
    n += 1;
    s += value;
    q += double(value) * value;
  }
  PEAKRT_HD void add(const NoiseSums& other) {
    n += other.n;
    s += other.s;
    q += other.q;
  }
};

// The sigma of sums as it is clipped pass by pass.
struct Noise {
  float sigma = 1;
  std::int32_t too_few = 0;

  PEAKRT_HD void refine(const NoiseSums& sums, float most_allowed) {
    if (sums.n < 100) too_few = 1;
    if (too_few) return;
    const double mean = sums.s / sums.n, variance = sums.q / sums.n - mean * mean;
    sigma = least(most(float(sqrt(variance > 0 ? variance : 0.)), 0.8f), most_allowed);
  }
  PEAKRT_HD float settled() const { return too_few ? 1.f : most(sigma, 0.9f); }
};
constexpr float kMostNoise3 = 3, kMostNoise5 = 5;

}  // namespace peakrt
