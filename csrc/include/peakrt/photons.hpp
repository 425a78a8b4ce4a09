// The costly loops of the simulator: drawing peaks, counting photons, reading out.
#pragma once
#include <cstdint>

#include "peakrt/peak.hpp"

namespace peakrt {

// A Gaussian peak in one panel: photons in all, centroid, standard deviations along and across a direction.
struct Spot {
  std::int32_t panel;
  float ss, fs, photons;
  float sigma_along, sigma_across, cos_fs, sin_ss;  // the direction of "along" in (fs, ss)
};

// Adds the spots to expected (photons a pixel), integrated over pixels by 3 x 3 points, cut at 4 sigma.
void draw_spots(Shape shape, const Spot* spots, std::int64_t n, float* expected);

// Replaces each expectation by a Poisson count. The same seed gives the same counts on every machine.
void count_photons(float* photons, std::int64_t n, std::uint64_t seed);

// frame = offset + gain * photons * (1 + spread) + read noise, clipped to [low, high] and, if whole, rounded.
struct Readout {
  float offset, gain, gain_spread, read_noise, low, high;  // ADU; gain in ADU a photon
  int whole;
};
// pixel_seed fixes the gain of each pixel, seed the noise of this event.
void read_out(const float* photons, std::int64_t n, const Readout& readout, std::uint64_t pixel_seed,
              std::uint64_t seed, float* frame);

}  // namespace peakrt
