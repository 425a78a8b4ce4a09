// A peak measured from the image: centroid, intensity, extent and their errors. Written once for every device.
#pragma once
#include <cmath>
#include <cstdint>

#include "peakrt/candidate.hpp"
#include "peakrt/moments.hpp"
#include "peakrt/team.hpp"

namespace peakrt {

// An accepted peak close enough to claim some of the measured one's pixels: where, relative to it; whether it is the
// earlier in raster order, and so has pixels that are as near to both.
struct Other {
  std::int16_t ss, fs;
  bool earlier;
};
constexpr int kOtherReach = 20;   // pixels
constexpr int kMostOthers = 256;  // that can be so near: they are more than kSuppress apart

// What the threads that measure a peak share.
struct MeasureShared {
  static constexpr int kFar = 10, kSide = 2 * kFar + 1;  // pixels to each side that are looked at
  float z[kSide][kSide];
  bool mine[kSide][kSide];
  std::int8_t first[kSide], last[kSide];      // of a row's columns that are nobody else's; none where first > last
  std::uint32_t bright[kSide], in[2][kSide];  // a bit for each pixel of a row
  float top[kSide], weight[kSide];
  std::int32_t top_at[kSide];
  float rows[(kSide + 1) * 7];
};

// Measures one peak, by the threads of a team together.
template <class T, class Members>
class Measurement {
 public:
  PEAKRT_HD Measurement(Members team, MeasureShared* shared, const SigmaView<T>& view, const Candidate& c, float gain,
                        float noise3, const Other* others, int n_others)
      : team_(team),
        z_(shared->z),
        mine_(shared->mine),
        shared_(shared),
        view_(view),
        c_(c),
        gain_(gain),
        blur2_(blur2(noise3)),
        bin_(view.bin_at(c.ss, c.fs)) {
    sigma_ = 1 / view.inverse[bin_];
    for (int i = team.rank(); i < kSide; i += team.size) own_columns(i, others, n_others);
    team.meet();
    each_of_square<kSide>(team, [&](int i, int j) {
      float z;
      const bool good = view.z(c.ss + i - kFar, c.fs + j - kFar, &z);
      mine_[i][j] = good && j >= shared->first[i] && j <= shared->last[i];
      z_[i][j] = good ? z : 0;
    });
    team.meet();
  }

  // Every thread gets the peak.
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
  static constexpr int kFar = MeasureShared::kFar, kSide = MeasureShared::kSide;

  // The columns of a row that are nearer to this peak than to every other; as near, where the other is not the earlier.
  // A column j is nearer if 2 (i a + j b) < a^2 + b^2, with the other at (a, b).
  PEAKRT_HD void own_columns(int row, const Other* others, int n_others) {
    int first = -kFar, last = kFar;
    for (int k = 0; k < n_others; ++k) {
      const int a = others[k].ss, b = others[k].fs, rest = a * a + b * b - others[k].earlier - 2 * (row - kFar) * a;
      if (b > 0) last = smaller(last, down(rest, 2 * b));
      if (b < 0) first = -smaller(-first, down(rest, -2 * b));
      if (b == 0 && rest < 0) first = kFar + 1;
    }
    shared_->first[row] = std::int8_t(smaller(first, kFar + 1) + kFar);
    shared_->last[row] = std::int8_t(-smaller(-last, kFar + 1) + kFar);
  }
  PEAKRT_HD static int smaller(int a, int b) { return a < b ? a : b; }
  // The largest whole number not above n / d.
  PEAKRT_HD static int down(int n, int d) { return n >= 0 ? n / d : -((d - 1 - n) / d); }

  // Above the mean of the ring around, in ADU, where nobody else's light falls.
  PEAKRT_HD float adu(int i, int j) const { return (z_[i + kFar][j + kFar] - level_) * sigma_; }

  template <int kValues, class Row>
  PEAKRT_HD void rows(int reach, float* total, Row&& row) const {
    sum_rows<kValues>(team_, -reach, reach, shared_->rows, total, row);
  }

