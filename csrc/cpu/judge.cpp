#include "peakrt/judge.hpp"

#include <algorithm>
#include <cmath>

#include "peakrt/moments.hpp"

namespace peakrt {
namespace {

constexpr int kNear = 30, kRivalReach = 7;  // pixels: where neighbours are counted, where the strongest is looked for

template <class T>
SigmaView<T> view_of(const ProposePlan& plan, const T* frame, const ProposeWorkspace& ws, int asic) {
  return {frame,           plan.bins.bin.data(), ws.mean.data(), ws.inverse.data(), ws.photons.data(),
          plan.bins.shape, plan.bins.asics[asic]};
}

float quantile(std::vector<float>& sorted, float q) {
  const float at = q * float(sorted.size() - 1);
  const std::size_t low = std::size_t(at), high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - float(low)) * (sorted[high] - sorted[low]);
}

// For each candidate calls near(i, j) for every other one of its ASIC within reach pixels along ss, in list order:
// candidates are in raster order within an ASIC, so these are a run of the list.
template <class Near>
void each_near(const std::vector<Candidate>& list, int reach, Near&& near) {
  std::size_t first = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    while (list[first].asic != list[i].asic || list[first].ss < list[i].ss - reach) ++first;
    for (std::size_t j = first; j < list.size() && list[j].asic == list[i].asic && list[j].ss <= list[i].ss + reach;
         ++j)
      if (j != i && std::abs(list[j].fs - list[i].fs) <= reach) near(i, j);
  }
}

void describe_crowd(const std::vector<Candidate>& list, std::vector<float>& strength, float* numbers) {
  each_near(list, kNear, [&](std::size_t i, std::size_t j) {
    const int ss = list[i].ss - list[j].ss, fs = list[i].fs - list[j].fs, d2 = ss * ss + fs * fs;
    float* f = numbers + i * kFeatures;
    if (d2 <= kNear * kNear) f[f_neighbours] += 1;
    if (d2 <= kRivalReach * kRivalReach && strength[j] > strength[i] && strength[j] > f[f_rival]) {
      f[f_rival] = strength[j];
      f[f_rival_distance] = std::sqrt(float(d2));
    }
  });
  for (std::size_t i = 0; i < list.size(); ++i) {
    float* f = numbers + i * kFeatures;
    f[f_rival] = f[f_rival] > 0 ? std::log(most(f[f_rival], 1.f) / most(strength[i], 1.f)) : -1;
  }
}

// How crowded the frame and the candidate's bin are, and how sharp the clear peaks of the frame.
void describe_frame(const ProposePlan& plan, const std::vector<Candidate>& list, const std::vector<float>& strength,
                    float* numbers) {
  const float area = most(1.f, float(plan.good_pixels)) / 1e6f;
  const int bins = plan.bins.n_bins;
  std::vector<float> clear(bins, 0), sharpness, seconds;
  std::vector<int> bin_of(list.size());
  float strong = 0, sharp = 0, spikes = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const float* f = numbers + i * kFeatures;
    const Candidate& c = list[i];
    bin_of[i] = plan.bins.bin[(std::int64_t(c.panel) * plan.bins.shape.ss + c.ss) * plan.bins.shape.fs + c.fs];
    if (strength[i] > 4) clear[bin_of[i]] += 1;
    if (strength[i] > 4.5f) strong += 1;
    if (!(strength[i] > 7 && f[f_sum3_snr] > 5)) continue;
    if (f[f_second_of_height] > .15f) {
      sharp += 1;
      sharpness.push_back(f[f_height_of_sum3]);
      seconds.push_back(f[f_second_of_height]);
    } else {
      spikes += 1;
    }
  }
  std::sort(sharpness.begin(), sharpness.end());
  std::sort(seconds.begin(), seconds.end());
  const bool enough = sharpness.size() >= 4;
  const float density = strong / area;
  const float frame[] = {std::log1p(density), 0, std::log1p(float(list.size()) / area)};
  const float crystals[] = {std::log1p(sharp / area),
                            std::log1p(spikes / area),
                            enough ? quantile(sharpness, .25f) : -1,
                            enough ? quantile(sharpness, .5f) : -1,
                            enough ? quantile(sharpness, .75f) : -1,
                            enough ? quantile(seconds, .5f) : -1};
  for (std::size_t i = 0; i < list.size(); ++i) {
    float* f = numbers + i * kFeatures;
    float n = 0, pixels = 0;
    for (int b = std::max(0, bin_of[i] - 2); b <= std::min(bins - 1, bin_of[i] + 2); ++b) {
      n += clear[b];
      pixels += float(plan.bin_pixels[b]);
    }
    std::copy(frame, frame + 3, f + f_frame_density);
    f[f_bin_density] = std::log((n / most(pixels, 50.f) * 1e6f + 20) / (density + 20));
    std::copy(crystals, crystals + 6, f + f_sharp_density);
  }
}

