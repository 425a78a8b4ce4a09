// Candidates: every place of a frame, in units of sigma, that might be a peak.
//
// Background and noise come from the pixels at the same radius (or, without a geometry, of the same tile), clipped;
// what is left of a slowly varying background goes with the local mean of z = (I - mean) / sigma. A candidate is a
// local maximum of S3 + z / 2 + S5 / 2, where Sn is the sum of z over n x n pixels in units of its own sigma, that is
// significant in one of the three, by Gaussian and by Poisson statistics.
#pragma once
#include <cstdint>
#include <vector>

#include "peakrt/peakfinder8.hpp"

namespace peakrt {

// Fixed, not options: the judge was trained behind them.
constexpr int kSamplesPerBin = 128;                 // pixels a radius that the statistics look at
constexpr int kTile = 8;                            // pixels; the local mean is over 3 x 3 tiles
constexpr int kWindow = 16, kWindows = 512;         // where the noise of sums is measured
constexpr float kS3 = 3.5f, kZ = 4.5f, kS5 = 4.0f;  // significances, one of which a candidate must reach
constexpr float kLeastSnr = 1.5f;                   // of photons over their own noise
constexpr float kSigmaFloor = 0.1f;                 // photons: a darker bin is not trusted to be that quiet
constexpr int kMostCandidates = 8192;               // the most significant are kept

struct Candidate {
  std::int32_t asic, panel, ss, fs;  // ss, fs of the panel
  float z, s3, s5, local;            // local: mean of z around, which the others are above
};

// What depends on geometry and mask alone.
struct ProposePlan {
  RadialPlan bins;
  bool radial;                           // bins are radii; else tiles
  std::vector<std::int32_t> bin_pixels;  // good pixels of each bin
  std::vector<float> tile_weight;        // one over the good pixels of the 3 x 3 tiles around each tile, ASIC by ASIC
  std::vector<std::int64_t> tile_first;  // where an ASIC's tiles start
  struct Window {
    std::int32_t asic, ss, fs;  // first pixel, within the ASIC
  };
  std::vector<Window> windows;
  std::int64_t good_pixels;

  // bin: of each pixel, its radius in pixels or the number of its tile
  ProposePlan(Shape shape, const std::uint8_t* mask, const float* bin, std::vector<Asic> asics, bool radial);
};

// What one thread writes while it works on a frame.
struct ProposeWorkspace {
  std::vector<float> values, low, high, count, sum, squares;
  std::vector<float> mean, inverse, photons;  // of each bin: background, 1 / sigma, (sigma in photons)^2
  std::vector<float> rows;                    // rings of rows of the sweep
  std::vector<std::uint8_t> flags;
  std::vector<Candidate> candidates;
  float noise3, noise5;  // sigma of S3 and S5: above 1 where the noise of neighbours is correlated
  std::int64_t dropped;  // candidates beyond kMostCandidates

  explicit ProposeWorkspace(const ProposePlan& plan);
};

// Fills workspace.candidates, ASIC by ASIC in raster order. gain: ADU a photon.
void propose(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, ProposeWorkspace& workspace);

}  // namespace peakrt