  // From the ring of inner2 <= r^2 <= inner2 + 60.
  PEAKRT_HD void background(float inner2) {
    float sums[3];
    rows<3>(kFar, sums, [&](int i, float* own) {
      // Columns that may be in the ring, a little more than are.
      const float across = inner2 + 60 - float(i * i), hole = inner2 - float(i * i);
      const int far = across < 0 ? -1 : smaller(int(sqrtf(across)) + 1, kFar), near = hole > 1 ? int(sqrtf(hole)) : 0;
      for (int j = -far; j <= far; ++j) {
        if (j == 1 - near && near > 1) j = near;
        const float d2 = float(i * i + j * j);
        if (d2 < inner2 || d2 > inner2 + 60 || !mine_[i + kFar][j + kFar]) continue;
        const float v = least(most(z_[i + kFar][j + kFar] - c_.local, -3.f), 3.f);
        own[0] += v;
        own[1] += v * v;
        own[2] += 1;
      }
    });
    const float n = sums[2], mean = n > 5 ? sums[0] / n : 0;
    level_ = c_.local + mean;
    ring_n_ = n > 5 ? n : 100.f;
    // The clip at 3 sigma takes 1.5 % off a Gaussian's sigma.
    noise_ = sigma_ * (n > 5 ? most(.5f, sqrtf(most(0.f, sums[1] / n - mean * mean)) * 1.015f) : 1.f);
    peak_.background = view_.mean[bin_] + level_ * sigma_;
    peak_.noise = noise_;
  }

  // The rows' pixels that are clearly above background and connected to the top, as bits: which of the two lists of
  // shared_->in has them. Pixels touch at sides and corners.
  PEAKRT_HD int connected() const {
    constexpr bool kAlone = Members::size == 1;  // then only of the rows that are reached
    std::uint32_t known = 0;
    for (int i = team_.rank(); i < kSide; i += team_.size) {
      shared_->in[0][i] = std::uint32_t(i == kFar) << kFar;
      if (!kAlone) shared_->bright[i] = bright_pixels(i);
    }
    team_.meet();
    int now = 0;
    for (int grows = 1; grows; now = 1 - now) {
      const std::uint32_t* in = shared_->in[now];
      grows = 0;
      for (int i = team_.rank(); i < kSide; i += team_.size) {
        std::uint32_t reach = in[i] | (i > 0 ? in[i - 1] : 0) | (i < kSide - 1 ? in[i + 1] : 0), before = 0;
        if (kAlone && reach && !(known >> i & 1)) {
          shared_->bright[i] = bright_pixels(i);
          known |= std::uint32_t(1) << i;
        }
        while (reach != before) {
          before = reach;
          reach = in[i] | ((reach | reach << 1 | reach >> 1) & shared_->bright[i]);
        }
        shared_->in[1 - now][i] = reach;
        grows |= reach != in[i];
      }
      grows = team_.highest(grows);
      team_.meet();
    }
    return now;
  }

  // Of a row; the top is one of them.
  PEAKRT_HD std::uint32_t bright_pixels(int i) const {
    const float level = 2.5f * noise_;
    std::uint32_t bright = std::uint32_t(i == kFar) << kFar;
    for (int j = 0; j < kSide; ++j) bright |= std::uint32_t(mine_[i][j] & (adu(i - kFar, j - kFar) >= level)) << j;
    return bright;
  }

  // Second moments of those pixels; returns an rms size.
  PEAKRT_HD float shape() {
    const std::uint32_t* in = shared_->in[connected()];
    float sums[7];
    rows<7>(kFar, sums, [&](int i, float* own) {
      Moments moments;
      float top = -1e30f;
      int top_at = 0;
      for (int j = -kFar; j <= kFar && in[i + kFar]; ++j) {
        if (!(in[i + kFar] >> (j + kFar) & 1)) continue;
        const float v = adu(i, j);
        own[6] += 1;
        if (v > 0) moments.add(v, float(i), float(j));
        if (v > top) {
          top = v;
          top_at = j;
        }
      }
      own[0] = moments.sum;
      own[1] = moments.ss;
      own[2] = moments.fs;
      own[3] = moments.ss2;
      own[4] = moments.fs2;
      own[5] = moments.ssfs;
      shared_->top[i + kFar] = top;
      shared_->top_at[i + kFar] = top_at;
    });
    peak_.panel = c_.panel;
    peak_.npix = int(sums[6]);
    peak_.min_ss = c_.ss + kFar;
    peak_.max_ss = c_.ss - kFar;
    peak_.max = -1e30f;
    std::uint32_t columns = 0;
    for (int i = 0; i < kSide; ++i) {
      if (!in[i]) continue;
      columns |= in[i];
      if (c_.ss + i - kFar < peak_.min_ss) peak_.min_ss = c_.ss + i - kFar;
      peak_.max_ss = c_.ss + i - kFar;
      if (!(shared_->top[i] > peak_.max)) continue;
      peak_.max = shared_->top[i];
      peak_.top_ss = c_.ss + i - kFar;
      peak_.top_fs = c_.fs + shared_->top_at[i];
    }
    int first = 0, last = kSide - 1;
    while (!(columns >> first & 1)) ++first;
    while (!(columns >> last & 1)) --last;
    peak_.min_fs = c_.fs + first - kFar;
    peak_.max_fs = c_.fs + last - kFar;
    const Moments moments{sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]};
    moments.variances(&peak_.var_ss, &peak_.var_fs, &peak_.cov);
    team_.meet();  // before the rows' tops are written again
    const float half = .5f * (peak_.var_ss + peak_.var_fs), d = .5f * (peak_.var_ss - peak_.var_fs);
    return sqrtf(half + sqrtf(d * d + peak_.cov * peak_.cov));
  }