// Marks in keep the candidates that are the best within kSuppress pixels.
void suppress(const std::vector<Candidate>& list, const float* scores, float min_score,
              std::vector<std::uint8_t>* keep) {
  keep->assign(list.size(), 0);
  for (std::size_t i = 0; i < list.size(); ++i) (*keep)[i] = scores[i] >= min_score;
  each_near(list, int(kSuppress), [&](std::size_t i, std::size_t j) {
    const int ss = list[i].ss - list[j].ss, fs = list[i].fs - list[j].fs;
    if (float(ss * ss + fs * fs) > kSuppress * kSuppress) return;
    const float mine = scores[i], other = scores[j];
    // Equal scores (certain peaks): the more significant stands.
    const float m = list[i].s3 + .5f * list[i].z, o = list[j].s3 + .5f * list[j].z;
    if (other > mine || (other == mine && (o > m || (o == m && j < i)))) (*keep)[i] = 0;
  });
}

// Measures one peak; others are accepted peaks close enough to claim some of its pixels.
template <class T>
class Measurement {
 public:
  Measurement(const SigmaView<T>& view, const Candidate& c, float gain, const std::vector<const Candidate*>& others)
      : view_(view), c_(c), gain_(gain), bin_(view.bin_at(c.ss, c.fs)) {
    sigma_ = 1 / view.inverse[bin_];
    for (int i = -kFar; i <= kFar; ++i)
      for (int j = -kFar; j <= kFar; ++j) {
        float z;
        const bool good = view.z(c.ss + i, c.fs + j, &z);
        mine_[i + kFar][j + kFar] = good && owned(i, j, others);
        z_[i + kFar][j + kFar] = good ? z : 0;
      }
  }

  Peak measure(float score) {
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

  bool owned(int i, int j, const std::vector<const Candidate*>& others) const {
    const int here = i * i + j * j;
    for (const Candidate* o : others) {
      const int a = c_.ss + i - o->ss, b = c_.fs + j - o->fs, there = a * a + b * b;
      if (there < here || (there == here && o < &c_)) return false;
    }
    return true;
  }

  // Above the mean of the ring around, in ADU, where nobody else's light falls.
  float adu(int i, int j) const { return (z_[i + kFar][j + kFar] - level_) * sigma_; }

  // From the ring of inner2 <= r^2 <= inner2 + 60.
  void background(float inner2) {
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
    noise_ = sigma_ * (n > 5 ? most(.5f, std::sqrt(most(0.f, squares / float(n) - mean * mean)) * 1.015f) : 1.f);
    peak_.background = view_.mean[bin_] + level_ * sigma_;
    peak_.noise = noise_;
  }

  // Second moments of what is clearly above background and connected to the top; returns an rms size.
  float shape() {
    bool in[kSide][kSide] = {};
    int queue[kSide * kSide], n = 0;
    in[kFar][kFar] = true;
    queue[n++] = kFar * kSide + kFar;
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
      peak_.min_ss = std::min(peak_.min_ss, c_.ss + i);
      peak_.max_ss = std::max(peak_.max_ss, c_.ss + i);
      peak_.min_fs = std::min(peak_.min_fs, c_.fs + j);
      peak_.max_fs = std::max(peak_.max_fs, c_.fs + j);
      for (int a = std::max(-kFar, i - 1); a <= std::min(kFar, i + 1); ++a)
        for (int b = std::max(-kFar, j - 1); b <= std::min(kFar, j + 1); ++b) {
          if (in[a + kFar][b + kFar] || !mine_[a + kFar][b + kFar] || adu(a, b) < level) continue;
          in[a + kFar][b + kFar] = true;
          queue[n++] = (a + kFar) * kSide + b + kFar;
        }
    }
    peak_.npix = n;
    peak_.max = top;
    moments.variances(&peak_.var_ss, &peak_.var_fs, &peak_.cov);
    const float half = .5f * (peak_.var_ss + peak_.var_fs), d = .5f * (peak_.var_ss - peak_.var_fs);
    return std::sqrt(half + std::sqrt(d * d + peak_.cov * peak_.cov));
  }

