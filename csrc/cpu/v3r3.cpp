#include "peakrt/v3r3.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

#include "psana_group.hpp"
#include "simd.hpp"

namespace peakrt {
namespace {

template <class T>
class PanelSearch {
 public:
  PanelSearch(const T* data, const std::uint8_t* mask, int panel, int n_ss, int n_fs, const V3r3Options& options,
              const std::vector<Offset>& ring, const std::vector<std::uint8_t>& bits, std::vector<Peak>* peaks)
      : data_(data),
        mask_(mask),
        n_ss_(n_ss),
        n_fs_(n_fs),
        options_(options),
        ring_(ring),
        bits_(bits),
        peaks_(peaks),
        reach_(0),
        kept_(bits.size()),
        value_(bits.size()),
        group_(data, mask, panel, n_ss, n_fs) {
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

  void try_peak(int ss, int fs) {
    // No background is below lowest_ (an empty ring's is zero): many maxima need no ring.
    if (float(double(data_[index(ss, fs)]) - lowest_) < options_.selection.amax_thr) return;
    const Background background = ring_background(ss, fs);
    const T level = convert<T>(background.mean + double(options_.nsigm) * background.rms);
    if (!(data_[index(ss, fs)] >= level)) return;
    group_.grow(ss, fs, options_.rank, level);
    group_.measure(ss, fs, background, options_.selection, peaks_);
  }

  const T* data_;
  const std::uint8_t* mask_;
  const int n_ss_, n_fs_;
  const V3r3Options& options_;
  const std::vector<Offset>& ring_;
  const std::vector<std::uint8_t>& bits_;
  std::vector<Peak>* peaks_;
  int reach_;
  std::vector<std::int64_t> steps_;
  std::vector<std::uint8_t> kept_;
  std::vector<T> value_;
  double lowest_ = 0;
  PsanaGroup<T> group_;
};

}  // namespace

void v3r3(Shape shape, Dtype dtype, const void* frame, const std::uint8_t* mask, const V3r3Options& options,
          std::vector<Peak>* peaks) {
  check_psana(options.rank, options.r0, options.dr);
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