  struct Place {
    float ss, fs, error2_ss, error2_fs;  // pixels from the candidate, squared errors of photons and noise
    bool found;
    PEAKRT_HD float error2() const { return .5f * (error2_ss + error2_fs); }
  };

  // The better of two centroids, by their errors and by how far each is off for a peak of this size where photons
  // abound. The window shrinks what lies in one pixel or two; nine pixels cut the wings of a wide peak. Both numbers
  // are from simulation: Gaussian peaks of 0.08 to 1.4 pixels, 12 to 3000 photons.
  PEAKRT_HD void centroid(float size) {
    const Place windowed = windowed_centroid(size), plain = plain_centroid();
    const float steep = size * size / .19f, sixth = steep * steep * steep * steep * steep * steep;
    const float off_windowed2 = .01f / (1 + sixth);
    // A faint peak may be wider than it looks, by about twice as much as its place is uncertain.
    const float may_be = size + 2 * sqrtf(windowed.error2()), off_plain = .29f * most(may_be - .52f, 0.f);
    const float off_plain2 = off_plain * off_plain;
    const bool nine =
        plain.found && (!windowed.found || plain.error2() + off_plain2 < windowed.error2() + off_windowed2);
    const Place& best = nine ? plain : windowed;
    const float off2 = nine ? off_plain2 : off_windowed2;
    peak_.ss = float(c_.ss) + (best.found ? best.ss : 0);
    peak_.fs = float(c_.fs) + (best.found ? best.fs : 0);
    peak_.err_ss = error(best.found ? best.error2_ss + off2 : .25f, peak_.var_ss);
    peak_.err_fs = error(best.found ? best.error2_fs + off2 : .25f, peak_.var_fs);
  }

  // Gaussian-windowed centroid: Bertin & Arnouts, A&AS 117 (1996) 393, SExtractor's XWIN.
  PEAKRT_HD Place windowed_centroid(float size) const {
    const float width = least(most(size, .9f), 3.f), scale = -.5f / (width * width);
    const int wide = int(ceilf(3 * width)), reach = wide < kFar ? wide : kFar;
    float ss = 0, fs = 0, sums[4];
    for (int pass = 0; pass < 12; ++pass) {
      weigh_columns(reach, scale, fs);
      rows<3>(reach, sums, [&](int i, float* own) {
        const float a = float(i) - ss, along = expf(scale * (a * a));
        for (int j = -reach; j <= reach; ++j) {
          if (!mine_[i + kFar][j + kFar]) continue;
          const float w = along * shared_->weight[j + kFar] * adu(i, j);
          own[0] += w;
          own[1] += w * a;
          own[2] += w * (float(j) - fs);
        }
      });
      if (!(sums[0] > 0)) break;
      const float step_ss = 2 * sums[1] / sums[0], step_fs = 2 * sums[2] / sums[0];
      ss = least(most(ss + step_ss, -2.f), 2.f);
      fs = least(most(fs + step_fs, -2.f), 2.f);
      if (step_ss * step_ss + step_fs * step_fs < 1e-6f) break;
    }
    const bool found = sums[0] > 0;
    // How far noise moves the zero of sum(w I a), to first order.
    const Correlated factor = correlated(width * width);
    weigh_columns(reach, scale, fs);
    rows<4>(reach, sums, [&](int i, float* own) {
      const float a = float(i) - ss, along = expf(scale * (a * a));
      for (int j = -reach; j <= reach; ++j) {
        if (!mine_[i + kFar][j + kFar]) continue;
        const float b = float(j) - fs, w = along * shared_->weight[j + kFar];
        const float v = w * w * variance(i, j, factor), light = w * adu(i, j);
        own[0] += v * a * a;
        own[1] += v * b * b;
        own[2] += light * (1 + 2 * scale * a * a);
        own[3] += light * (1 + 2 * scale * b * b);
      }
    });
    return {ss, fs, sums[2] > 0 ? sums[0] / (sums[2] * sums[2]) : .25f,
            sums[3] > 0 ? sums[1] / (sums[3] * sums[3]) : .25f, found};
  }

  // The Gaussian's factor along fs, for each column.
  PEAKRT_HD void weigh_columns(int reach, float scale, float fs) const {
    for (int j = team_.rank() - reach; j <= reach; j += team_.size) {
      const float b = float(j) - fs;
      shared_->weight[j + kFar] = expf(scale * (b * b));
    }
    team_.meet();
  }

