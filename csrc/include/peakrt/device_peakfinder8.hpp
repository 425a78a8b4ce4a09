// peakfinder8 for a batch of frames, as the body of one thread of each kernel. nvcc makes kernels of these bodies
// (csrc/cuda/peakfinder8.cu), the host compiler loops over them (csrc/cpu/device_twin.cpp) so that tests run them
// without a GPU. No shared memory, no shuffles: a body sees nothing but its own number.
#pragma once
#include <cstdint>

#include "peakrt/device.hpp"
#include "peakrt/group.hpp"
#include "peakrt/radial.hpp"

namespace peakrt {

constexpr int kDeviceBlock = 16;   // pixels that one thread of the threshold pass looks at: kBlock
constexpr int kAhead = 64;         // rows that a thread has on their way from memory
constexpr int kDeviceGroup = 128;  // most pixels of a group: its thread holds them in local memory

// The plan (peakfinder8.hpp) in device memory, and the batch's arrays; frame f's part starts at f times its length.
struct DeviceBatch {
#define FIELD(TYPE, NAME) TYPE NAME;
#include "peakrt/peakfinder8_batch.def"
#undef FIELD
};

// 0. An empty batch: thread (frame).
PEAKRT_HD inline void clear_body(const DeviceBatch& batch, int frame) {
  batch.n_foreground[frame] = 0;
  if (frame == 0) *batch.n_peaks = 0;
}

// 1. Sorts a pixel to its bin: thread (frame, place in order). NaN where the order is padded.
template <class T>
PEAKRT_HD void gather_body(const DeviceBatch& batch, const T* frames, int frame, std::int64_t place) {
  const std::int32_t pixel = batch.order[place];
  const T* data = frames + std::int64_t(frame) * batch.shape.pixels();
  batch.values[std::int64_t(frame) * batch.n_order + place] = pixel < 0 ? NAN : static_cast<float>(data[pixel]);
}

struct ClipSums {
  float sum = 0, squares = 0;
  int count = 0;

