#include "peakrt/v3r3.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "simd.hpp"

namespace peakrt {
namespace {

struct Offset {
  int ss, fs;
};

std::vector<Offset> ring_offsets(float r0, float dr) {
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

template <class T>
class PanelSearch {
 public:
  PanelSearch(const T* data, const std::uint8_t* mask, int panel, int n_ss, int n_fs, const V3r3Options& options,
              const std::vector<Offset>& ring, const std::vector<std::uint8_t>& bits, std::vector<Peak>* peaks)
      : data_(data),
        mask_(mask),
        panel_(panel),
        n_ss_(n_ss),
        n_fs_(n_fs),
        options_(options),
        ring_(ring),
        bits_(bits),
        peaks_(peaks),
        reach_(0),
        kept_(bits.size()),
        value_(bits.size()) {
    for (const Offset& o : ring) reach_ = std::max(reach_, std::abs(o.ss));
    for (const Offset& o : ring) steps_.push_back(std::int64_t(o.ss) * n_fs + o.fs);
  }

  void run() {
    constexpr std::uint8_t kExtrema = kRowMax | kColMax | kRowMin | kColMin;
    const std::int64_t n = std::int64_t(bits_.size());
    keep(data_, mask_, bits_.data(), n, kExtrema, value_.data(), kept_.data());
    lowest_ = double(lowest_of(value_.data(), n));
    constexpr std::uint64_t kEach = 0x0101010101010101ull;
    for (std::int64_t first = 0; first < n; first += 8) {
      std::uint64_t eight = 0;
      std::memcpy(&eight, bits_.data() + first, std::size_t(std::min<std::int64_t>(8, n - first)));
      // A byte survives where its row, column and square bits are all set.
      for (eight = eight & (eight >> 1) & (eight >> 4) & kEach; eight; eight &= eight - 1) {
        const std::int64_t pixel = first + __builtin_ctzll(eight) / 8;
        try_peak(int(pixel / n_fs_), int(pixel % n_fs_));
      }
    }
  }

 private:
  std::int64_t index(int ss, int fs) const { return std::int64_t(ss) * n_fs_ + fs; }

  // What the background ring may use: value with zeros elsewhere, and 1 or 0.
  __attribute__((noinline)) static void keep(const T* __restrict data, const std::uint8_t* __restrict mask,
                                             const std::uint8_t* __restrict bits, std::int64_t n, std::uint8_t extrema,
                                             T* __restrict value, std::uint8_t* __restrict kept) {
    for (std::int64_t i = 0; i < n; ++i) kept[i] = (mask[i] != 0) & ((bits[i] & extrema) == 0);
    for (std::int64_t i = 0; i < n; ++i) value[i] = kept[i] ? data[i] : T(0);
  }

  __attribute__((noinline)) static T lowest_of(const T* __restrict value, std::int64_t n) {
    T lowest = T(0);
    for (std::int64_t i = 0; i < n; ++i) lowest = value[i] < lowest ? value[i] : lowest;
    return lowest;
  }

  Background ring_background(int ss, int fs) const {
    double sum[4] = {}, squares[4] = {};
    std::int32_t n = 0;
    const auto add = [&](std::int64_t pixel, int chain) {
      const double v = double(value_[pixel]);
      sum[chain] += v;
      squares[chain] += v * v;
      n += kept_[pixel];
    };
    const std::int64_t centre = index(ss, fs);
    if (ss >= reach_ && fs >= reach_ && ss + reach_ < n_ss_ && fs + reach_ < n_fs_) {
      std::size_t k = 0;
      for (; k + 4 <= steps_.size(); k += 4)
        for (int chain = 0; chain < 4; ++chain) add(centre + steps_[k + chain], chain);
      for (; k < steps_.size(); ++k) add(centre + steps_[k], 0);
    } else {
      for (const Offset& o : ring_)
        if (ss + o.ss >= 0 && fs + o.fs >= 0 && ss + o.ss < n_ss_ && fs + o.fs < n_fs_)
          add(index(ss + o.ss, fs + o.fs), 0);
    }
    Background background;
    if (n == 0) return background;
    background.mean = (sum[0] + sum[1] + sum[2] + sum[3]) / n;
    const double variance = (squares[0] + squares[1] + squares[2] + squares[3]) / n - background.mean * background.mean;
    background.rms = variance > 0 ? std::sqrt(variance) : 0;
    return background;
  }

  // The 4-connected pixels at or above level within +-rank, depth first from the maximum.
  void grow(int ss, int fs, T level) {
    const int rank = options_.rank, min_ss = std::max(0, ss - rank), end_ss = std::min(n_ss_, ss + rank + 1),
              min_fs = std::max(0, fs - rank), end_fs = std::min(n_fs_, fs + rank + 1);
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

  void try_peak(int ss, int fs) {
    // No background is below lowest_ (an empty ring's is zero): many maxima need no ring.
    if (float(double(data_[index(ss, fs)]) - lowest_) < options_.amax_thr) return;
    const Background background = ring_background(ss, fs);
    const T level = convert<T>(background.mean + double(options_.nsigm) * background.rms);
    if (!(data_[index(ss, fs)] >= level)) return;
    grow(ss, fs, level);
    const int n = int(group_.size());
    if (n < options_.npix_min || n > options_.npix_max) return;
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
    if (float(son) < options_.son_min || float(top) < options_.amax_thr || float(sum) < options_.atot_thr) return;
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
    peaks_->push_back(peak);
  }

  const T* data_;
  const std::uint8_t* mask_;
  const int panel_, n_ss_, n_fs_;
  const V3r3Options& options_;
  const std::vector<Offset>& ring_;
  const std::vector<std::uint8_t>& bits_;
  std::vector<Peak>* peaks_;
  int reach_;
  std::vector<std::int64_t> steps_;
  std::vector<std::uint8_t> kept_, seen_;
  std::vector<T> value_;
  double lowest_ = 0;
  std::vector<Offset> group_, stack_;
};

}  // namespace

void v3r3(Shape shape, Dtype dtype, const void* frame, const std::uint8_t* mask, const V3r3Options& options,
          std::vector<Peak>* peaks) {
  if (options.rank < 1 || options.rank > 100) throw std::invalid_argument("rank must be 1 to 100 pixels");
  if (!(options.r0 >= 0 && options.dr >= 0 && options.r0 + options.dr <= 100))
    throw std::invalid_argument("the background ring r0 .. r0 + dr must lie within 0 to 100 pixels");
  const std::vector<Offset> ring = ring_offsets(options.r0, options.dr);
  const std::int64_t area = std::int64_t(shape.ss) * shape.fs;
  std::vector<std::uint8_t> bits(area);
  with_dtype(dtype, frame, [&](const auto* data) {
    for (int panel = 0; panel < shape.panel; ++panel) {
      simd().extrema(dtype, data + panel * area, mask + panel * area, shape.ss, shape.fs, options.rank, bits.data());
      PanelSearch(data + panel * area, mask + panel * area, panel, shape.ss, shape.fs, options, ring, bits, peaks)
          .run();
    }
  });
}

}  // namespace peakrt
