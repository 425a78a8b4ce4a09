// Which bin each pixel lies in, and which pixels the statistics of a bin look at: what depends on geometry and mask.
//
// A plan is made in one of two ways, with the same result: from nothing, in one pass over the pixels; or for another
// mask of the same geometry, from pixels that are sorted once, which takes a fraction of the time. The lists of a plan
// that is gone are kept and changed for the next one, so that a mask for every event needs no new memory for every
// event.
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

  bool operator==(const BinGroup& other) const {
    return first == other.first && full == other.full && deep == other.deep;
  }
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

// Of a pixel: its bin, and how many pixels of the bin come before it.
struct Place {
  std::uint16_t bin, rank;
};

// What a plan lists for one mask.
struct RadialLists {
  std::vector<std::uint16_t> bin;        // of each pixel; n_bins where the mask is bad
  std::vector<std::int32_t> bin_pixels;  // good pixels of each bin; last, the bad pixels of the frame
  std::vector<std::int32_t> order;       // pixel of each (group, row, lane); -1 is padding
  std::vector<BinGroup> groups;
  // Where the lists were made from the order of the pixels, to be changed for another mask; else empty.
  std::vector<std::uint64_t> bad;        // one bit a pixel
  std::vector<std::uint16_t> bad_ranks;  // of the bad pixels, among all pixels of the bin, ascending, bin by bin
  std::vector<std::int32_t> bad_first;   // where a bin's start in bad_ranks, and the end
};

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
  // Keeps the lists of a plan that is gone, and gives them to the next one; of several the last.
  void keep(RadialLists&& lists) const;
  RadialLists take() const;

  static constexpr int kStep = 8;

  const std::int64_t pixels;
  int n_bins;
  std::vector<std::uint16_t> bin;
  std::vector<std::uint16_t> lowest;  // bin of every kStep pixels: neighbours' bins are near each other

 private:
  mutable std::once_flag sorted_;
  mutable Order order_;
  mutable std::mutex spare_lock_;
  mutable RadialLists spare_;
};

struct RadialPlan : RadialLists {
  Shape shape;
  std::vector<Asic> asics;
  int n_bins;
  int samples_per_bin;  // good pixels of a bin, at most, that order lists; 0: all
  std::shared_ptr<const RadialBins> shared;

  // mask: 1 = good, 0 = bad; radius: pixels, >= 0.
  RadialPlan(Shape shape, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics, int samples_per_bin);
  // The plan of another mask: equal to one made from nothing. good: its bits, see good_bits().
  RadialPlan(const RadialPlan& other, const std::uint64_t* good);
  RadialPlan(const RadialPlan&) = delete;
  RadialPlan& operator=(const RadialPlan&) = delete;
  ~RadialPlan();

 private:
  void list_in_one_pass(const std::uint8_t* mask);
  void list_from_order(const std::uint64_t* good);
  // Takes over a mask in bad and bin; returns the places of the pixels that became good or bad, in raster order.
  // afresh: all were good before
  std::vector<Place> change_mask(const std::uint64_t* good, bool afresh);
  // Takes such pixels into bad_ranks or out of them, and marks their bins.
  void flip_ranks(const std::vector<Place>& places, std::vector<std::uint8_t>* changed);
  void list_bin(int b, std::vector<std::int32_t>* passed);  // passed: memory to work in
  void pad(int b, int from);
  std::vector<BinGroup> layout() const;
  std::int64_t size_of_order() const;
  std::int64_t column(int b) const;  // where in order the first pixel of a bin goes; the next ones follow kLanes apart
};

}  // namespace peakrt
