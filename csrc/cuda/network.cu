// The kernels of device_network.hpp and device_dense.hpp. Grids are sized by capacity, so that a batch needs no word
// from the host; blockIdx.y is the frame.
#include "peakrt/device_dense.hpp"

using namespace peakrt;

namespace {

__device__ int thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Calls body(k) for the numbers below n that are this thread's.
template <class Body>
__device__ void each(std::int64_t n, Body&& body) {
  for (std::int64_t k = thread_number(); k < n; k += std::int64_t(gridDim.x) * blockDim.x) body(k);
}

}  // namespace

// Kernels that see no pixel.
#define PEAKRT_KERNEL(NAME, N, CALL)                          \
  extern "C" __global__ void network_##NAME(NetworkBatch b) { \
    const int f = blockIdx.y;                                 \
    if (b.skips(f)) return;                                   \
    each(N, [&](std::int64_t k) { CALL; });                   \
  }

PEAKRT_KERNEL(clear, b.n_bins_padded + 1, clear_body(b, f, int(k)))
PEAKRT_KERNEL(sums, b.n_groups* kDeviceLanes, sums_body(b, f, int(k) / kDeviceLanes, int(k) % kDeviceLanes))
PEAKRT_KERNEL(levels, b.n_bins + 1, level_body(b, f, int(k)))
PEAKRT_KERNEL(clip_noise, b.n_windows * 2, clip_noise_body(b, f, int(k) / 2, int(k) % 2))
PEAKRT_KERNEL(refine_noise, 2, refine_noise_body(b, f, int(k)))
PEAKRT_KERNEL(locals, b.n_tiles, local_body(b, f, int(k)))
PEAKRT_KERNEL(crowd, b.listed(f), crowd_body(b, f, int(k)))
PEAKRT_KERNEL(rank, b.crowd[3 * f + 1], rank_body(b, f, int(k)))
PEAKRT_KERNEL(frame, b.listed(f), frame_body(b, f, int(k)))
PEAKRT_KERNEL(judge, b.listed(f), judge_body(b, f, int(k)))
PEAKRT_KERNEL(learn, b.listed(f), learn_body(b, f, int(k)))
PEAKRT_KERNEL(mark, b.listed(f), mark_body(b, f, int(k)))
PEAKRT_KERNEL(sure, b.listed(f), sure_body(b, f, int(k)))
PEAKRT_KERNEL(suppress, b.listed(f), suppress_body(b, f, int(k)))

PEAKRT_KERNEL(dense_clear, 1, dense_clear_body(b, f))
PEAKRT_KERNEL(dense_list, b.shape.pixels(), dense_list_body(b, f, k))
PEAKRT_KERNEL(dense_sort, listed_pixels(b, f), dense_sort_body(b, f, int(k)))
PEAKRT_KERNEL(dense_join, listed_pixels(b, f), dense_join_body(b, f, int(k)))

extern "C" __global__ void network_age(NetworkBatch b) {
  each(b.shape.pixels(), [&](std::int64_t k) { age_body(b, k); });
}

#define PEAKRT_PIXEL_KERNEL(NAME, SUFFIX, T, N, CALL)                                     \
  extern "C" __global__ void network_##NAME##_##SUFFIX(NetworkBatch b, const T* frames) { \
    const int f = blockIdx.y;                                                             \
    if (b.skips(f)) return;                                                               \
    each(N, [&](std::int64_t k) { CALL; });                                               \
  }

#define PEAKRT_KERNELS(SUFFIX, T)                                                                             \
  PEAKRT_PIXEL_KERNEL(collect, SUFFIX, T, b.n_order, collect_body(b, frames, f, k))                           \
  PEAKRT_PIXEL_KERNEL(windows, SUFFIX, T, b.n_windows, window_body(b, frames, f, int(k)))                     \
  PEAKRT_PIXEL_KERNEL(tiles, SUFFIX, T, b.n_tiles, tile_body(b, frames, f, int(k)))                           \
  PEAKRT_PIXEL_KERNEL(describe, SUFFIX, T, b.listed(f), describe_body(b, frames, f, int(k)))                  \
  PEAKRT_PIXEL_KERNEL(measure, SUFFIX, T, b.listed(f), measure_body(b, frames, f, int(k)))                    \
  PEAKRT_PIXEL_KERNEL(dense_input, SUFFIX, T, std::int64_t(b.shape.panel) * b.even_ss * b.even_fs,            \
                      dense_input_body(b, frames, f, k))                                                      \
  PEAKRT_PIXEL_KERNEL(dense_top, SUFFIX, T, listed_pixels(b, f), dense_top_body(b, frames, f, int(k)))        \
  extern "C" __global__ void __launch_bounds__(256) network_sweep_##SUFFIX(NetworkBatch b, const T* frames) { \
    __shared__ SweepShared shared;                                                                            \
    if (b.skips(blockIdx.y)) return;                                                                          \
    for (int phase = 0; phase < kSweepPhases; ++phase) {                                                      \
      sweep_phase(b, frames, blockIdx.y, blockIdx.x, phase, threadIdx.x, blockDim.x, &shared);                \
      __syncthreads();                                                                                        \
    }                                                                                                         \
  }

PEAKRT_KERNELS(u2, std::uint16_t)
PEAKRT_KERNELS(i2, std::int16_t)
PEAKRT_KERNELS(u4, std::uint32_t)
PEAKRT_KERNELS(i4, std::int32_t)
PEAKRT_KERNELS(f4, float)
