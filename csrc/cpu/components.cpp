#include "peakrt/components.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "peakrt/moments.hpp"

namespace peakrt {
namespace {

std::int32_t root(std::vector<std::int32_t>& parent, std::int32_t i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

// The smaller root wins, so that a component is named by its first pixel.
void unite(std::vector<std::int32_t>& parent, std::int32_t a, std::int32_t b) {
  a = root(parent, a);
  b = root(parent, b);
  if (a < b) parent[b] = a;
  if (b < a) parent[a] = b;
}

std::vector<std::int32_t> list_foreground(const std::uint8_t* foreground, std::int64_t n) {
  std::vector<std::int32_t> pixels;
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, foreground + i, 8);
    if (!eight) continue;
    for (int k = 0; k < 8; ++k)
      if (foreground[i + k]) pixels.push_back(std::int32_t(i + k));
  }
  for (; i < n; ++i)
    if (foreground[i]) pixels.push_back(std::int32_t(i));
  return pixels;
}

}  // namespace

std::int32_t label(Shape shape, const std::uint8_t* foreground, std::int32_t* labels) {
  const std::vector<std::int32_t> pixels = list_foreground(foreground, shape.pixels());
  std::vector<std::int32_t> parent(pixels.size());
  std::size_t above = 0;  // first listed pixel that can touch the present one from the row above
  for (std::size_t k = 0; k < pixels.size(); ++k) {
    parent[k] = std::int32_t(k);
    const std::int32_t pixel = pixels[k], fs = pixel % shape.fs, row = pixel / shape.fs;
    if (fs > 0 && k > 0 && pixels[k - 1] == pixel - 1) unite(parent, std::int32_t(k - 1), std::int32_t(k));
    while (above < k && pixels[above] < pixel - shape.fs - 1) ++above;
    if (row % shape.ss == 0) continue;  // the first row of a panel has nothing above it
    for (std::size_t a = above; a < k && pixels[a] <= pixel - shape.fs + 1; ++a)
      if (pixels[a] / shape.fs == row - 1) unite(parent, std::int32_t(a), std::int32_t(k));
  }
  std::memset(labels, 0, sizeof(std::int32_t) * shape.pixels());
  std::int32_t n = 0;
  for (std::size_t k = 0; k < pixels.size(); ++k) {
    const std::int32_t first = root(parent, std::int32_t(k));
    labels[pixels[k]] = first == std::int32_t(k) ? ++n : labels[pixels[first]];
  }
  return n;
}

void measure(Shape shape, Dtype dtype, const void* frame, const std::int32_t* labels, std::int32_t n,
             const float* background, const float* variance, const float* score, std::vector<Peak>* peaks) {
  struct Sums {
    Moments weighted, plain;
    float background = 0, variance = 0, score = 0;
    std::int32_t origin_ss = 0, origin_fs = 0;
  };
  std::vector<Sums> sums(n);
  peaks->assign(n, Peak{});
  with_dtype(dtype, frame, [&](const auto* data) {
    for (std::int64_t i = 0; i < shape.pixels(); ++i) {
      if (labels[i] == 0) continue;
      Sums& s = sums[labels[i] - 1];
      Peak& peak = (*peaks)[labels[i] - 1];
      const std::int32_t fs = std::int32_t(i % shape.fs), row = std::int32_t(i / shape.fs), ss = row % shape.ss;
      const float adu = static_cast<float>(data[i]) - background[i];
      if (peak.npix++ == 0) {
        s.origin_ss = peak.min_ss = peak.max_ss = peak.top_ss = ss;
        s.origin_fs = peak.min_fs = peak.max_fs = peak.top_fs = fs;
        peak.panel = row / shape.ss;
        peak.max = adu;
      }
      s.weighted.add(adu > 0 ? adu : 0, float(ss - s.origin_ss), float(fs - s.origin_fs));
      s.plain.add(1, float(ss - s.origin_ss), float(fs - s.origin_fs));
      s.background += background[i];
      s.variance += variance[i];
      if (score) s.score = std::max(s.score, score[i]);
      peak.intensity += adu;
      if (adu > peak.max) {
        peak.max = adu;
        peak.top_ss = ss;
        peak.top_fs = fs;
      }
      peak.min_ss = std::min(peak.min_ss, ss);
      peak.max_ss = std::max(peak.max_ss, ss);
      peak.min_fs = std::min(peak.min_fs, fs);
      peak.max_fs = std::max(peak.max_fs, fs);
    }
  });
  for (std::int32_t k = 0; k < n; ++k) {
    Peak& peak = (*peaks)[k];
    const Sums& s = sums[k];
    const Moments& m = s.weighted.sum > 0 ? s.weighted : s.plain;
    peak.ss = float(s.origin_ss) + m.ss / m.sum;
    peak.fs = float(s.origin_fs) + m.fs / m.sum;
    m.variances(&peak.var_ss, &peak.var_fs, &peak.cov);
    peak.background = s.background / float(peak.npix);
    peak.noise = std::sqrt(s.variance / float(peak.npix));
    peak.snr = s.variance > 0 ? peak.intensity / std::sqrt(s.variance) : 0;
    peak.score = score ? s.score : NAN;
    peak.err_ss = peak.err_fs = NAN;
  }
}

}  // namespace peakrt
