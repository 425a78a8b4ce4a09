// A peak measured from the image: centroid, intensity, extent and their errors. Written once for every device.
#pragma once
#include <cmath>
#include <cstdint>

#include "peakrt/candidate.hpp"
#include "peakrt/moments.hpp"

namespace peakrt {

// An accepted peak close enough to claim some of the measured one's pixels: where, relative to it; whether it is the
// earlier in raster order, and so has pixels that are as near to both.
struct Other {
  std::int16_t ss, fs;
  bool earlier;
};
constexpr int kOtherReach = 20;   // pixels
constexpr int kMostOthers = 256;  // that can be so near: they are more than kSuppress apart

// Measures one peak.
template <class T>
class Measurement {
 public:
  PEAKRT_HD Measurement(const SigmaView<T>& view, const Candidate& c, float gain, const Other* others, int n_others)
      : view_(view), c_(c), gain_(gain), bin_(view.bin_at(c.ss, c.fs)) {
    sigma_ = 1 / view.inverse[bin_];
    for (int i = -kFar; i <= kFar; ++i)
      for (int j = -kFar; j <= kFar; ++j) {
        float z;
        const bool good = view.z(c.ss + i, c.fs + j, &z);
        mine_[i + kFar][j + kFar] = good && owned(i, j, others, n_others);
        z_[i + kFar][j + kFar] = good ? z : 0;
      }
  }

  PEAKRT_HD Peak measure(float score) {
    background(20);
    float size = shape();
    if (size > 1.3f) {  // its light reaches into the ring: take one farther out
      background(least(11 * size * size, 64.f));
      size = shape();
    }
    centroid(size);
    photometry(size);
    peak_.score = score;
    return peak_;
  }

 private:
  static constexpr int kFar = 10, kSide = 2 * kFar + 1;

  PEAKRT_HD static bool owned(int i, int j, const Other* others, int n_others) {
    const int here = i * i + j * j;
    for (int k = 0; k < n_others; ++k) {
      const int a = i - others[k].ss, b = j - others[k].fs, there = a * a + b * b;
      if (there < here || (there == here && others[k].earlier)) return false;
    }
    return true;
  }

  // Above the mean of the ring around, in ADU, where nobody else's light falls.
  PEAKRT_HD float adu(int i, int j) const { return (z_[i + kFar][j + kFar] - level_) * sigma_; }

  // From the ring of inner2 <= r^2 <= inner2 + 60.
  PEAKRT_HD void background(float inner2) {
    float sum = 0, squares = 0;
    int n = 0;
    for (int i = -kFar; i <= kFar; ++i)
      for (int j = -kFar; j <= kFar; ++j) {
        const float d2 = float(i * i + j * j);
        if (d2 < inner2 || d2 > inner2 + 60 || !mine_[i + kFar][j + kFar]) continue;
        const float v = least(most(z_[i + kFar][j + kFar] - c_.local, -3.f), 3.f);
        sum += v;
        squares += v * v;
        ++n;
      }
    const float mean = n > 5 ? sum / float(n) : 0;
    level_ = c_.local + mean;
    ring_n_ = n > 5 ? float(n) : 100.f;
    // The clip at 3 sigma takes 1.5 % off a Gaussian's sigma.
    noise_ = sigma_ * (n > 5 ? most(.5f, sqrtf(most(0.f, squares / float(n) - mean * mean)) * 1.015f) : 1.f);
    peak_.background = view_.mean[bin_] + level_ * sigma_;
    peak_.noise = noise_;
  }

  // Second moments of what is clearly above background and connected to the top; returns an rms size.
  PEAKRT_HD float shape() {
    bool in[kSide][kSide] = {};
    std::uint16_t queue[kSide * kSide];
    int n = 0;
    in[kFar][kFar] = true;
    queue[n++] = std::uint16_t(kFar * kSide + kFar);
    const float level = 2.5f * noise_;
    Moments moments;
    float top = -1e30f;
    peak_.panel = c_.panel;
    peak_.min_ss = peak_.max_ss = peak_.top_ss = c_.ss;
    peak_.min_fs = peak_.max_fs = peak_.top_fs = c_.fs;
    for (int at = 0; at < n; ++at) {
      const int i = queue[at] / kSide - kFar, j = queue[at] % kSide - kFar;
      const float v = adu(i, j);
      if (v > 0) moments.add(v, float(i), float(j));
      if (v > top) {
        top = v;
        peak_.top_ss = c_.ss + i;
        peak_.top_fs = c_.fs + j;
      }
      if (c_.ss + i < peak_.min_ss) peak_.min_ss = c_.ss + i;
      if (c_.ss + i > peak_.max_ss) peak_.max_ss = c_.ss + i;
      if (c_.fs + j < peak_.min_fs) peak_.min_fs = c_.fs + j;
      if (c_.fs + j > peak_.max_fs) peak_.max_fs = c_.fs + j;
      for (int a = i > -kFar ? i - 1 : i; a <= (i < kFar ? i + 1 : i); ++a)
        for (int b = j > -kFar ? j - 1 : j; b <= (j < kFar ? j + 1 : j); ++b) {
          if (in[a + kFar][b + kFar] || !mine_[a + kFar][b + kFar] || adu(a, b) < level) continue;
          in[a + kFar][b + kFar] = true;
          queue[n++] = std::uint16_t((a + kFar) * kSide + b + kFar);
        }
    }
    peak_.npix = n;
    peak_.max = top;
    moments.variances(&peak_.var_ss, &peak_.var_fs, &peak_.cov);
    const float half = .5f * (peak_.var_ss + peak_.var_fs), d = .5f * (peak_.var_ss - peak_.var_fs);
    return sqrtf(half + sqrtf(d * d + peak_.cov * peak_.cov));
  }

