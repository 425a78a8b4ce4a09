// Which bin each pixel lies in, and which pixels the statistics of a bin look at: what depends on geometry and mask.
//
// Where the statistics look at some pixels of a bin only, these belong to the geometry: evenly spaced among all pixels
// of the bin. A mask takes the bad ones out of the list, and only a bin that loses many of them is listed anew, from
// its good pixels. So a plan for another mask is a copy with few changes, and the same as one made from nothing. The
// lists of a plan that is gone are kept and changed for the next one, so that a mask for every event needs no new
// memory for every event.
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
  std::int32_t full, deep;  // first rows, in which every lane has a pixel; rows in all
};

constexpr int kLanes = 32;  // bins in a group

// A mask as bits, 1 = good: pixel i is bit i % 64 of word i / 64. There is a word more than the pixels need, or part of
// one, so that 64 bits can be read from any pixel on.
inline std::int64_t bit_words(std::int64_t pixels) { return pixels / 64 + 2; }
// Set bits of each byte of a word.
inline std::uint64_t count_in_bytes(std::uint64_t bits) {
  bits -= bits >> 1 & 0x5555555555555555;
  bits = (bits & 0x3333333333333333) + (bits >> 2 & 0x3333333333333333);
  return (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0f;
}
inline int count_bits(std::uint64_t bits) { return int(count_in_bytes(bits) * 0x0101010101010101 >> 56); }
// mask: 1 = good, 0 = bad
std::vector<std::uint64_t> good_bits(const std::uint8_t* mask, std::int64_t pixels);

// What a plan lists for one mask.
struct RadialLists {
  std::vector<std::uint16_t> bin;        // of each pixel; n_bins where the mask is bad
  std::vector<std::int32_t> bin_pixels;  // good pixels of each bin; last, the bad pixels of the frame
  std::vector<std::int32_t> order;       // pixel of each (group, row, lane); -1 is padding, or a bad pixel
  std::vector<BinGroup> groups;
  std::vector<std::uint64_t> bad;  // one bit a pixel
};

// The bin of each pixel, good or bad, and what is listed of a bin. The plans of all masks share it.
class RadialBins {
 public:
  // All pixels, good or bad, sorted by bin; within a bin they are in raster order.
  struct Sorted {
    std::vector<std::int64_t> start;        // of each bin, and the end
    std::unique_ptr<std::int32_t[]> pixel;  // at each position
  };

  // radius: of each pixel, in pixels, >= 0; samples_per_bin: pixels of a bin, at most, that are listed; 0: all that are
  // good
  RadialBins(Shape shape, const float* radius, int samples_per_bin);
  // Pixels are sorted when it is first asked for: that takes 4 bytes a pixel, which many masks never need.
  const Sorted& sorted() const;
  // Keeps the lists of a plan that is gone, and gives them to the next one; of several the last.
  void keep(RadialLists&& lists) const;
  RadialLists take() const;

  static constexpr int kStep = 8;

  const std::int64_t pixels;
  int n_bins;
  std::vector<std::uint16_t> bin;
  std::vector<std::uint16_t> lowest;     // bin of every kStep pixels: neighbours' bins are near each other
  std::vector<std::int32_t> bin_pixels;  // of each bin, and 0
  // What is listed where all pixels are good; empty where all of them are.
  std::vector<std::int32_t> order;
  std::vector<BinGroup> groups;
  // Where in order a pixel stands: place[before[i / 64] + how many are listed of its word before it].
  std::vector<std::uint64_t> listed;  // one bit a pixel
  std::vector<std::int32_t> before, place;

 private:
  void find_places();

  mutable std::once_flag once_;
  mutable Sorted sorted_;
  mutable std::mutex spare_lock_;
  mutable RadialLists spare_;
};

struct RadialPlan : RadialLists {
  Shape shape;
  std::vector<Asic> asics;
  int n_bins;
  int samples_per_bin;  // pixels of a bin, at most, that order lists; 0: all good ones
  std::shared_ptr<const RadialBins> shared;

  // mask: 1 = good, 0 = bad; radius: pixels, >= 0.
  RadialPlan(Shape shape, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics, int samples_per_bin);
  // The plan of another mask: equal to one made from nothing. good: its bits, see good_bits().
  RadialPlan(const RadialPlan& other, const std::uint64_t* good);
  RadialPlan(const RadialPlan&) = delete;
  RadialPlan& operator=(const RadialPlan&) = delete;
  ~RadialPlan();

 private:
  void take_mask(const std::uint64_t* good);
  void list_all_good();
  void list_samples();
  void list_anew(int b, std::vector<std::int32_t>* pixels);  // pixels: memory to work in
};

}  // namespace peakrt
