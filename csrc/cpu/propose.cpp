#include "peakrt/propose.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "peakrt/segmentation_input.hpp"
#include "peakrt/statistics.hpp"
#include "simd.hpp"

namespace peakrt {
namespace {

// The weight of a tile by the good pixels of the 3 x 3 tiles around it: too few say nothing of the background.
struct Weights {
  float of[9 * kTile * kTile + 1];

  constexpr Weights() : of() {
    for (int n = 10; n <= 9 * kTile * kTile; ++n) of[n] = 1.f / float(n);
  }
};
constexpr Weights kWeights;

// Good pixels of each tile of an ASIC, counted for eight tiles of a row at a time: a tile is as wide as a byte has
// bits.
struct TileCounts {
  int rows, columns, words;  // words: of eight tiles each, in a row of tiles
  std::vector<std::uint8_t> good;

  TileCounts(Shape shape, const Asic& asic, const std::uint64_t* bits)
      : rows((asic.end_ss - asic.min_ss + kTile - 1) / kTile),
        columns((asic.end_fs - asic.min_fs + kTile - 1) / kTile),
        words((columns + 7) / 8),
        good(std::size_t(rows) * words * 8) {
    static_assert(kTile == 8, "eight rows of eight pixels fill a byte with at most 64");
    const int n_ss = asic.end_ss - asic.min_ss, n_fs = asic.end_fs - asic.min_fs;
    for (int ss = 0; ss < n_ss; ++ss) {
      const std::int64_t row = (std::int64_t(asic.panel) * shape.ss + asic.min_ss + ss) * shape.fs + asic.min_fs;
      std::uint8_t* counts = good.data() + std::size_t(ss / kTile) * words * 8;
      for (int w = 0; w < words; ++w) {
        std::uint64_t pixels = from(bits, row + w * 64), sum;
        if (n_fs - w * 64 < 64) pixels &= (std::uint64_t(1) << (n_fs - w * 64)) - 1;
        pixels = count_in_bytes(pixels);
        std::memcpy(&sum, counts + w * 8, 8);
        sum += pixels;
        std::memcpy(counts + w * 8, &sum, 8);
      }
    }
  }

  // 64 bits from one on.
  static std::uint64_t from(const std::uint64_t* bits, std::int64_t at) {
    const std::int64_t word = at >> 6, shift = at & 63;
    return shift ? bits[word] >> shift | bits[word + 1] << (64 - shift) : bits[word];
  }

  int at(int r, int c) const { return good[std::size_t(r) * words * 8 + c]; }

  // Appends one over the good pixels of the 3 x 3 tiles around each tile.
  void append_weights(std::vector<float>* weights) const {
    std::vector<int> three(columns + 2);  // of a tile and those above and below it; a zero at both ends
    for (int r = 0; r < rows; ++r) {
      std::fill(three.begin(), three.end(), 0);
      for (int y = std::max(0, r - 1); y <= std::min(rows - 1, r + 1); ++y)
        for (int c = 0; c < columns; ++c) three[c + 1] += at(y, c);
      for (int c = 0; c < columns; ++c) {
        const int n = three[c] + three[c + 1] + three[c + 2];
        weights->push_back(kWeights.of[n]);
      }
    }
  }
};

// The windows of an ASIC that are nearly all good; a window is a square of four tiles.
void append_good_windows(const TileCounts& tiles, const Asic& asic, int number, std::vector<Window>* windows) {
  static_assert(kWindow == 2 * kTile, "a window is two tiles wide");
  for (int ss = 0; ss + kWindow <= asic.end_ss - asic.min_ss; ss += kWindow)
    for (int fs = 0; fs + kWindow <= asic.end_fs - asic.min_fs; fs += kWindow) {
      const int r = ss / kTile, c = fs / kTile;
      const int good = tiles.at(r, c) + tiles.at(r, c + 1) + tiles.at(r + 1, c) + tiles.at(r + 1, c + 1);
      if (good >= kWindow * kWindow * 9 / 10) windows->push_back({number, ss, fs});
    }
}

// At most kWindows of them, evenly spaced.
std::vector<Window> spread(const std::vector<Window>& all) {
  std::vector<Window> some;
  const std::int64_t n = std::int64_t(all.size()), keep = std::min<std::int64_t>(kWindows, n);
  for (std::int64_t k = 0; k < keep; ++k) some.push_back(all[(2 * k + 1) * n / (2 * keep)]);
  return some;
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
    kernels.pool_bins(plan, gain, ws);
  }
  ws.mean[bins] = ws.inverse[bins] = 0;  // masked
  ws.photons[bins] = 1;
}

// The sigma of S3 (0) or S5 (1) in the windows, each above its own mean.
float clipped_sigma(const ProposePlan& plan, const ProposeWorkspace& ws, int which, float most_allowed) {
  const int stride = noise_stride(plan);
  Noise noise;
  for (int pass = 0; pass < kNoisePasses; ++pass) {
    NoiseSums sums;
    simd().noise_sums(ws.noise_values.data() + which * kSums * stride, int(plan.windows.size()), stride, noise.sigma,
                      &sums);
    noise.refine(sums, most_allowed);
  }
  return noise.settled();
}

void noise_of_sums(const ProposePlan& plan, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  simd().windows(plan, dtype, frame, ws);
  ws.noise3 = clipped_sigma(plan, ws, 0, kMostNoise3);
  ws.noise5 = clipped_sigma(plan, ws, 1, kMostNoise5);
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
  noise_of_sums(plan, dtype, frame, ws);
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
    : bins(shape, mask, bin, std::move(asics), kSamplesPerBin), radial(radial_) {
  weigh_tiles_and_choose_windows(good_bits(mask, shape.pixels()).data());
}

ProposePlan::ProposePlan(const ProposePlan& other, const std::uint64_t* good)
    : bins(other.bins, good), radial(other.radial) {
  weigh_tiles_and_choose_windows(good);
}

void ProposePlan::weigh_tiles_and_choose_windows(const std::uint64_t* good) {
  std::vector<Window> all;
  tile_weight.reserve(bins.shape.pixels() / (kTile * kTile));
  for (std::size_t a = 0; a < bins.asics.size(); ++a) {
    const TileCounts tiles(bins.shape, bins.asics[a], good);
    tile_first.push_back(std::int64_t(tile_weight.size()));
    tiles.append_weights(&tile_weight);
    append_good_windows(tiles, bins.asics[a], int(a), &all);
  }
  windows = spread(all);
}

ProposeWorkspace::ProposeWorkspace(const ProposePlan& plan)
    : noise3(1), noise5(1), dropped(0), crowded(false), clip(usual_clip()) {
  const std::size_t padded = plan.bins.groups.size() * kLanes;
  for (std::vector<float>* table : {&low, &high, &count, &sum, &squares}) table->assign(padded, 0);
  for (std::vector<float>* table : {&mean, &inverse, &photons}) table->assign(plan.bins.n_bins + 1 + kBehindBins, 0);
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

void segmentation_inputs(const ProposePlan& plan, Dtype dtype, const void* frame, const ProposeWorkspace& ws,
                         float* out) {
  const Shape shape = plan.bins.shape;
  const std::int64_t one = std::int64_t(shape.ss) * shape.fs;
  with_dtype(dtype, frame, [&](const auto* data) {
    for (std::int64_t i = 0; i < shape.pixels(); ++i) {
      float* to = out + i / one * kSegmentationChannels * one + i % one;
      segmentation_input(data, plan.bins.bin.data(), ws.mean.data(), ws.inverse.data(), ws.photons.data(), i, to,
                         to + one, to + 2 * one);
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