  // Gaussian-windowed centroid and its error: Bertin & Arnouts, A&AS 117 (1996) 393, SExtractor's XWIN.
  PEAKRT_HD void centroid(float size) {
    const float width = least(most(size, .9f), 3.f), scale = -.5f / (width * width);
    const int wide = int(ceilf(3 * width)), reach = wide < kFar ? wide : kFar;
    float ss = 0, fs = 0, sum = 0;
    for (int pass = 0; pass < 12; ++pass) {
      float w_ss = 0, w_fs = 0;
      sum = 0;
      for (int i = -reach; i <= reach; ++i)
        for (int j = -reach; j <= reach; ++j) {
          if (!mine_[i + kFar][j + kFar]) continue;
          const float a = float(i) - ss, b = float(j) - fs, w = expf(scale * (a * a + b * b)) * adu(i, j);
          sum += w;
          w_ss += w * a;
          w_fs += w * b;
        }
      if (!(sum > 0)) break;
      const float step_ss = 2 * w_ss / sum, step_fs = 2 * w_fs / sum;
      ss = least(most(ss + step_ss, -2.f), 2.f);
      fs = least(most(fs + step_fs, -2.f), 2.f);
      if (step_ss * step_ss + step_fs * step_fs < 1e-6f) break;
    }
    // How far noise moves the zero of sum(w I a), to first order.
    float e_ss = 0, e_fs = 0, steep_ss = 0, steep_fs = 0;
    for (int i = -reach; i <= reach; ++i)
      for (int j = -reach; j <= reach; ++j) {
        if (!mine_[i + kFar][j + kFar]) continue;
        const float a = float(i) - ss, b = float(j) - fs, w = expf(scale * (a * a + b * b));
        const float v = w * w * variance(i, j), light = w * adu(i, j);
        e_ss += v * a * a;
        e_fs += v * b * b;
        steep_ss += light * (1 + 2 * scale * a * a);
        steep_fs += light * (1 + 2 * scale * b * b);
      }
    const bool found = sum > 0;
    peak_.ss = float(c_.ss) + (found ? ss : 0);
    peak_.fs = float(c_.fs) + (found ? fs : 0);
    peak_.err_ss = error(e_ss, steep_ss, found, peak_.var_ss);
    peak_.err_fs = error(e_fs, steep_fs, found, peak_.var_fs);
  }

  // Where the light is in one pixel it may have fallen anywhere in it: an error that photons do not mend, by the
  // measured width along the axis, from simulation (Gaussian peaks of 0.05 to 0.9 pixels, 20,000 photons).
  PEAKRT_HD static float error(float noise, float steep, bool found, float width2) {
    const float photons = found && steep > 0 ? noise / (steep * steep) : .25f;
    const float eighth = powf(width2 / (kBlindWidth * kBlindWidth), 4.f), blind = kPixelError / (1 + eighth);
    return sqrtf(least(photons, .25f) + blind * blind);
  }

  PEAKRT_HD float variance(int i, int j) const { return noise_ * noise_ + gain_ * most(0.f, adu(i, j)); }

  PEAKRT_HD void photometry(float size) {
    const float reach = least(most(1.5f + 2.2f * size, 2.2f), float(kFar) - 1);
    const float o_ss = peak_.ss - float(c_.ss), o_fs = peak_.fs - float(c_.fs);
    float sum = 0, spread = 0, n = 0;
    for (int i = -kFar; i <= kFar; ++i)
      for (int j = -kFar; j <= kFar; ++j) {
        const float a = float(i) - o_ss, b = float(j) - o_fs;
        if (!mine_[i + kFar][j + kFar] || a * a + b * b > reach * reach) continue;
        sum += adu(i, j);
        spread += variance(i, j);
        n += 1;
      }
    spread += n * n * noise_ * noise_ / ring_n_;
    peak_.intensity = sum;
    peak_.snr = spread > 0 ? sum / sqrtf(spread) : 0;
  }

  static constexpr float kPixelError = 0.2f, kBlindWidth = 0.45f;  // pixels
  const SigmaView<T>& view_;
  const Candidate& c_;
  const float gain_;
  const int bin_;
  float sigma_, level_ = 0, noise_ = 1, ring_n_ = 100;
  float z_[kSide][kSide];
  bool mine_[kSide][kSide];
  Peak peak_{};
};

}  // namespace peakrt
