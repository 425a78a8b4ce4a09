#include "peakrt/v4r3.hpp"

#include <stdexcept>

#include "psana_group.hpp"

namespace peakrt {
namespace {

template <class T>
class PanelSearch {
 public:
  PanelSearch(const T* data, const std::uint8_t* mask, int panel, int n_ss, int n_fs, const V4r3Options& options,
              const std::vector<Offset>& ring)
      : data_(data),
        mask_(mask),
        n_ss_(n_ss),
        n_fs_(n_fs),
        options_(options),
        ring_(ring),
        low_(convert<T>(options.thr_low)),
        high_(convert<T>(options.thr_high)),
        alive_(std::size_t(n_ss) * n_fs),
        group_(data, mask, panel, n_ss, n_fs) {}

  void run(std::vector<Peak>* peaks) {
    std::vector<std::int64_t> hot;
    for (std::int64_t i = 0; i < std::int64_t(alive_.size()); ++i) {
      alive_[i] = mask_[i] != 0 && is_hot(i);
      if (alive_[i]) hot.push_back(i);
    }
    for (std::int64_t i : hot) {
      const int ss = int(i / n_fs_), fs = int(i % n_fs_);
      alive_[i] = is_highest(ss, fs);
      if (!alive_[i]) continue;
      group_.grow(ss, fs, options_.rank, low_);
      group_.measure(ss, fs, ring_background(ss, fs), options_.selection, peaks);
    }
  }

 private:
  bool is_hot(std::int64_t i) const { return data_[i] >= high_; }

  bool is_highest(int ss, int fs) const {
    const std::int64_t here = std::int64_t(ss) * n_fs_ + fs;
    for (int y = std::max(0, ss - options_.rank); y <= std::min(n_ss_ - 1, ss + options_.rank); ++y)
      for (int x = std::max(0, fs - options_.rank); x <= std::min(n_fs_ - 1, fs + options_.rank); ++x) {
        const std::int64_t there = std::int64_t(y) * n_fs_ + x;
        if (!alive_[there]) continue;
        if (data_[there] > data_[here] || (data_[there] == data_[here] && there > here)) return false;
      }
    return true;
  }

  Background ring_background(int ss, int fs) const {
    double sum = 0, squares = 0;
    int n = 0;
    for (const Offset& o : ring_) {
      const int y = ss + o.ss, x = fs + o.fs;
      if (y < 0 || x < 0 || y >= n_ss_ || x >= n_fs_) continue;
      const std::int64_t i = std::int64_t(y) * n_fs_ + x;
      if (!mask_[i] || is_hot(i)) continue;
      const double v = double(data_[i]);
      sum += v;
      squares += v * v;
      ++n;
    }
    Background background;
    if (n == 0) return background;
    background.mean = sum / n;
    background.rms = std::sqrt(std::max(0., squares / n - background.mean * background.mean));
    return background;
  }

  const T* data_;
  const std::uint8_t* mask_;
  const int n_ss_, n_fs_;
  const V4r3Options& options_;
  const std::vector<Offset>& ring_;
  const T low_, high_;
  std::vector<std::uint8_t> alive_;
  PsanaGroup<T> group_;
};

}  // namespace

void check_psana(int rank, float r0, float dr) {
  if (rank < 1 || rank > 100) throw std::invalid_argument("rank must be 1 to 100 pixels");
  if (!(r0 >= 0 && dr >= 0 && r0 + dr <= 100))
    throw std::invalid_argument("the background ring r0 .. r0 + dr must lie within 0 to 100 pixels");
}

void v4r3(Shape shape, Dtype dtype, const void* frame, const std::uint8_t* mask, const V4r3Options& options,
          std::vector<Peak>* peaks) {
  check_psana(options.rank, options.r0, options.dr);
  if (!(options.thr_low <= options.thr_high)) throw std::invalid_argument("thr_low must not be above thr_high");
  const std::vector<Offset> ring = ring_offsets(options.r0, options.dr);
  const std::int64_t area = std::int64_t(shape.ss) * shape.fs;
  with_dtype(dtype, frame, [&](const auto* data) {
    for (int panel = 0; panel < shape.panel; ++panel)
      PanelSearch(data + panel * area, mask + panel * area, panel, shape.ss, shape.fs, options, ring).run(peaks);
  });
}

}  // namespace peakrt
