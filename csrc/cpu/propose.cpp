#include "peakrt/propose.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "peakrt/dense.hpp"
#include "peakrt/statistics.hpp"
#include "simd.hpp"

namespace peakrt {
namespace {

int tiles(int pixels) { return (pixels + kTile - 1) / kTile; }

void weigh_tiles(ProposePlan* plan) {
  const RadialPlan& bins = plan->bins;
  for (const Asic& asic : bins.asics) {
    const int rows = tiles(asic.end_ss - asic.min_ss), columns = tiles(asic.end_fs - asic.min_fs);
    std::vector<int> good(std::size_t(rows) * columns);
    for (int ss = asic.min_ss; ss < asic.end_ss; ++ss)
      for (int fs = asic.min_fs; fs < asic.end_fs; ++fs) {
        const std::int64_t i = (std::int64_t(asic.panel) * bins.shape.ss + ss) * bins.shape.fs + fs;
        good[std::size_t((ss - asic.min_ss) / kTile) * columns + (fs - asic.min_fs) / kTile] +=
            bins.bin[i] < bins.n_bins;
      }
    plan->tile_first.push_back(std::int64_t(plan->tile_weight.size()));
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c) {
        int n = 0;
        for (int y = std::max(0, r - 1); y <= std::min(rows - 1, r + 1); ++y)
          for (int x = std::max(0, c - 1); x <= std::min(columns - 1, c + 1); ++x)
            n += good[std::size_t(y) * columns + x];
        plan->tile_weight.push_back(n > 9 ? 1.f / float(n) : 0.f);
      }
  }
}

// Evenly over all places where a window is nearly all good.
void choose_windows(ProposePlan* plan) {
  const RadialPlan& bins = plan->bins;
  std::vector<Window> all;
  for (std::size_t a = 0; a < bins.asics.size(); ++a) {
    const Asic& asic = bins.asics[a];
    for (int ss = 0; ss + kWindow <= asic.end_ss - asic.min_ss; ss += kWindow)
      for (int fs = 0; fs + kWindow <= asic.end_fs - asic.min_fs; fs += kWindow) {
        int good = 0;
        for (int i = 0; i < kWindow; ++i)
          for (int j = 0; j < kWindow; ++j)
            good += bins.bin[(std::int64_t(asic.panel) * bins.shape.ss + asic.min_ss + ss + i) * bins.shape.fs +
                             asic.min_fs + fs + j] < bins.n_bins;
        if (good >= kWindow * kWindow * 9 / 10) all.push_back({std::int32_t(a), ss, fs});
      }
  }
  const std::int64_t keep = std::min<std::int64_t>(kWindows, std::int64_t(all.size()));
  for (std::int64_t k = 0; k < keep; ++k)
    plan->windows.push_back(all[(2 * k + 1) * std::int64_t(all.size()) / (2 * keep)]);
}

// Clipped mean and sigma of each bin and its neighbours.
void statistics(const ProposePlan& plan, float gain, ProposeWorkspace& ws) {
  const int bins = plan.bins.n_bins;
  const SimdKernels& kernels = simd();
  std::fill(ws.low.begin(), ws.low.end(), -1e30f);
  std::fill(ws.high.begin(), ws.high.end(), 1e30f);
  for (int pass = 0; pass < kPasses; ++pass) {
    kernels.clip_sums(plan.bins, ws.values.data(), ws.low.data(), ws.high.data(), ws.count.data(), ws.sum.data(),
                      ws.squares.data());
    for (int b = 0; b < bins; ++b) {
      const BinLevel level =
          pool_bin(ws.count.data(), ws.sum.data(), ws.squares.data(), bins, b, plan.radial, gain, ws.clip);
      ws.low[b] = level.low;
      ws.high[b] = level.high;
      ws.mean[b] = level.mean;
      ws.inverse[b] = level.inverse;
      ws.photons[b] = level.photons;
    }
  }
  ws.mean[bins] = ws.inverse[bins] = 0;  // masked
  ws.photons[bins] = 1;
}

float clipped_sigma(const std::vector<float>& values, std::size_t first, std::size_t windows, float most_allowed) {
  Noise noise;
  for (int pass = 0; pass < kNoisePasses; ++pass) {
    NoiseSums sums;
    for (std::size_t w = 0; w < windows; ++w) {
      NoiseSums one;
      one.add(values.data() + (2 * w + first) * kSums, noise.sigma);
      sums.add(one);
    }
    noise.refine(sums, most_allowed);
  }
  return noise.settled();
}

// The sigma of S3 and S5 in the windows, each above its own mean.
template <class T>
void noise_of_sums(const ProposePlan& plan, const T* frame, ProposeWorkspace& ws) {
  const std::size_t n = plan.windows.size();
  ws.noise_values.resize(2 * n * kSums);
  for (std::size_t w = 0; w < n; ++w) {
    const SigmaView<T> view{frame,
                            plan.bins.bin.data(),
                            ws.mean.data(),
                            ws.inverse.data(),
                            ws.photons.data(),
                            plan.bins.shape,
                            plan.bins.asics[plan.windows[w].asic]};
    float* values = ws.noise_values.data() + 2 * w * kSums;
    window_sums(view, plan.windows[w], values, values + kSums);
  }
  ws.noise3 = clipped_sigma(ws.noise_values, 0, n, kMostNoise3);
  ws.noise5 = clipped_sigma(ws.noise_values, 1, n, kMostNoise5);
}

void keep_most_significant(ProposeWorkspace& ws) {
  ws.dropped = 0;
  if (ws.candidates.size() <= std::size_t(kMostCandidates)) return;
  ws.dropped = std::int64_t(ws.candidates.size()) - kMostCandidates;
  std::vector<float> merits;
  for (const Candidate& c : ws.candidates) merits.push_back(merit(c));
  std::nth_element(merits.begin(), merits.begin() + kMostCandidates - 1, merits.end(), std::greater<float>());
  const float least_merit = merits[kMostCandidates - 1];
  std::size_t n = 0;
  for (const Candidate& c : ws.candidates)
    if (merit(c) >= least_merit && n < std::size_t(kMostCandidates)) ws.candidates[n++] = c;
  ws.candidates.resize(n);
}

// Lists the candidates; returns how many are clear peaks.
int search(const ProposePlan& plan, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  with_dtype(dtype, frame, [&](const auto* data) { noise_of_sums(plan, data, ws); });
  ws.candidates.clear();
  for (std::size_t asic = 0; asic < plan.bins.asics.size(); ++asic) simd().sweep(plan, int(asic), dtype, frame, ws);
  std::size_t n = 0;
  int clear = 0;
  for (const Candidate& c : ws.candidates) {
    const std::int64_t pixel = (std::int64_t(c.panel) * plan.bins.shape.ss + c.ss) * plan.bins.shape.fs + c.fs;
    const float background = ws.photons[plan.bins.bin[pixel]];
    if (!significant(c, background, ws.noise3, ws.noise5)) continue;
    clear += is_clear(c, background, ws.noise3);
    ws.candidates[n++] = c;
  }
  ws.candidates.resize(n);
  keep_most_significant(ws);
  return clear;
}

}  // namespace