  // Centroid of the nine pixels around the brightest; none where one of them is not the peak's.
  PEAKRT_HD Place plain_centroid() const {
    int i0 = peak_.top_ss - c_.ss, j0 = peak_.top_fs - c_.fs;
    if (i0 < -2 || i0 > 2 || j0 < -2 || j0 > 2) i0 = j0 = 0;
    float sum = 0, ss = 0, fs = 0;
    for (int i = i0 - 1; i <= i0 + 1; ++i)
      for (int j = j0 - 1; j <= j0 + 1; ++j) {
        if (!mine_[i + kFar][j + kFar]) return {0, 0, .25f, .25f, false};
        sum += adu(i, j);
        ss += adu(i, j) * float(i);
        fs += adu(i, j) * float(j);
      }
    if (!(sum > 0)) return {0, 0, .25f, .25f, false};
    const float at_ss = ss / sum, at_fs = fs / sum;
    const float a = at_ss - float(i0), b = at_fs - float(j0);
    if (a < -1 || a > 1 || b < -1 || b > 1) return {0, 0, .25f, .25f, false};
    const Correlated factor = correlated(1);
    float e_ss = 0, e_fs = 0;
    for (int i = i0 - 1; i <= i0 + 1; ++i)
      for (int j = j0 - 1; j <= j0 + 1; ++j) {
        const float v = variance(i, j, factor);
        e_ss += v * (float(i) - at_ss) * (float(i) - at_ss);
        e_fs += v * (float(j) - at_fs) * (float(j) - at_fs);
      }
    return {at_ss, at_fs, e_ss / (sum * sum), e_fs / (sum * sum), true};
  }

  // Where the light is in one pixel it may have fallen anywhere in it: an error that photons do not mend, by the
  // measured width along the axis, from the same simulation.
  PEAKRT_HD static float error(float noise2, float width2) {
    const float narrow = width2 / (kBlindWidth * kBlindWidth), fourth = narrow * narrow * narrow * narrow;
    const float blind = kPixelError / (1 + fourth);
    return sqrtf(least(noise2, .25f) + blind * blind);
  }

  // Variance of the blur that a detector gives counted photons, in pixels^2: the noise of sums of 3 x 3 pixels tells
  // how alike neighbours are, exp(-1 / (4 blur^2)) for a Gaussian. 0 where that is not clear.
  PEAKRT_HD static float blur2(float noise3) {
    if (noise3 < 1.3f) return 0;
    const float first = .75f * (noise3 - 1), alike = least(first - .5f * first * first * first * first, .7f);
    return -.25f / logf(alike);
  }

  // What a blur makes of the noise of a centroid with a window of width2: photons spread over pixels move it less than
  // as many that fell apart; background, whose noise is measured pixel by pixel, moves it more.
  struct Correlated {
    float photons, background;
  };
  PEAKRT_HD Correlated correlated(float width2) const {
    if (blur2_ == 0) return {1, 1};
    const float share = width2 / (width2 + blur2_);
    return {share * share, share * share * most(1.f, 12.57f * blur2_)};
  }
  PEAKRT_HD float variance(int i, int j, Correlated factor) const {
    return factor.background * noise_ * noise_ + factor.photons * gain_ * most(0.f, adu(i, j));
  }

  PEAKRT_HD void photometry(float size) {
    const float reach = least(most(1.5f + 2.2f * size, 2.2f), float(kFar) - 1);
    const float o_ss = peak_.ss - float(c_.ss), o_fs = peak_.fs - float(c_.fs);
    const int wide = smaller(int(reach + most(fabsf(o_ss), fabsf(o_fs))) + 1, kFar);
    float sums[3];
    rows<3>(wide, sums, [&](int i, float* own) {
      for (int j = -wide; j <= wide; ++j) {
        const float a = float(i) - o_ss, b = float(j) - o_fs;
        if (!mine_[i + kFar][j + kFar] || a * a + b * b > reach * reach) continue;
        own[0] += adu(i, j);
        own[1] += variance(i, j, {1, 1});
        own[2] += 1;
      }
    });
    const float n = sums[2], spread = sums[1] + n * n * noise_ * noise_ / ring_n_;
    peak_.intensity = sums[0];
    peak_.snr = spread > 0 ? sums[0] / sqrtf(spread) : 0;
  }

  static constexpr float kPixelError = 0.21f, kBlindWidth = 0.37f;  // pixels
  const Members team_;
  float (*const z_)[kSide];
  bool (*const mine_)[kSide];
  MeasureShared* const shared_;
  const SigmaView<T>& view_;
  const Candidate& c_;
  const float gain_, blur2_;
  const int bin_;
  float sigma_, level_ = 0, noise_ = 1, ring_n_ = 100;
  Peak peak_{};
};

}  // namespace peakrt
