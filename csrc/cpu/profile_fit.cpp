#include "peakrt/profile_fit.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace peakrt {
namespace {

constexpr int kN = kProfileParameters;
enum Parameter { kA, kEta, kCy, kCx, kSy, kSx, kGy, kGx, kSlopeY, kSlopeX, kLevel };

constexpr int kMostIterations = 500;
constexpr double kSettled = 1e-8;  // relative gain of chi-square below which a fit has come to its end
// A width below a fifth of a pixel cannot be told from a point, one above the window not from the plane. The centre
// stays within two pixels of where the finder saw the peak: beyond that it is another one's.
constexpr double kLeastWidth = 0.2, kMostWidth = 6.0, kMostShift = 2.0;

struct Pixel {
  double y, x, counts, weight;
};

struct Bounds {
  double low[kN], high[kN];
};

double model_at(const double* p, const Pixel& at, double* derivative) {
  const double dy = at.y - p[kCy], dx = at.x - p[kCx];
  const double sy2 = p[kSy] * p[kSy], sx2 = p[kSx] * p[kSx], gy2 = p[kGy] * p[kGy], gx2 = p[kGx] * p[kGx];
  const double gauss = std::exp(-0.5 * (dy * dy / sy2 + dx * dx / sx2));
  const double lorentz = 1 / (1 + dy * dy / gy2 + dx * dx / gx2);
  const double shape = p[kEta] * lorentz + (1 - p[kEta]) * gauss;
  if (derivative) {
    const double in_gauss = p[kA] * (1 - p[kEta]) * gauss, in_lorentz = 2 * p[kA] * p[kEta] * lorentz * lorentz;
    derivative[kA] = shape;
    derivative[kEta] = p[kA] * (lorentz - gauss);
    derivative[kCy] = in_gauss * dy / sy2 + in_lorentz * dy / gy2;
    derivative[kCx] = in_gauss * dx / sx2 + in_lorentz * dx / gx2;
    derivative[kSy] = in_gauss * dy * dy / (sy2 * p[kSy]);
    derivative[kSx] = in_gauss * dx * dx / (sx2 * p[kSx]);
    derivative[kGy] = in_lorentz * dy * dy / (gy2 * p[kGy]);
    derivative[kGx] = in_lorentz * dx * dx / (gx2 * p[kGx]);
    derivative[kSlopeY] = at.y;
    derivative[kSlopeX] = at.x;
    derivative[kLevel] = 1;
  }
  return p[kA] * shape + p[kSlopeY] * at.y + p[kSlopeX] * at.x + p[kLevel];
}

double chi_square(const double* p, const std::vector<Pixel>& pixels) {
  double sum = 0;
  for (const Pixel& at : pixels) {
    const double residual = (model_at(p, at, nullptr) - at.counts) * at.weight;
    sum += residual * residual;
  }
  return sum;
}

// Half the curvature and half the gradient of chi-square; returns chi-square.
double normal_equations(const double* p, const std::vector<Pixel>& pixels, double (*curvature)[kN], double* gradient) {
  double sum = 0, d[kN];
  for (int i = 0; i < kN; ++i) {
    gradient[i] = 0;
    std::fill(curvature[i], curvature[i] + kN, 0.0);
  }
  for (const Pixel& at : pixels) {
    const double residual = (model_at(p, at, d) - at.counts) * at.weight;
    sum += residual * residual;
    for (int i = 0; i < kN; ++i) {
      d[i] *= at.weight;
      gradient[i] += d[i] * residual;
      for (int j = 0; j <= i; ++j) curvature[i][j] += d[i] * d[j];
    }
  }
  for (int i = 0; i < kN; ++i)
    for (int j = 0; j < i; ++j) curvature[j][i] = curvature[i][j];
  return sum;
}

// In place: the lower Cholesky factor; false for a matrix that is not positive definite.
bool factorise(double (*m)[kN]) {
  for (int i = 0; i < kN; ++i)
    for (int j = 0; j <= i; ++j) {
      double sum = m[i][j];
      for (int k = 0; k < j; ++k) sum -= m[i][k] * m[j][k];
      if (i == j) {
        if (!(sum > 0)) return false;
        m[i][i] = std::sqrt(sum);
      } else {
        m[i][j] = sum / m[j][j];
      }
    }
  return true;
}

void solve(const double (*factor)[kN], const double* right, double* x) {
  for (int i = 0; i < kN; ++i) {
    double sum = right[i];
    for (int k = 0; k < i; ++k) sum -= factor[i][k] * x[k];
    x[i] = sum / factor[i][i];
  }
  for (int i = kN - 1; i >= 0; --i) {
    double sum = x[i];
    for (int k = i + 1; k < kN; ++k) sum -= factor[k][i] * x[k];
    x[i] = sum / factor[i][i];
  }
}

// Parameters that stand at a bound and want to go beyond it, or that no pixel tells of, are held.
void hold(const double* p, const Bounds& bounds, const double (*curvature)[kN], const double* gradient, bool* held) {
  for (int i = 0; i < kN; ++i)
    held[i] = (p[i] <= bounds.low[i] && gradient[i] > 0) || (p[i] >= bounds.high[i] && gradient[i] < 0) ||
              !(curvature[i][i] > 1e-30);
}

// The curvature with lambda times its diagonal added, and held parameters taken out.
void damped(const double (*curvature)[kN], const bool* held, double lambda, double (*out)[kN]) {
  for (int i = 0; i < kN; ++i)
    for (int j = 0; j < kN; ++j)
      out[i][j] = held[i] || held[j] ? double(i == j) : curvature[i][j] * (i == j ? 1 + lambda : 1.0);
}

void fit(const std::vector<Pixel>& pixels, const Bounds& bounds, ProfileFit* out) {
  double* p = out->value;
  double curvature[kN][kN], gradient[kN], matrix[kN][kN], right[kN], step[kN], trial[kN];
  bool held[kN];
  double best = normal_equations(p, pixels, curvature, gradient), lambda = 1e-3;
  out->end = kNotConverged;
  for (out->iterations = 0; out->iterations < kMostIterations; ++out->iterations) {
    hold(p, bounds, curvature, gradient, held);
    damped(curvature, held, lambda, matrix);
    if (!factorise(matrix)) {
      lambda *= 10;
      if (lambda > 1e12) break;
      continue;
    }
    for (int i = 0; i < kN; ++i) right[i] = held[i] ? 0 : -gradient[i];
    solve(matrix, right, step);
    for (int i = 0; i < kN; ++i) trial[i] = std::min(std::max(p[i] + step[i], bounds.low[i]), bounds.high[i]);
    const double sum = chi_square(trial, pixels);
    if (sum <= best) {
      const bool settled = best - sum <= kSettled * best;
      std::copy(trial, trial + kN, p);
      best = normal_equations(p, pixels, curvature, gradient);
      lambda = std::max(lambda * 0.2, 1e-12);
      if (settled) {
        out->end = kFitted;
        break;
      }
    } else {
      lambda *= 5;
      if (lambda > 1e10) {  // no step of any length gains: this is the bottom, to rounding
        out->end = kFitted;
        break;
      }
    }
  }
  hold(p, bounds, curvature, gradient, held);
  int free = 0;
  for (int i = 0; i < kN; ++i) free += !held[i];
  const double freedom = std::max(1, int(pixels.size()) - free);
  out->chi2 = best / freedom;
  double deviance = 0;
  for (const Pixel& at : pixels) {
    const double m = std::max(model_at(p, at, nullptr), 1e-3), d = std::max(at.counts, 0.0);
    deviance += 2 * (m - d + (d > 0 ? d * std::log(d / m) : 0.0));
  }
  out->deviance = deviance / freedom;
  damped(curvature, held, 0, matrix);
  const bool known = factorise(matrix);
  for (int i = 0; i < kN; ++i) {
    out->error[i] = std::numeric_limits<double>::infinity();
    if (held[i] || !known) continue;
    std::fill(right, right + kN, 0.0);
    right[i] = 1;
    solve(matrix, right, step);
    out->error[i] = std::sqrt(std::max(step[i], 0.0));
  }
}

// Where the fit begins: the level is the median of the window's border, the amplitude what the brightest of the inner
// pixels has above it. Both widths begin at a pixel, half Gaussian and half Lorentzian.
void begin(const std::vector<Pixel>& pixels, int radius, double start_y, double start_x, ProfileFit* out,
           Bounds* bounds) {
  std::vector<double> border;
  double top = -std::numeric_limits<double>::infinity();
  for (const Pixel& at : pixels) {
    if (std::max(std::fabs(at.y), std::fabs(at.x)) == radius) border.push_back(at.counts);
    if (std::max(std::fabs(at.y - start_y), std::fabs(at.x - start_x)) < 1.6) top = std::max(top, at.counts);
  }
  if (border.empty())
    for (const Pixel& at : pixels) border.push_back(at.counts);
  std::nth_element(border.begin(), border.begin() + border.size() / 2, border.end());
  const double level = border[border.size() / 2], amplitude = std::max(top - level, 1.0);
  const double infinity = std::numeric_limits<double>::infinity();
  const double value[kN] = {amplitude, 0.5, start_y, start_x, 1, 1, 1, 1, 0, 0, level};
  const double low[kN] = {0,
                          0,
                          start_y - kMostShift,
                          start_x - kMostShift,
                          kLeastWidth,
                          kLeastWidth,
                          kLeastWidth,
                          kLeastWidth,
                          -infinity,
                          -infinity,
                          -infinity};
  const double high[kN] = {infinity,
                           1,
                           start_y + kMostShift,
                           start_x + kMostShift,
                           kMostWidth,
                           kMostWidth,
                           kMostWidth,
                           kMostWidth,
                           infinity,
                           infinity,
                           infinity};
  std::copy(value, value + kN, out->value);
  std::copy(low, low + kN, bounds->low);
  std::copy(high, high + kN, bounds->high);
}

}  // namespace