ProposePlan::ProposePlan(Shape shape, const std::uint8_t* mask, const float* bin, std::vector<Asic> asics, bool radial_)
    : bins(shape, mask, bin, std::move(asics), kSamplesPerBin), radial(radial_), good_pixels(0) {
  bin_pixels.assign(bins.n_bins + 1, 0);
  for (std::uint16_t b : bins.bin) ++bin_pixels[b];
  for (int b = 0; b < bins.n_bins; ++b) good_pixels += bin_pixels[b];
  weigh_tiles(this);
  choose_windows(this);
}

ProposeWorkspace::ProposeWorkspace(const ProposePlan& plan)
    : noise3(1), noise5(1), dropped(0), crowded(false), clip(usual_clip()) {
  const std::size_t padded = plan.bins.groups.size() * kLanes;
  for (std::vector<float>* table : {&low, &high, &count, &sum, &squares}) table->assign(padded, 0);
  for (std::vector<float>* table : {&mean, &inverse, &photons}) table->assign(plan.bins.n_bins + 1, 0);
  values.resize(plan.bins.order.size());
  int widest = 0;
  for (const Asic& asic : plan.bins.asics) widest = std::max(widest, asic.end_fs - asic.min_fs);
  rows.resize(sweep_floats(widest));
  flags.resize(std::size_t(kSweepFlags) * (widest + 64));
}

void measure_bins(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  ws.clip = usual_clip();
  ws.noise3 = ws.noise5 = 1;  // until a search measures them
  simd().collect(plan.bins, dtype, frame, ws.values.data());
  statistics(plan, gain, ws);
}

void dense_inputs(const ProposePlan& plan, Dtype dtype, const void* frame, const ProposeWorkspace& ws, float* out) {
  const Shape shape = plan.bins.shape;
  const std::int64_t one = std::int64_t(shape.ss) * shape.fs;
  with_dtype(dtype, frame, [&](const auto* data) {
    for (std::int64_t i = 0; i < shape.pixels(); ++i) {
      float* to = out + i / one * kDenseChannels * one + i % one;
      dense_input(data, plan.bins.bin.data(), ws.mean.data(), ws.inverse.data(), ws.photons.data(), i, to, to + one,
                  to + 2 * one);
    }
  });
}

void propose(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  measure_bins(plan, gain, dtype, frame, ws);
  ws.crowded = is_crowded(search(plan, dtype, frame, ws), plan.megapixels());
  if (!ws.crowded) return;
  ws.clip = tight_clip();
  statistics(plan, gain, ws);
  search(plan, dtype, frame, ws);
}

}  // namespace peakrt
