// Fits of a two-dimensional pseudo-Voigt profile on a plane to the pixels around peaks.
#pragma once
#include <cstdint>

#include "peakrt/peak.hpp"

namespace peakrt {

// A [eta L + (1 - eta) G] + a y + b x + c, with G = exp(-(y - c_y)^2 / 2 sigma_y^2 - (x - c_x)^2 / 2 sigma_x^2) and
// L = 1 / (1 + (y - c_y)^2 / gamma_y^2 + (x - c_x)^2 / gamma_x^2); y along ss and x along fs, pixels from the middle of
// the window: equation 1 and the two that follow it in Wang et al. (2025), PeakNet.
constexpr int kProfileParameters = 11;  // A, eta, c_y, c_x, sigma_y, sigma_x, gamma_y, gamma_x, a, b, c

struct ProfileStart {
  std::int32_t panel;
  float ss, fs;
};

enum ProfileEnd : std::int32_t { kFitted = 0, kFewPixels = 1, kNotConverged = 2 };

struct ProfileFit {
  double value[kProfileParameters];
  double error[kProfileParameters];  // 1 sigma, from the curvature; infinite for what stands at a bound
  double chi2;                       // of (model - counts)^2 / (counts + 1), over the degrees of freedom
  double deviance;                   // Poisson deviance over the degrees of freedom
  double middle_ss, middle_fs;       // of the window: c_y and c_x count from there
  std::int32_t pixels, iterations, end, panel;
};

// Fits each start by itself: Levenberg and Marquardt with an analytic Jacobian, parameters kept within bounds,
// residuals weighted by 1 / sqrt(counts + 1). radius: the window has 2 radius + 1 pixels on a side. photons: (panel,
// ss, fs), not finite where nothing is known. regions: 0 = bad, else a number for each ASIC, beyond whose edge no
// window reaches. A pixel belongs to the start that is nearest, so that no light is fitted twice.
void fit_profiles(Shape shape, const float* photons, const std::uint16_t* regions, const ProfileStart* starts,
                  std::int64_t n, int radius, ProfileFit* fits);

}  // namespace peakrt
