// Candidates: every place of a frame, in units of sigma, that might be a peak.
//
// Background and noise come from the pixels at the same radius (or, without a geometry, of the same tile), clipped;
// what is left of a slowly varying background goes with the local mean of z = (I - mean) / sigma. A candidate is a
// local maximum of S3 + z / 2 + S5 / 2, where Sn is the sum of z over n x n pixels in units of its own sigma, that is
// significant in one of the three, by Gaussian and by Poisson statistics.
#pragma once
#include <cstdint>
#include <vector>

#include "peakrt/candidate.hpp"
#include "peakrt/dtype.hpp"
#include "peakrt/radial_plan.hpp"

namespace peakrt {

// What depends on geometry and mask alone.
struct ProposePlan {
  RadialPlan bins;
  bool radial;                           // bins are radii; else tiles
  std::vector<float> tile_weight;        // one over the good pixels of the 3 x 3 tiles around each tile, ASIC by ASIC
  std::vector<std::int64_t> tile_first;  // where an ASIC's tiles start
  std::vector<Window> windows;

  float megapixels() const { return most(1.f, float(bins.shape.pixels() - bins.bin_pixels.back())) / 1e6f; }
  // bin: of each pixel, its radius in pixels or the number of its tile
  ProposePlan(Shape shape, const std::uint8_t* mask, const float* bin, std::vector<Asic> asics, bool radial);
  // The plan of another mask: equal to one made from nothing. good: its bits, see good_bits().
  ProposePlan(const ProposePlan& other, const std::uint64_t* good);

 private:
  void weigh_tiles_and_choose_windows(const std::uint64_t* good);
};

// What one thread writes while it works on a frame.
struct ProposeWorkspace {
  std::vector<float> values, low, high, count, sum, squares;
  std::vector<float> noise_values;            // of the windows
  std::vector<float> mean, inverse, photons;  // of each bin: background, 1 / sigma, (sigma in photons)^2
  std::vector<float> rows;                    // rings of rows of the sweep
  std::vector<std::uint8_t> flags;
  std::vector<Candidate> candidates;
  float noise3, noise5;  // sigma of S3 and S5: above 1 where the noise of neighbours is correlated
  std::int64_t dropped;  // candidates beyond kMostCandidates
  bool crowded;          // whether the frame was searched once more
  Clip clip;             // of the search at hand

  explicit ProposeWorkspace(const ProposePlan& plan);
};

// Fills workspace.candidates, ASIC by ASIC in raster order. gain: ADU a photon.
void propose(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, ProposeWorkspace& workspace);

// The clipped statistics alone: mean, inverse and photons of the bins.
void measure_bins(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, ProposeWorkspace& workspace);

// The input of the segmentation model for a frame whose bins are measured: (panel, kSegmentationChannels, ss, fs).
void segmentation_inputs(const ProposePlan& plan, Dtype dtype, const void* frame, const ProposeWorkspace& workspace,
                         float* out);

}  // namespace peakrt