void fit_profiles(Shape shape, const float* photons, const std::uint16_t* regions, const ProfileStart* starts,
                  std::int64_t n, int radius, ProfileFit* fits) {
  std::vector<std::int64_t> order(n);  // by panel and ss, so that neighbours are found without looking at all
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return starts[a].panel != starts[b].panel ? starts[a].panel < starts[b].panel : starts[a].ss < starts[b].ss;
  });
  const float reach = 2.0f * float(radius) + 3;
  std::vector<Pixel> pixels;
  std::vector<ProfileStart> others;
  std::int64_t first = 0;
  for (std::int64_t place = 0; place < n; ++place) {
    const ProfileStart& start = starts[order[place]];
    ProfileFit* out = fits + order[place];
    *out = ProfileFit{};
    out->panel = start.panel;
    while (starts[order[first]].panel != start.panel || starts[order[first]].ss < start.ss - reach) ++first;
    others.clear();
    for (std::int64_t k = first; k < n; ++k) {
      const ProfileStart& other = starts[order[k]];
      if (other.panel != start.panel || other.ss > start.ss + reach) break;
      if (k != place && std::fabs(other.fs - start.fs) < reach) others.push_back(other);
    }
    const auto middle_ss = std::int64_t(std::lround(start.ss)), middle_fs = std::int64_t(std::lround(start.fs));
    out->middle_ss = double(middle_ss);
    out->middle_fs = double(middle_fs);
    pixels.clear();
    const bool inside = middle_ss >= 0 && middle_fs >= 0 && middle_ss < shape.ss && middle_fs < shape.fs;
    const std::uint16_t region =
        inside ? regions[(std::int64_t(start.panel) * shape.ss + middle_ss) * shape.fs + middle_fs] : std::uint16_t{0};
    for (std::int64_t ss = middle_ss - radius; ss <= middle_ss + radius; ++ss)
      for (std::int64_t fs = middle_fs - radius; fs <= middle_fs + radius; ++fs) {
        if (ss < 0 || fs < 0 || ss >= shape.ss || fs >= shape.fs) continue;
        const std::int64_t at = (std::int64_t(start.panel) * shape.ss + ss) * shape.fs + fs;
        if (!region || regions[at] != region || !std::isfinite(photons[at])) continue;
        const auto distance = [&](const ProfileStart& to) {
          const double dy = double(ss) - to.ss, dx = double(fs) - to.fs;
          return dy * dy + dx * dx;
        };
        const double own = distance(start);
        if (std::any_of(others.begin(), others.end(), [&](const ProfileStart& to) { return distance(to) < own; }))
          continue;
        const double counts = photons[at];
        pixels.push_back(
            {double(ss - middle_ss), double(fs - middle_fs), counts, 1 / std::sqrt(std::max(counts, 0.0) + 1)});
      }
    out->pixels = std::int32_t(pixels.size());
    if (pixels.size() < std::size_t(kN) + 4) {
      out->end = kFewPixels;
      continue;
    }
    Bounds bounds;
    begin(pixels, radius, start.ss - double(middle_ss), start.fs - double(middle_fs), out, &bounds);
    fit(pixels, bounds, out);
  }
}

}  // namespace peakrt
