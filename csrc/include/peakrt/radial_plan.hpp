// Which bin each pixel lies in, and which pixels the statistics of a bin look at: what depends on geometry and mask.
//
// A plan is made in one of two ways, with the same result: from nothing, in one pass over the pixels; or for another
// mask of the same geometry, from lists that are sorted once, which takes a fraction of the time.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "peakrt/peak.hpp"

namespace peakrt {

// Neighbouring radial bins side by side, one in each of kLanes vector lanes.
struct BinGroup {
  std::int64_t first;       // where its pixel indices start in RadialPlan::order
  std::int32_t full, deep;  // rows in which every lane has a pixel; rows in all
};

constexpr int kLanes = 32;  // bins in a group

// The bin of each pixel, good or bad. The plans of all masks share it.
class RadialBins {
 public:
  // All pixels, good or bad, sorted by bin; within a bin they are in raster order.
  struct Order {
    std::vector<std::int64_t> start;        // of each bin, and the end
    std::unique_ptr<std::int32_t[]> pixel;  // at each position
    std::unique_ptr<std::uint16_t[]> rank;  // of each pixel among those of its bin
    bool usable;  // no bin has so many pixels (one of 10,000 pixels radius has) that rank overflows
  };

  // radius: of each pixel, in pixels, >= 0
  RadialBins(Shape shape, const float* radius);
  // The order is made when it is first asked for: it takes 6 bytes a pixel, which a run with one mask never needs.
  const Order& order() const;

  const std::int64_t pixels;
  int n_bins;
  std::vector<std::uint16_t> bin;

 private:
  mutable std::once_flag sorted_;
  mutable Order order_;
};

struct RadialPlan {
  Shape shape;
  std::vector<Asic> asics;
  int n_bins;
  int samples_per_bin;                   // good pixels of a bin, at most, that order lists; 0: all
  std::vector<std::uint16_t> bin;        // of each pixel; n_bins where the mask is bad
  std::vector<std::int32_t> bin_pixels;  // good pixels of each bin; last, the bad pixels of the frame
  std::vector<std::int32_t> order;       // pixel of each (group, row, lane); -1 is padding
  std::vector<BinGroup> groups;
  std::shared_ptr<const RadialBins> shared;

  // mask: 1 = good, 0 = bad; radius: pixels, >= 0.
  RadialPlan(Shape shape, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics, int samples_per_bin);
  // The plan of another mask: equal to one made from nothing.
  RadialPlan(const RadialPlan& other, const std::uint8_t* mask);

 private:
  void list_in_one_pass(const std::uint8_t* mask);
  void list_from_order(const std::vector<std::uint64_t>& bad);
  void lay_out_groups();
  std::int64_t column(int b) const;  // where in order the first pixel of a bin goes; the next ones follow kLanes apart
};

}  // namespace peakrt
