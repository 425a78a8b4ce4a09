// psana's peak finder v3r3 (algorithm 2): extrema maps, ring background, 4-connected groups.
#pragma once
#include <cstdint>
#include <vector>

#include "peakrt/dtype.hpp"
#include "peakrt/peak.hpp"

namespace peakrt {

// What a peak must have.
struct PsanaSelection {
  float npix_min, npix_max, amax_thr, atot_thr, son_min;
};

struct V3r3Options {
  int rank;
  float r0, dr, nsigm;
  PsanaSelection selection;
};

// Throws std::invalid_argument if rank or the ring make no sense.
void check_psana(int rank, float r0, float dr);

// Appends the peaks of every panel in raster order of their maxima. mask: 1 = good.
// Throws std::invalid_argument if rank or the ring make no sense.
void v3r3(Shape shape, Dtype dtype, const void* frame, const std::uint8_t* mask, const V3r3Options& options,
          std::vector<Peak>* peaks);

}  // namespace peakrt
