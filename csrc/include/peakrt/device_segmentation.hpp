// The segmentation finder for a batch of frames, as the body of one thread of each kernel: the input of its model,
// connected components of the pixels it takes for peaks, and its convolutions for where there is no TensorRT. The
// statistics before and the measurement after are those of device_proposer.hpp.
#pragma once
#include "peakrt/device_proposer.hpp"
#include "peakrt/segmentation_input.hpp"

namespace peakrt {

constexpr int kSegmentationClasses = 3, kPeakClass = 1;
constexpr int kConvChannels = 16;  // of a layer's output, at most

// IEEE half of a float, rounded to the nearest even; enough for numbers whose exponents a half has.
PEAKRT_HD inline std::uint16_t to_half(float value) {
  union {
    float f;
    std::uint32_t u;
  } bits = {value};
  const std::uint32_t sign = bits.u >> 16 & 0x8000u;
  bits.u &= 0x7fffffffu;
  if (bits.f >= 65520.f) return std::uint16_t(sign | 0x7c00u);
  if (bits.f < 6.103515625e-05f) {  // a subnormal: multiples of 2^-24
    bits.f = bits.f + 0.5f;         // whose last place they are
    return std::uint16_t(sign | (bits.u - 0x3f000000u));
  }
  const std::uint32_t odd = bits.u >> 13 & 1;
  return std::uint16_t(sign | ((bits.u + 0xfff + odd - 0x38000000u) >> 13));
}

// 1. What the network is told of a pixel: thread (frame, pixel of the panels made even).
template <class T>
PEAKRT_HD void segmentation_input_body(const ProposerBatch& batch, const T* frames, int frame, std::int64_t i) {
  const std::int64_t one = std::int64_t(batch.even_ss) * batch.even_fs;
  const int panel = int(i / one), ss = int(i % one / batch.even_fs), fs = int(i % batch.even_fs);
  float told[kSegmentationChannels] = {0, 0, 0};
  if (ss < batch.shape.ss && fs < batch.shape.fs)
    segmentation_input(frames + frame * batch.shape.pixels(), batch.bin, batch.mean + batch.bins(frame),
                       batch.inverse + batch.bins(frame), batch.photons + batch.bins(frame),
                       (std::int64_t(panel) * batch.shape.ss + ss) * batch.shape.fs + fs, told, told + 1, told + 2);
  const std::int64_t at = (std::int64_t(frame) * batch.shape.panel + panel) * kSegmentationChannels * one + i % one;
  for (int c = 0; c < kSegmentationChannels; ++c)
    if (batch.half_inputs)
      static_cast<std::uint16_t*>(batch.segmentation_inputs)[at + c * one] = to_half(told[c]);
    else
      static_cast<float*>(batch.segmentation_inputs)[at + c * one] = told[c];
}

PEAKRT_HD inline float peak_probability(const ProposerBatch& batch, int frame, std::int64_t pixel) {
  const int fs = int(pixel % batch.shape.fs), row = int(pixel / batch.shape.fs);
  const int panel = row / batch.shape.ss, ss = row % batch.shape.ss;
  const std::int64_t image = (std::int64_t(frame) * batch.shape.panel + panel) * kSegmentationClasses + kPeakClass;
  return batch.probabilities[(image * batch.even_ss + ss) * batch.even_fs + fs];
}

PEAKRT_HD inline int listed_pixels(const ProposerBatch& batch, int frame) {
  const int n = batch.n_foreground[frame];
  return n < batch.foreground_capacity ? n : batch.foreground_capacity;
}

// 0. No foreground yet: thread (frame).
PEAKRT_HD inline void segmentation_clear_body(const ProposerBatch& batch, int frame) { batch.n_foreground[frame] = 0; }

// 2. Lists the good pixels that are likely a peak's: thread (frame, pixel).
PEAKRT_HD inline void segmentation_list_body(const ProposerBatch& batch, int frame, std::int64_t pixel) {
  if (!(peak_probability(batch, frame, pixel) >= batch.min_score.usual)) return;
  if (batch.bin[pixel] >= batch.n_bins || batch.asic_of[pixel] >= batch.n_asics) return;
  const int k = next(batch.n_foreground + frame);
  if (k < batch.foreground_capacity) batch.foreground[frame * std::int64_t(batch.foreground_capacity) + k] = int(pixel);
}

// 3. Sorts them by rank, each its own component: thread (frame, listed pixel).
PEAKRT_HD inline void segmentation_sort_body(const ProposerBatch& batch, int frame, int k) {
  const std::int64_t first = frame * std::int64_t(batch.foreground_capacity);
  const std::int32_t* pixels = batch.foreground + first;
  int before = 0;
  for (int j = 0; j < listed_pixels(batch, frame); ++j) before += pixels[j] < pixels[k];
  batch.sorted_pixels[first + before] = pixels[k];
  batch.parent[first + k] = k;
}

PEAKRT_HD inline int find_root(const std::int32_t* parent, int k) {
  while (parent[k] != k) k = parent[k];
  return k;
}

PEAKRT_HD inline int lower(std::int32_t* at, std::int32_t value) {
#if defined(__CUDA_ARCH__)
  return atomicMin(at, value);
#else
  const std::int32_t old = *at;
  *at = value < old ? value : old;
  return old;
#endif
}

// The smaller root wins, so that a component is named by its first pixel; lock-free as in Komura, Comput. Phys. Commun.
// 194 (2015) 54 and Playne & Hawick, IEEE TPDS 29 (2018) 1217.
PEAKRT_HD inline void unite(std::int32_t* parent, int a, int b) {
  while (true) {
    a = find_root(parent, a);
    b = find_root(parent, b);
    if (a == b) return;
    const int high = a > b ? a : b, low = a > b ? b : a;
    const int old = lower(parent + high, low);
    if (old == high) return;
    a = old;
    b = low;
  }
}

// 4. Joins a pixel with its neighbours in the row above and to the left: thread (frame, sorted pixel).
PEAKRT_HD inline void segmentation_join_body(const ProposerBatch& batch, int frame, int k) {
  const std::int64_t first = frame * std::int64_t(batch.foreground_capacity);
  const std::int32_t* pixels = batch.sorted_pixels + first;
  const std::int32_t pixel = pixels[k];
  const int asic = batch.asic_of[pixel], fs = pixel % batch.shape.fs, ss = pixel / batch.shape.fs % batch.shape.ss;
  const Asic area = batch.asics[asic];
  for (int n = 0; n < 4; ++n) {  // left; above: left, straight, right
    const int d_ss = n > 0 ? -1 : 0, d_fs = n == 0 ? -1 : n - 2;
    if (ss + d_ss < area.min_ss || fs + d_fs < area.min_fs || fs + d_fs >= area.end_fs) continue;
    const std::int32_t wanted = pixel + d_ss * batch.shape.fs + d_fs;
    int low = 0, high = k;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (pixels[middle] < wanted)
        low = middle + 1;
      else
        high = middle;
    }
    if (low < k && pixels[low] == wanted) unite(batch.parent + first, low, k);
  }
}