  PEAKRT_HD void add(float v, const RadialBin& bin) {
    const bool keep = (v < bin.high) & (v > bin.low);
    const float kept = keep ? v : 0.f;
    sum += kept;
    squares += kept * kept;
    count += keep;
  }
};

// 2. Sigma-clipped statistics of one bin: thread (frame, group, lane). Sums run in raster order, as on the CPU, one
// after the other; what runs side by side is bins and frames, and the loads of many rows.
PEAKRT_HD inline void radial_body(const DeviceBatch& batch, int frame, int group, int lane) {
  const float* values = batch.values + std::int64_t(frame) * batch.n_order + batch.group_first[group] + lane;
  const int rows = batch.group_deep[group];
  RadialBin bin = {0.f, -1e9f, 1e9f};
  for (int pass = 0; pass < kClipPasses; ++pass) {
    ClipSums sums;
    float ahead[kAhead];
    int row = 0;
    for (; row + kAhead <= rows; row += kAhead) {
      PEAKRT_UNROLL
      for (int k = 0; k < kAhead; ++k) ahead[k] = values[(row + k) * kDeviceLanes];
      PEAKRT_UNROLL
      for (int k = 0; k < kAhead; ++k) sums.add(ahead[k], bin);
    }
    for (; row < rows; ++row) sums.add(values[row * kDeviceLanes], bin);
    bin = clip(sums.sum, sums.squares, sums.count, batch.options.min_snr, batch.options.adc_threshold);
  }
  const int at = frame * (batch.n_bins_padded + 1) + group * kDeviceLanes + lane;
  batch.threshold[at] = bin.high;
  batch.offset[at] = bin.offset;
}

// 3. The lowest threshold of the bins that a block may span: thread (frame, bin). Bin n_bins is nowhere exceeded.
PEAKRT_HD inline void floor_body(const DeviceBatch& batch, int frame, int bin) {
  float* threshold = batch.threshold + frame * (batch.n_bins_padded + 1);
  float low = INFINITY;
  for (int b = bin; b <= bin + batch.block_span && b < batch.n_bins; ++b) low = threshold[b] < low ? threshold[b] : low;
  batch.floor[frame * (batch.n_bins_padded + 1) + bin] = low;
  if (bin == batch.n_bins) threshold[bin] = INFINITY;
}

// 4. Lists the pixels above threshold: thread (frame, block of 16 pixels). bits: which of the sixteen exceed the
// block's floor; the caller finds them, with the widest loads it has.
template <class T>
PEAKRT_HD void above_body(const DeviceBatch& batch, const T* data, int frame, int block, unsigned bits) {
  const float* threshold = batch.threshold + frame * (batch.n_bins_padded + 1);
  for (int i = 0; i < kDeviceBlock; ++i) {
    if (!(bits >> i & 1)) continue;
    const std::int32_t pixel = block * kDeviceBlock + i;
    const float v = static_cast<float>(data[pixel]);
    if (!(v > threshold[batch.bin[pixel]] && v <= FLT_MAX)) continue;
    const int k = next(batch.n_foreground + frame);
    if (k < batch.foreground_capacity) batch.foreground[std::int64_t(frame) * batch.foreground_capacity + k] = pixel;
  }
}

// 5. Grows the group of one listed pixel and measures it, if the pixel is where the CPU's search would begin: the
// first of the group, in raster order, that is not on the rim of its ASIC. Thread (frame, listed pixel).
template <class T>
PEAKRT_HD void group_body(const DeviceBatch& batch, const T* frames, int frame, int k) {
  const int listed = batch.n_foreground[frame];
  if (k >= listed || k >= batch.foreground_capacity) return;
  const std::int32_t seed = batch.foreground[std::int64_t(frame) * batch.foreground_capacity + k];
  const int asic = batch.asic_of[seed];
  if (asic == batch.n_asics) return;
  const int stride = frame * (batch.n_bins_padded + 1);
  const AsicView<T> view = {frames + std::int64_t(frame) * batch.shape.pixels(),
                            batch.bin,
                            batch.threshold + stride,
                            batch.offset + stride,
                            batch.shape,
                            batch.asics[asic],
                            batch.n_bins};
  const int seed_ss = seed / batch.shape.fs - view.first_ss(), seed_fs = seed % batch.shape.fs - view.first_fs();
  if (seed_ss < 1 || seed_fs < 1 || seed_ss >= view.n_ss() - 1 || seed_fs >= view.n_fs() - 1) return;
  std::int32_t pixels[kDeviceGroup];
  GroupSums sums;
  pixels[0] = seed;
  sums.add(view, seed_ss, seed_fs);
  int n = 1;
  for (int at = 0; at < n; ++at) {
    const int ss = pixels[at] / batch.shape.fs - view.first_ss(), fs = pixels[at] % batch.shape.fs - view.first_fs();
    for (int d_ss = -1; d_ss <= 1; ++d_ss)
      for (int d_fs = -1; d_fs <= 1; ++d_fs) {
        const int s = ss + d_ss, f = fs + d_fs;
        if (s < 0 || f < 0 || s >= view.n_ss() || f >= view.n_fs()) continue;
        const std::int32_t pixel = std::int32_t(view.index(s, f));
        if (!view.above(pixel)) continue;
        const bool rim = s < 1 || f < 1 || s >= view.n_ss() - 1 || f >= view.n_fs() - 1;
        if (pixel < seed && !rim) return;  // the search begins there
        bool known = false;
        for (int j = 0; j < n && !known; ++j) known = pixels[j] == pixel;
        if (known) continue;
        if (n == batch.options.max_pixels) return;  // too large for a peak
        pixels[n++] = pixel;
        sums.add(view, s, f);
      }
  }
  Peak peak;
  if (!measure_group(view, batch.options, sums, pixels, n, &peak)) return;
  const int out = next(batch.n_peaks);
  if (out >= batch.peak_capacity) return;
  batch.peaks[out] = peak;
  batch.peak_frame[out] = frame;
  batch.peak_place[out] = asic * batch.shape.pixels() + seed;
}

}  // namespace peakrt
