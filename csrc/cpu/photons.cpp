#include "peakrt/photons.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace peakrt {
namespace {

// xoshiro256++ 1.0 (Blackman & Vigna, public domain), seeded through splitmix64; one stream a row of 4096
// pixels.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) {
    std::uint64_t x = seed ^ (stream * 0xd1342543de82ef95ull);
    for (std::uint64_t& s : state_) {
      std::uint64_t z = (x += 0x9e3779b97f4a7c15ull);
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      s = z ^ (z >> 31);
    }
  }
  std::uint64_t bits() {
    const std::uint64_t result = rotate(state_[0] + state_[3], 23) + state_[0], t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate(state_[3], 45);
    return result;
  }
  double uniform() { return (double(bits() >> 11) + 0.5) * 0x1p-53; }

 private:
  static std::uint64_t rotate(std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }
  std::uint64_t state_[4];
};

constexpr std::int64_t kStride = 4096;

// Transformed rejection, W. Hoermann, Insurance: Math. Econ. 12 (1993) 39, algorithm PTRS, for mean >= 10.
double poisson_large(double mean, Random& random) {
  const double slam = std::sqrt(mean), loglam = std::log(mean), b = 0.931 + 2.53 * slam, a = -0.059 + 0.02483 * b,
               inv_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2);
  for (;;) {
    const double u = random.uniform() - 0.5, v = random.uniform(), us = 0.5 - std::fabs(u),
                 k = std::floor((2 * a / us + b) * u + mean + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (std::log(v) + std::log(inv_alpha) - std::log(a / (us * us) + b) <= -mean + k * loglam - std::lgamma(k + 1))
      return k;
  }
}

// Inversion by sequential search, for small means.
double poisson_small(double mean, Random& random) {
  double p = std::exp(-mean), u = random.uniform();
  int k = 0;
  while (u > p && k < 200) {
    u -= p;
    p *= mean / ++k;
  }
  return k;
}

// 65536 normal deviates at equal steps of probability; a 16-bit index draws one.
const std::vector<float>& normal_table() {
  static const std::vector<float> table = [] {
    std::vector<float> t(65536);
    double squares = 0;
    for (int i = 0; i < 65536; ++i) {
      // Acklam's start, two Newton steps on erfc: exact to double precision.
      const double p = (i + 0.5) / 65536;
      double x = p < 0.5 ? -std::sqrt(-2 * std::log(p)) : std::sqrt(-2 * std::log(1 - p));
      for (int k = 0; k < 60; ++k)
        x -= std::clamp((0.5 * std::erfc(-x / M_SQRT2) - p) * std::sqrt(2 * M_PI) * std::exp(0.5 * x * x), -0.5, 0.5);
      t[i] = float(x);
      squares += x * x;
    }
    const float scale = float(1 / std::sqrt(squares / 65536));
    for (float& x : t) x *= scale;
    return t;
  }();
  return table;
}

}  // namespace

void draw_spots(Shape shape, const Spot* spots, std::int64_t n, float* expected) {
  for (std::int64_t k = 0; k < n; ++k) {
    const Spot& s = spots[k];
    if (s.panel < 0 || s.panel >= shape.panel) continue;
    float* panel = expected + std::int64_t(s.panel) * shape.ss * shape.fs;
    const int reach = int(std::ceil(4 * std::max(s.sigma_along, s.sigma_across))) + 1;
    const int c_ss = int(std::rint(s.ss)), c_fs = int(std::rint(s.fs));
    const float a = -0.5f / (s.sigma_along * s.sigma_along), b = -0.5f / (s.sigma_across * s.sigma_across);
    const float scale = s.photons / (2 * float(M_PI) * s.sigma_along * s.sigma_across) / 9;
    for (int ss = std::max(0, c_ss - reach); ss <= std::min(shape.ss - 1, c_ss + reach); ++ss)
      for (int fs = std::max(0, c_fs - reach); fs <= std::min(shape.fs - 1, c_fs + reach); ++fs) {
        float sum = 0;
        for (int i = -1; i <= 1; ++i)
          for (int j = -1; j <= 1; ++j) {
            const float y = ss + i / 3.f - s.ss, x = fs + j / 3.f - s.fs;
            const float along = x * s.cos_fs + y * s.sin_ss, across = y * s.cos_fs - x * s.sin_ss;
            sum += std::exp(a * along * along + b * across * across);
          }
        panel[std::int64_t(ss) * shape.fs + fs] += scale * sum;
      }
  }
}

void count_photons(float* photons, std::int64_t n, std::uint64_t seed) {
  for (std::int64_t start = 0; start < n; start += kStride) {
    Random random(seed, std::uint64_t(start / kStride));
    for (std::int64_t i = start; i < std::min(n, start + kStride); ++i) {
      const double mean = photons[i];
      photons[i] = mean > 0 ? float(mean < 10 ? poisson_small(mean, random) : poisson_large(mean, random)) : 0.f;
    }
  }
}

void read_out(const float* photons, std::int64_t n, const Readout& readout, std::uint64_t pixel_seed,
              std::uint64_t seed, float* frame) {
  const std::vector<float>& normal = normal_table();
  for (std::int64_t start = 0; start < n; start += kStride) {
    Random random(seed, std::uint64_t(start / kStride)), pixels(pixel_seed, std::uint64_t(start / kStride));
    for (std::int64_t i = start; i < std::min(n, start + kStride); i += 4) {
      std::uint64_t noise = random.bits(), spread = pixels.bits();
      for (std::int64_t k = i; k < std::min(std::min(n, start + kStride), i + 4); ++k) {
        const float gain = readout.gain * (1 + readout.gain_spread * normal[spread & 0xffff]);
        float adu = readout.offset + gain * photons[k] + readout.read_noise * normal[noise & 0xffff];
        noise >>= 16;
        spread >>= 16;
        adu = std::clamp(adu, readout.low, readout.high);
        frame[k] = readout.whole ? std::rint(adu) : adu;
      }
    }
  }
}

}  // namespace peakrt