// 5. A component's brightest pixel, of equals the first, becomes a candidate with the component's best score: thread
// (frame, sorted pixel), which acts for the component's first.
template <class T>
PEAKRT_HD void segmentation_top_body(const ProposerBatch& batch, const T* frames, int frame, int k) {
  const std::int64_t first = frame * std::int64_t(batch.foreground_capacity);
  const std::int32_t *pixels = batch.sorted_pixels + first, *parent = batch.parent + first;
  if (parent[k] != k) return;
  float brightest = -INFINITY, best = 0;
  std::int32_t top = pixels[k];
  for (int j = k; j < listed_pixels(batch, frame); ++j) {
    if (find_root(parent, j) != k) continue;
    float height, level, good;
    segmentation_input(frames + frame * batch.shape.pixels(), batch.bin, batch.mean + batch.bins(frame),
                       batch.inverse + batch.bins(frame), batch.photons + batch.bins(frame), pixels[j], &height, &level,
                       &good);
    if (height > brightest) {
      brightest = height;
      top = pixels[j];
    }
    best = most(best, peak_probability(batch, frame, pixels[j]));
  }
  const int out = next(batch.n_candidates + frame);
  if (out >= batch.capacity) return;
  const int row = top / batch.shape.fs;
  batch.candidates[batch.row(frame, out)] = {
      batch.asic_of[top], row / batch.shape.ss, row % batch.shape.ss, top % batch.shape.fs, 0, 0, 0, 0};
  batch.scores[batch.row(frame, out)] = best;
}

// One convolution.
struct ConvLayer {
#define FIELD(TYPE, NAME) TYPE NAME;
#include "peakrt/conv_layer.def"
#undef FIELD
};

// Thread (image, pixel of the layer's output).
PEAKRT_HD inline void conv_body(const ConvLayer& layer, int image, int pixel) {
  const int ss = pixel / layer.out_fs, fs = pixel % layer.out_fs;
  float sums[kConvChannels];
  for (int o = 0; o < kConvChannels; ++o) sums[o] = o < layer.out_channels ? layer.bias[o] : 0;
  const std::int64_t area = std::int64_t(layer.in_ss) * layer.in_fs;
  for (int c = 0; c < layer.in_channels; ++c)
    for (int i = 0; i < layer.kernel; ++i)
      for (int j = 0; j < layer.kernel; ++j) {
        const int y = ss * layer.stride + i * layer.dilation - layer.pad;
        const int x = fs * layer.stride + j * layer.dilation - layer.pad;
        if (y < 0 || x < 0 || y >= layer.in_ss || x >= layer.in_fs) continue;
        const float value = layer.in[(std::int64_t(image) * layer.in_channels + c) * area + y * layer.in_fs + x];
        const float* w = layer.weight + ((c * layer.kernel + i) * layer.kernel + j) * layer.out_channels;
        PEAKRT_UNROLL
        for (int o = 0; o < kConvChannels; ++o)
          if (o < layer.out_channels) sums[o] += w[o] * value;
      }
  if (!layer.last) {
    const std::int64_t one = std::int64_t(layer.out_ss) * layer.out_fs;
    for (int o = 0; o < layer.out_channels; ++o)
      layer.out[(std::int64_t(image) * layer.out_channels + o) * one + pixel] = most(sums[o], 0.f);
    return;
  }
  const std::int64_t one = 4 * std::int64_t(layer.out_ss) * layer.out_fs;
  for (int q = 0; q < 4; ++q) {
    float high = sums[q], sum = 0, share[kSegmentationClasses];
    for (int c = 1; c < kSegmentationClasses; ++c) high = most(high, sums[4 * c + q]);
    for (int c = 0; c < kSegmentationClasses; ++c) sum += share[c] = expf(sums[4 * c + q] - high);
    const std::int64_t at = (2 * ss + q / 2) * 2 * std::int64_t(layer.out_fs) + 2 * fs + q % 2;
    for (int c = 0; c < kSegmentationClasses; ++c)
      layer.out[(std::int64_t(image) * kSegmentationClasses + c) * one + at] = share[c] / sum;
  }
}

}  // namespace peakrt
