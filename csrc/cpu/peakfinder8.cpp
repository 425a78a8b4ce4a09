#include "peakrt/peakfinder8.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "peakrt/group.hpp"
#include "simd.hpp"

namespace peakrt {
namespace {

// floor[b] = the least of threshold[b .. b + span], by doubling.
void sliding_minimum(const std::vector<float>& threshold, int n, int span, std::vector<float>* floor) {
  const int width = span + 1;
  floor->assign(threshold.begin(), threshold.begin() + n + 1);
  int covered = 1;
  while (covered < width) {
    const int step = std::min(covered, width - covered);
    for (int b = 0; b + step < n; ++b) (*floor)[b] = std::min((*floor)[b], (*floor)[b + step]);
    covered += step;
  }
}

// Finds the groups of one ASIC; the state that outlives a group is the workspace's.
template <class T>
class AsicSearch {
 public:
  AsicSearch(const Peakfinder8Plan& plan, const Peakfinder8Options& options, const T* frame, const Asic& asic,
             Peakfinder8Workspace& ws)
      : view_{frame, plan.bin.data(), ws.threshold.data(), ws.offset.data(), plan.shape, asic, plan.n_bins},
        options_(options),
        ws_(ws) {}

  void try_seed(std::int32_t pixel) {
    const int ss = pixel / view_.shape.fs - view_.first_ss(), fs = pixel % view_.shape.fs - view_.first_fs();
    // The original never starts a group on the outermost pixels of an ASIC.
    if (ss < 1 || fs < 1 || ss >= view_.n_ss() - 1 || fs >= view_.n_fs() - 1) return;
    if (visited(pixel) || !view_.above(pixel)) return;
    grow(ss, fs);
    Peak peak;
    if (measure_group(view_, options_, sums_, ws_.pixels.data(), n_, &peak)) ws_.peaks.push_back(peak);
  }

 private:
  bool visited(std::int64_t pixel) const { return ws_.visited[pixel >> 6] >> (pixel & 63) & 1; }

  void visit_around(int at) {
    static const int kFs[9] = {0, -1, 0, 1, -1, 1, -1, 0, 1}, kSs[9] = {0, -1, -1, -1, 0, 0, 1, 1, 1};
    for (int k = 0; k < 9; ++k) {
      const int ss = ws_.queue_ss[at] + kSs[k], fs = ws_.queue_fs[at] + kFs[k];
      if (ss < 0 || fs < 0 || ss >= view_.n_ss() || fs >= view_.n_fs()) continue;
      const std::int64_t pixel = view_.index(ss, fs);
      if (visited(pixel) || !view_.above(pixel)) continue;
      sums_.add(view_, ss, fs);
      ws_.queue_ss[n_] = ss;
      ws_.queue_fs[n_] = fs;
      ws_.visited[pixel >> 6] |= std::uint64_t(1) << (pixel & 63);
      if (n_ < options_.max_pixels) ws_.pixels[n_] = std::int32_t(pixel);
      ++n_;
    }
  }

  // Breadth first. The original also looks around the queue's entry one past its end, which an earlier group
  // has left there (or the ASIC's first pixel, before any has); this can join two groups, now and then. To do the
  // same, the queue lives as long as the frame.
  void grow(int ss, int fs) {
    n_ = 0;
    sums_ = GroupSums();
    ws_.queue_ss[0] = ss;
    ws_.queue_fs[0] = fs;
    int before;
    do {
      before = n_;
      for (int at = 0; at < n_ + (ws_.original || n_ == 0); ++at) visit_around(at);
    } while (n_ != before);
  }

