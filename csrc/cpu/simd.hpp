// The inner loops that are compiled once per instruction set; dispatch.cpp chooses at run time.
#pragma once
#include <cstddef>
#include <cstdint>

#include "peakrt/dtype.hpp"
#include "peakrt/peakfinder8.hpp"
#include "peakrt/propose.hpp"
#include "peakrt/statistics.hpp"

namespace peakrt {

// Bits of an extremum map: maximum or minimum along the row, along the column; kSquareMax: no good pixel of
// the square around it is above it.
enum Extremum : std::uint8_t { kRowMax = 1, kColMax = 2, kRowMin = 4, kColMin = 8, kSquareMax = 16 };

struct SimdKernels {
  // Sigma-clipped threshold and offset of every bin, bins padded to whole groups. Where the plan is not
  // sampled, also lists the pixels above threshold (unsorted) and returns their number; else returns 0.
  std::size_t (*radial)(const RadialPlan& plan, const Peakfinder8Options& options, Dtype dtype, const void* frame,
                        float* values, float* threshold, float* offset, std::int32_t* foreground);
  // Lists the pixels above threshold[bin] in raster order; floor[b] is the lowest threshold of the bins
  // b .. b + block_span. Returns their number.
  std::size_t (*above)(const Peakfinder8Plan& plan, Dtype dtype, const void* frame, const float* threshold,
                       const float* floor, std::int32_t* foreground);
  // Marks the extrema of one panel within +-rank, as psana's v3r3 defines them.
  void (*extrema)(Dtype dtype, const void* panel, const std::uint8_t* mask, int n_ss, int n_fs, int rank,
                  std::uint8_t* bits);
  // The sampled pixels of every bin, as plan.order lists them; NaN where it has none.
  void (*collect)(const RadialPlan& plan, Dtype dtype, const void* frame, float* values);
  // Count, sum and sum of squares of each bin's values in [low, high].
  void (*clip_sums)(const RadialPlan& plan, const float* values, const float* low, const float* high, float* count,
                    float* sum, float* squares);
  // Sums of pixels in the plan's windows: window_sums() of statistics.hpp. Of 3 x 3 pixels, (kSums, noise_stride), then
  // of 5 x 5; NaN where there is no window.
  void (*windows)(const ProposePlan& plan, Dtype dtype, const void* frame, ProposeWorkspace& workspace);
  // Adds to total, window by window, the sums over the values of a kind that are within 4 sigma.
  void (*noise_sums)(const float* values, int n_windows, int stride, float sigma, NoiseSums* total);
  // Background and noise of every bin and its neighbours from the sums of clip_sums: pool_bin() of statistics.hpp.
  void (*pool_bins)(const ProposePlan& plan, float gain, ProposeWorkspace& workspace);
  // Appends the local maxima of one ASIC that pass the Gaussian thresholds to workspace.candidates.
  void (*sweep)(const ProposePlan& plan, int asic, Dtype dtype, const void* frame, ProposeWorkspace& workspace);
};

// Rows that a sweep holds at a time, each with a margin on both sides.
constexpr int kSweepRows = 56, kSweepMargin = 32, kSweepFlags = 16;
// Numbers behind the last bin's in the tables of mean and 1 / sigma, so that vectors of them can be loaded from any bin
// on.
constexpr int kBehindBins = 32;
// Places for windows: whole vectors of them.
inline int noise_stride(const ProposePlan& plan) { return int(plan.windows.size() + 15) / 16 * 16; }
inline std::size_t sweep_floats(int widest) { return std::size_t(kSweepRows) * (widest + 2 * kSweepMargin); }

namespace plain {
extern const SimdKernels kernels;
}
namespace avx2 {
extern const SimdKernels kernels;
}
namespace avx512 {
extern const SimdKernels kernels;
}

const SimdKernels& simd();

}  // namespace peakrt