  // Gaussian-windowed centroid and its error: Bertin & Arnouts, A&AS 117 (1996) 393, SExtractor's XWIN.
  void centroid(float size) {
    const float width = least(most(size, .9f), 3.f), scale = -.5f / (width * width);
    const int reach = std::min(kFar, int(std::ceil(3 * width)));
    float ss = 0, fs = 0, sum = 0;
    for (int pass = 0; pass < 12; ++pass) {
      float w_ss = 0, w_fs = 0;
      sum = 0;
      for (int i = -reach; i <= reach; ++i)
        for (int j = -reach; j <= reach; ++j) {
          if (!mine_[i + kFar][j + kFar]) continue;
          const float a = float(i) - ss, b = float(j) - fs, w = std::exp(scale * (a * a + b * b)) * adu(i, j);
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
        const float a = float(i) - ss, b = float(j) - fs, w = std::exp(scale * (a * a + b * b));
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
  static float error(float noise, float steep, bool found, float width2) {
    const float photons = found && steep > 0 ? noise / (steep * steep) : .25f;
    const float eighth = std::pow(width2 / (kBlindWidth * kBlindWidth), 4.f), blind = kPixelError / (1 + eighth);
    return std::sqrt(least(photons, .25f) + blind * blind);
  }

  float variance(int i, int j) const { return noise_ * noise_ + gain_ * most(0.f, adu(i, j)); }

  void photometry(float size) {
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
    peak_.snr = spread > 0 ? sum / std::sqrt(spread) : 0;
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

}  // namespace

void describe(const ProposePlan& plan, Dtype dtype, const void* frame, const ProposeWorkspace& ws, float* numbers) {
  const std::vector<Candidate>& list = ws.candidates;
  std::vector<float> strength(list.size());
  std::fill(numbers, numbers + list.size() * kFeatures, 0.f);
  with_dtype(dtype, frame, [&](const auto* data) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Candidate& c = list[i];
      float* own = numbers + i * kFeatures;
      describe(view_of(plan, data, ws, c.asic), c.ss, c.fs, c.local, ws.noise3, ws.noise5, plan.radial,
               plan.bins.n_bins, own);
      own[f_rival_distance] = 9;
      strength[i] = own[f_sum3_poisson];
    }
  });
  describe_crowd(list, strength, numbers);
  describe_frame(plan, list, strength, numbers);
}

void measure_peaks(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, const ProposeWorkspace& ws,
                   const float* scores, float min_score, std::vector<Peak>* peaks) {
  std::vector<std::uint8_t> keep;
  suppress(ws.candidates, scores, min_score, &keep);
  std::vector<Candidate> accepted;
  std::vector<float> accepted_scores;
  for (std::size_t i = 0; i < keep.size(); ++i)
    if (keep[i]) {
      accepted.push_back(ws.candidates[i]);
      accepted_scores.push_back(scores[i]);
    }
  std::vector<std::vector<const Candidate*>> others(accepted.size());
  each_near(accepted, 20, [&](std::size_t i, std::size_t j) { others[i].push_back(&accepted[j]); });
  peaks->clear();
  with_dtype(dtype, frame, [&](const auto* data) {
    for (std::size_t i = 0; i < accepted.size(); ++i) {
      const auto view = view_of(plan, data, ws, accepted[i].asic);
      using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
      peaks->push_back(Measurement<T>(view, accepted[i], gain, others[i]).measure(accepted_scores[i]));
    }
  });
}

}  // namespace peakrt
