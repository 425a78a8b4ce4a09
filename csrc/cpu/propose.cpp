#include "peakrt/propose.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "peakrt/features.hpp"
#include "simd.hpp"

namespace peakrt {
namespace {

constexpr int kPool = 500;      // values that a mean and a sigma should rest on
constexpr int kPoolReach = 12;  // bins to each side that may be pooled to get there
constexpr int kLeast = 12;      // values without which a bin has no statistics
constexpr int kPasses = 5;

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
  std::vector<ProposePlan::Window> all;
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

// Prefix sums over the bins, so that a pool is two look-ups.
struct Prefix {
  std::vector<double> n, s, q;
  void build(const float* count, const float* sum, const float* squares, int bins) {
    n.assign(bins + 1, 0);
    s.assign(bins + 1, 0);
    q.assign(bins + 1, 0);
    for (int b = 0; b < bins; ++b) {
      n[b + 1] = n[b] + count[b];
      s[b + 1] = s[b] + sum[b];
      q[b + 1] = q[b] + squares[b];
    }
  }
};

// Clipped mean and sigma of each bin and its neighbours.
void statistics(const ProposePlan& plan, float gain, ProposeWorkspace& ws) {
  const int bins = plan.bins.n_bins;
  const SimdKernels& kernels = simd();
  std::fill(ws.low.begin(), ws.low.end(), -1e30f);
  std::fill(ws.high.begin(), ws.high.end(), 1e30f);
  Prefix prefix;
  for (int pass = 0; pass < kPasses; ++pass) {
    kernels.clip_sums(plan.bins, ws.values.data(), ws.low.data(), ws.high.data(), ws.count.data(), ws.sum.data(),
                      ws.squares.data());
    prefix.build(ws.count.data(), ws.sum.data(), ws.squares.data(), bins);
    for (int b = 0; b < bins; ++b) {
      int reach = plan.radial ? 1 : 0;
      auto pool = [&](int r) { return prefix.n[std::min(bins, b + r + 1)] - prefix.n[std::max(0, b - r)]; };
      while (plan.radial && reach < kPoolReach && pool(reach) < kPool) ++reach;
      const int first = std::max(0, b - reach), last = std::min(bins, b + reach + 1);
      const double n = prefix.n[last] - prefix.n[first];
      if (n < kLeast) {
        ws.low[b] = 1e30f;
        ws.high[b] = -1e30f;
        ws.mean[b] = ws.inverse[b] = 0;
        ws.photons[b] = 1;
        continue;
      }
      const double mean = (prefix.s[last] - prefix.s[first]) / n;
      const double variance = std::max(0.0, (prefix.q[last] - prefix.q[first]) / n - mean * mean);
      const float sigma = float(std::sqrt(variance)), trusted = std::max(sigma, kSigmaFloor * gain);
      ws.low[b] = float(mean) - 4 * sigma;
      ws.high[b] = float(mean) + std::max(4 * sigma, 3 * gain);
      ws.mean[b] = float(mean);
      ws.inverse[b] = 1 / trusted;
      ws.photons[b] = trusted * trusted / (gain * gain);
    }
  }
  ws.mean[bins] = ws.inverse[bins] = 0;  // masked
  ws.photons[bins] = 1;
}

float clipped_sigma(const std::vector<float>& values, float most_allowed) {
  float sigma = 1;
  for (int pass = 0; pass < 3; ++pass) {
    double n = 0, s = 0, q = 0;
    for (float v : values)
      if (std::fabs(v) < 4 * sigma) {
        n += 1;
        s += v;
        q += double(v) * v;
      }
    if (n < 100) return 1;
    sigma = float(std::sqrt(std::max(0.0, q / n - s / n * (s / n))));
    sigma = std::min(std::max(sigma, 0.8f), most_allowed);
  }
  return std::max(sigma, 0.9f);
}

// The sigma of S3 and S5 in the windows, each above its own mean.
template <class T>
void noise_of_sums(const ProposePlan& plan, const T* frame, ProposeWorkspace& ws) {
  std::vector<float> s3, s5;
  s3.reserve(plan.windows.size() * 36);
  s5.reserve(plan.windows.size() * 36);
  for (const ProposePlan::Window& window : plan.windows) {
    const Asic& asic = plan.bins.asics[window.asic];
    const SigmaView<T> view{
        frame, plan.bins.bin.data(), ws.mean.data(), ws.inverse.data(), ws.photons.data(), plan.bins.shape, asic};
    float z[kWindow][kWindow], sum = 0;
    int n = 0;
    bool good[kWindow][kWindow];
    for (int i = 0; i < kWindow; ++i)
      for (int j = 0; j < kWindow; ++j) {
        good[i][j] = view.z(asic.min_ss + window.ss + i, asic.min_fs + window.fs + j, &z[i][j]);
        if (!good[i][j]) continue;
        sum += std::min(std::max(z[i][j], -4.f), 4.f);
        ++n;
      }
    if (n == 0) continue;
    for (int i = 0; i < kWindow; ++i)
      for (int j = 0; j < kWindow; ++j) z[i][j] = good[i][j] ? z[i][j] - sum / float(n) : 0;
    for (int i = 2; i < kWindow - 2; i += 2)
      for (int j = 2; j < kWindow - 2; j += 2) {
        float three = 0, five = 0;
        for (int a = -2; a <= 2; ++a)
          for (int b = -2; b <= 2; ++b) {
            five += z[i + a][j + b];
            if (a >= -1 && a <= 1 && b >= -1 && b <= 1) three += z[i + a][j + b];
          }
        s3.push_back(three / 3);
        s5.push_back(five / 5);
      }
  }
  ws.noise3 = clipped_sigma(s3, 3);
  ws.noise5 = clipped_sigma(s5, 5);
}

// What Gaussian statistics let pass must hold by Poisson's too, and be some photons.
bool significant(const Candidate& c, float background, float noise3, float noise5) {
  const float root = std::sqrt(background);
  bool passes = c.s3 > kS3 * noise3 && deviance(c.s3 * 3 * root, 9 * background) > kS3 * noise3;
  passes = passes || (c.z > kZ && deviance(c.z * root, background) > kZ);
  passes = passes || (c.s5 > kS5 * noise5 && deviance(c.s5 * 5 * root, 25 * background) > kS5 * noise5);
  if (!passes) return false;
  const float u = std::max({c.s3, c.z, 1.4f * c.s5}) * 3 * root;
  return photon_snr(u, 9 * background) >= kLeastSnr || photon_snr(c.z * root, background) >= kLeastSnr;
}

float merit(const Candidate& c) { return c.s3 + .5f * c.z + .5f * c.s5; }

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

}  // namespace

ProposePlan::ProposePlan(Shape shape, const std::uint8_t* mask, const float* bin, std::vector<Asic> asics, bool radial_)
    : bins(shape, mask, bin, std::move(asics), kSamplesPerBin), radial(radial_), good_pixels(0) {
  bin_pixels.assign(bins.n_bins + 1, 0);
  for (std::uint16_t b : bins.bin) ++bin_pixels[b];
  for (int b = 0; b < bins.n_bins; ++b) good_pixels += bin_pixels[b];
  weigh_tiles(this);
  choose_windows(this);
}

ProposeWorkspace::ProposeWorkspace(const ProposePlan& plan) : noise3(1), noise5(1), dropped(0) {
  const std::size_t padded = plan.bins.groups.size() * kLanes;
  for (std::vector<float>* table : {&low, &high, &count, &sum, &squares}) table->assign(padded, 0);
  for (std::vector<float>* table : {&mean, &inverse, &photons}) table->assign(plan.bins.n_bins + 1, 0);
  values.resize(plan.bins.order.size());
  int widest = 0;
  for (const Asic& asic : plan.bins.asics) widest = std::max(widest, asic.end_fs - asic.min_fs);
  rows.resize(sweep_floats(widest));
  flags.resize(std::size_t(kSweepFlags) * (widest + 64));
}

void propose(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  const SimdKernels& kernels = simd();
  kernels.collect(plan.bins, dtype, frame, ws.values.data());
  statistics(plan, gain, ws);
  with_dtype(dtype, frame, [&](const auto* data) { noise_of_sums(plan, data, ws); });
  ws.candidates.clear();
  for (std::size_t asic = 0; asic < plan.bins.asics.size(); ++asic) kernels.sweep(plan, int(asic), dtype, frame, ws);
  std::size_t n = 0;
  for (const Candidate& c : ws.candidates) {
    const std::int64_t pixel = (std::int64_t(c.panel) * plan.bins.shape.ss + c.ss) * plan.bins.shape.fs + c.fs;
    if (significant(c, ws.photons[plan.bins.bin[pixel]], ws.noise3, ws.noise5)) ws.candidates[n++] = c;
  }
  ws.candidates.resize(n);
  keep_most_significant(ws);
}

}  // namespace peakrt