  const AsicView<T> view_;
  const Peakfinder8Options& options_;
  Peakfinder8Workspace& ws_;
  int n_ = 0;
  GroupSums sums_;
};

}  // namespace

Peakfinder8Plan::Peakfinder8Plan(Shape shape_, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics_,
                                 int samples_per_bin_)
    : RadialPlan(shape_, mask, radius, std::move(asics_), samples_per_bin_) {
  summarise_blocks();
}

Peakfinder8Plan::Peakfinder8Plan(const Peakfinder8Plan& other, const std::uint64_t* good) : RadialPlan(other, good) {
  summarise_blocks();
}

// For each block of pixels in memory: their lowest bin, their span of bins, which are good.
void Peakfinder8Plan::summarise_blocks() {
  const std::int64_t pixels = shape.pixels(), blocks = (pixels + kBlock - 1) / kBlock;
  block_bin.assign(blocks, 0);
  block_good.assign(blocks, 0);
  for (std::int64_t block = 0; block < blocks; ++block) {
    int low = n_bins, high = 0;
    for (int i = 0; i < kBlock && block * kBlock + i < pixels; ++i) {
      const int b = bin[block * kBlock + i];
      if (b == n_bins) continue;
      low = std::min(low, b);
      high = std::max(high, b);
      block_good[block] |= std::uint16_t(1u << i);
    }
    block_bin[block] = std::uint16_t(low);
    block_span = std::max(block_span, high - low);
  }
}

Peakfinder8Workspace::Peakfinder8Workspace(const Peakfinder8Plan& plan, const Peakfinder8Options& options) {
  const std::size_t bins = plan.groups.size() * kLanes + 1, n = plan.shape.pixels();
  std::int64_t deepest = 0;
  for (const BinGroup& group : plan.groups) deepest = std::max<std::int64_t>(deepest, group.deep);
  threshold.resize(bins);
  offset.resize(bins);
  values.resize(deepest * kLanes);
  foreground.resize(n);
  visited.resize(n / 64 + 1);
  queue_ss.resize(n + 1);
  queue_fs.resize(n + 1);
  pixels.resize(std::min(std::size_t(options.max_pixels), n));
}

void peakfinder8(const Peakfinder8Plan& plan, const Peakfinder8Options& options, Dtype dtype, const void* frame,
                 Peakfinder8Workspace& ws) {
  const SimdKernels& kernels = simd();
  std::size_t n = kernels.radial(plan, options, dtype, frame, ws.values.data(), ws.threshold.data(), ws.offset.data(),
                                 ws.foreground.data());
  ws.threshold[plan.n_bins] = INFINITY;  // where the mask is bad nothing is above
  if (plan.samples_per_bin) {
    sliding_minimum(ws.threshold, plan.n_bins, plan.block_span, &ws.floor);
    n = kernels.above(plan, dtype, frame, ws.threshold.data(), ws.floor.data(), ws.foreground.data());
  } else {
    std::sort(ws.foreground.begin(), ws.foreground.begin() + n);
  }
  ws.peaks.clear();
  ws.queue_ss[0] = ws.queue_fs[0] = 0;
  std::fill(ws.queue_ss.begin(), ws.queue_ss.begin() + std::min(n + 1, ws.queue_ss.size()), 0);
  std::fill(ws.queue_fs.begin(), ws.queue_fs.begin() + std::min(n + 1, ws.queue_fs.size()), 0);
  with_dtype(dtype, frame, [&](const auto* data) {
    const auto begin = ws.foreground.begin(), end = begin + n;
    for (const Asic& asic : plan.asics) {
      AsicSearch search(plan, options, data, asic, ws);
      for (int ss = asic.min_ss; ss < asic.end_ss; ++ss) {
        const std::int64_t row = (std::int64_t(asic.panel) * plan.shape.ss + ss) * plan.shape.fs;
        auto pixel = std::lower_bound(begin, end, row + asic.min_fs);
        for (; pixel != end && *pixel < row + asic.end_fs; ++pixel) search.try_seed(*pixel);
      }
    }
  });
  for (std::size_t k = 0; k < n; ++k) ws.visited[ws.foreground[k] >> 6] = 0;
}

}  // namespace peakrt
