// peakfinder8: radial statistics, threshold, 8-connected groups, local background in a ring.
// Barty et al., J. Appl. Cryst. 47 (2014) 1118; results equal those of ondamonitor 23.8.
#pragma once
#include <cstdint>
#include <vector>

#include "peakrt/dtype.hpp"
#include "peakrt/group.hpp"
#include "peakrt/peak.hpp"
#include "peakrt/radial.hpp"
#include "peakrt/radial_plan.hpp"

namespace peakrt {

constexpr int kBlock = 16;  // pixels in a block of the threshold pass

// What depends on geometry and mask alone; made once, read by every thread.
struct Peakfinder8Plan : RadialPlan {
  std::vector<std::uint16_t> block_bin, block_good;  // lowest bin and good bits of a block
  int block_span = 0;                                // most bins that one block spans

  // mask: 1 = good, 0 = bad; radius: pixels, >= 0. samples_per_bin 0: every pixel counts.
  Peakfinder8Plan(Shape shape, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics,
                  int samples_per_bin);
  // The plan of another mask: equal to one made from nothing. good: its bits, see good_bits().
  Peakfinder8Plan(const Peakfinder8Plan& other, const std::uint64_t* good);

 private:
  void summarise_blocks();
};

// What one thread writes while it works on a frame.
struct Peakfinder8Workspace {
  std::vector<float> threshold, offset, floor, values;
  std::vector<std::int32_t> foreground;
  std::vector<std::uint64_t> visited;
  std::vector<std::int32_t> queue_ss, queue_fs, pixels;
  std::vector<Peak> peaks;
  // Whether to look past the end of the queue as the original does (AsicSearch::grow).
  bool original = true;

  explicit Peakfinder8Workspace(const Peakfinder8Plan& plan, const Peakfinder8Options& options);
};

// Fills workspace.peaks, ASIC by ASIC, each in raster order of the first pixel found.
void peakfinder8(const Peakfinder8Plan& plan, const Peakfinder8Options& options, Dtype dtype, const void* frame,
                 Peakfinder8Workspace& workspace);

// Which instruction set the run-time dispatch chose: "avx512", "avx2" or "plain".
const char* instruction_set();
// Forces one of them (for tests and benchmarks); throws std::invalid_argument if this CPU lacks it.
void set_instruction_set(const char* name);

}  // namespace peakrt
