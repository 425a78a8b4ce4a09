// psana's peak finder v4r3 (algorithm 1, "droplet"): two thresholds, ring background, 4-connected groups. Written from
// what psana 4.3.4's compiled finder gives for frames made to tell: the maxima are those of the pixels at or above
// thr_high, taken in raster order, that no such pixel of the square within +-rank exceeds, those left out that have
// been exceeded themselves; of equals the last. The ring leaves out what is at or above thr_high.
#pragma once
#include "peakrt/v3r3.hpp"

namespace peakrt {

struct V4r3Options {
  int rank;
  float r0, dr;
  double thr_low, thr_high;
  PsanaSelection selection;
};

// Appends the peaks of every panel in raster order of their maxima. mask: 1 = good.
// Throws std::invalid_argument if rank or the ring make no sense.
void v4r3(Shape shape, Dtype dtype, const void* frame, const std::uint8_t* mask, const V4r3Options& options,
          std::vector<Peak>* peaks);

}  // namespace peakrt
