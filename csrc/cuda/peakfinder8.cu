// The kernels of device_peakfinder8.hpp. Grids are sized by capacity, so that a batch needs no word from the host.
#include "peakrt/device_peakfinder8.hpp"

using namespace peakrt;

namespace {

// Which of sixteen pixels exceed a level; 16-byte loads.
template <class T>
__device__ unsigned over_bits(const T* data, float level) {
  constexpr int kEach = 16 / sizeof(T) < 1 ? 1 : 16 / sizeof(T);
  unsigned bits = 0;
#pragma unroll
  for (int i = 0; i < kDeviceBlock; i += kEach) {
    const int4 raw = __ldcs(reinterpret_cast<const int4*>(data + i));
    const T* values = reinterpret_cast<const T*>(&raw);
#pragma unroll
    for (int j = 0; j < kEach; ++j) bits |= unsigned(static_cast<float>(values[j]) > level) << (i + j);
  }
  return bits;
}

template <class T>
__device__ void above(const DeviceBatch& batch, const T* frames) {
  const std::int64_t pixels = batch.shape.pixels();
  const int block = blockIdx.x * blockDim.x + threadIdx.x, frame = blockIdx.y;
  const T* data = frames + frame * pixels;
  if (std::int64_t(block) * kDeviceBlock >= pixels) return;
  const unsigned good = batch.block_good[block];
  if (!good) return;
  const float level = batch.floor[frame * (batch.n_bins_padded + 1) + batch.block_bin[block]];
  unsigned bits = 0;
  const bool whole = std::int64_t(block + 1) * kDeviceBlock <= pixels;
  if (whole && reinterpret_cast<std::uintptr_t>(data) % 16 == 0)
    bits = over_bits(data + std::int64_t(block) * kDeviceBlock, level);
  else
    for (int i = 0; i < kDeviceBlock && std::int64_t(block) * kDeviceBlock + i < pixels; ++i)
      bits |= unsigned(static_cast<float>(data[std::int64_t(block) * kDeviceBlock + i]) > level) << i;
  if (bits &= good) above_body(batch, data, frame, block, bits);
}

}  // namespace

extern "C" __global__ void peakfinder8_clear(DeviceBatch batch) {
  const int frame = blockIdx.x * blockDim.x + threadIdx.x;
  if (frame < batch.n_frames) clear_body(batch, frame);
}

extern "C" __global__ void peakfinder8_floors(DeviceBatch batch) {
  const int bin = blockIdx.x * blockDim.x + threadIdx.x;
  if (bin <= batch.n_bins) floor_body(batch, blockIdx.y, bin);
}

extern "C" __global__ void __launch_bounds__(64) peakfinder8_radial(DeviceBatch batch) {
  const int warp = (blockIdx.x * blockDim.x + threadIdx.x) / kDeviceLanes, lane = threadIdx.x % kDeviceLanes;
  const int frame = warp / batch.n_groups, group = warp % batch.n_groups;
  if (frame < batch.n_frames) radial_body(batch, frame, group, lane);
}

#define PEAKRT_KERNELS(NAME, T)                                                                                     \
  extern "C" __global__ void peakfinder8_gather_##NAME(DeviceBatch batch, const T* frames) {                        \
    const std::int64_t stride = std::int64_t(gridDim.x) * blockDim.x;                                               \
    for (std::int64_t place = blockIdx.x * blockDim.x + threadIdx.x; place < batch.n_order; place += stride)        \
      gather_body(batch, frames, blockIdx.y, place);                                                                \
  }                                                                                                                 \
  extern "C" __global__ void peakfinder8_above_##NAME(DeviceBatch batch, const T* frames) { above(batch, frames); } \
  extern "C" __global__ void peakfinder8_groups_##NAME(DeviceBatch batch, const T* frames) {                        \
    const int listed = min(batch.n_foreground[blockIdx.y], batch.foreground_capacity);                              \
    for (int k = blockIdx.x * blockDim.x + threadIdx.x; k < listed; k += gridDim.x * blockDim.x)                    \
      group_body(batch, frames, blockIdx.y, k);                                                                     \
  }

PEAKRT_KERNELS(u2, std::uint16_t)
PEAKRT_KERNELS(i2, std::int16_t)
PEAKRT_KERNELS(u4, std::uint32_t)
PEAKRT_KERNELS(i4, std::int32_t)
PEAKRT_KERNELS(f4, float)
