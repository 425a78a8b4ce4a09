// What psana's peak finders v3r3 and v4r3 share: the background ring, the group of pixels, its numbers.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "peakrt/v3r3.hpp"

namespace peakrt {

struct Offset {
  int ss, fs;
};

inline std::vector<Offset> ring_offsets(float r0, float dr) {
  std::vector<Offset> ring;
  const float outer = r0 + dr;
  const int reach = int(std::ceil(double(outer)));
  for (int ss = -reach; ss <= reach; ++ss)
    for (int fs = -reach; fs <= reach; ++fs) {
      const double r = std::sqrt(double(ss * ss + fs * fs));
      if (r >= r0 && r <= outer) ring.push_back({ss, fs});
    }
  return ring;
}

struct Background {
  double mean = 0, rms = 0;
};

// A value with psana's conversion to the element type: truncated for integers.
template <class T>
T convert(double level) {
  if constexpr (std::is_integral_v<T>) {
    if (level >= double(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
    if (level <= double(std::numeric_limits<T>::lowest())) return std::numeric_limits<T>::lowest();
  }
  return static_cast<T>(level);
}

// The group of one maximum of a panel; mask: 1 = good.
template <class T>
class PsanaGroup {
 public:
  PsanaGroup(const T* data, const std::uint8_t* mask, int panel, int n_ss, int n_fs)
      : data_(data), mask_(mask), panel_(panel), n_ss_(n_ss), n_fs_(n_fs) {}

  // The 4-connected pixels at or above level within +-rank, depth first from the maximum.
  void grow(int ss, int fs, int rank, T level) {
    const int min_ss = std::max(0, ss - rank), end_ss = std::min(n_ss_, ss + rank + 1), min_fs = std::max(0, fs - rank),
              end_fs = std::min(n_fs_, fs + rank + 1);
    const int width = end_fs - min_fs;
    seen_.assign(std::size_t(end_ss - min_ss) * width, 0);
    group_.clear();
    stack_.assign(1, {ss, fs});
    while (!stack_.empty()) {
      const Offset at = stack_.back();
      stack_.pop_back();
      std::uint8_t& seen = seen_[std::size_t(at.ss - min_ss) * width + at.fs - min_fs];
      const std::int64_t pixel = index(at.ss, at.fs);
      if (seen || !mask_[pixel] || !(data_[pixel] >= level)) continue;
      seen = 1;
      group_.push_back(at);
      if (at.fs - 1 >= min_fs) stack_.push_back({at.ss, at.fs - 1});
      if (at.ss - 1 >= min_ss) stack_.push_back({at.ss - 1, at.fs});
      if (at.fs + 1 < end_fs) stack_.push_back({at.ss, at.fs + 1});
      if (at.ss + 1 < end_ss) stack_.push_back({at.ss + 1, at.fs});
    }
  }

  // Appends the group's peak if it is what was selected.
  void measure(int ss, int fs, const Background& background, const PsanaSelection& selection,
               std::vector<Peak>* peaks) const {
    const int n = int(group_.size());
    if (n < selection.npix_min || n > selection.npix_max) return;
    const double top = double(data_[index(ss, fs)]) - background.mean;
    double sum = 0, sum_ss = 0, sum_fs = 0, sum_ss2 = 0, sum_fs2 = 0, sum_ssfs = 0;
    Peak peak = {};
    peak.min_ss = peak.max_ss = ss;
    peak.min_fs = peak.max_fs = fs;
    for (const Offset& at : group_) {
      const double a = double(data_[index(at.ss, at.fs)]) - background.mean;
      sum += a;
      sum_ss += a * at.ss;
      sum_fs += a * at.fs;
      sum_ss2 += a * at.ss * at.ss;
      sum_fs2 += a * at.fs * at.fs;
      sum_ssfs += a * (at.ss - ss) * (at.fs - fs);
      peak.min_ss = std::min(peak.min_ss, at.ss);
      peak.max_ss = std::max(peak.max_ss, at.ss);
      peak.min_fs = std::min(peak.min_fs, at.fs);
      peak.max_fs = std::max(peak.max_fs, at.fs);
    }
    const double noise = background.rms * std::sqrt(double(n)), son = noise > 0 ? sum / noise : 0;
    if (float(son) < selection.son_min || float(top) < selection.amax_thr || float(sum) < selection.atot_thr) return;
    const double m_ss = sum > 0 ? sum_ss / sum : ss, m_fs = sum > 0 ? sum_fs / sum : fs;
    peak.panel = panel_;
    peak.ss = float(m_ss);
    peak.fs = float(m_fs);
    peak.intensity = float(sum);
    peak.max = float(top);
    peak.background = float(background.mean);
    peak.noise = float(background.rms);
    peak.snr = float(son);
    peak.npix = n;
    peak.top_ss = ss;
    peak.top_fs = fs;
    if (sum > 0) {
      peak.var_ss = float(std::max(0., sum_ss2 / sum - m_ss * m_ss));
      peak.var_fs = float(std::max(0., sum_fs2 / sum - m_fs * m_fs));
      peak.cov = float(sum_ssfs / sum - (m_ss - ss) * (m_fs - fs));
    }
    peak.score = peak.err_ss = peak.err_fs = NAN;
    peaks->push_back(peak);
  }

 private:
  std::int64_t index(int ss, int fs) const { return std::int64_t(ss) * n_fs_ + fs; }

  const T* data_;
  const std::uint8_t* mask_;
  const int panel_, n_ss_, n_fs_;
  std::vector<std::uint8_t> seen_;
  std::vector<Offset> group_, stack_;
};

}  // namespace peakrt
