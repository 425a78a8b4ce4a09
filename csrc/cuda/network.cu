// The kernels of device_network.hpp and device_segmentation.hpp. Grids are sized by capacity, so that a batch needs no
// word from the host; blockIdx.y is the frame.
#include "peakrt/device_segmentation.hpp"

using namespace peakrt;

namespace {

__device__ int thread_number() { return blockIdx.x * blockDim.x + threadIdx.x; }

// Calls body(k) for the numbers below n that are this thread's.
template <class Body>
__device__ void each(std::int64_t n, Body&& body) {
  for (std::int64_t k = thread_number(); k < n; k += std::int64_t(gridDim.x) * blockDim.x) body(k);
}

}  // namespace

#define KERNEL(NAME, N, CALL)                                 \
  extern "C" __global__ void network_##NAME(NetworkBatch b) { \
    const int f = blockIdx.y;                                 \
    if (b.skips(f)) return;                                   \
    each(N, [&](std::int64_t k) { CALL; });                   \
  }
#define TYPED_KERNEL(NAME, SUFFIX, T, N, CALL)                                            \
  extern "C" __global__ void network_##NAME##_##SUFFIX(NetworkBatch b, const T* frames) { \
    const int f = blockIdx.y;                                                             \
    if (b.skips(f)) return;                                                               \
    each(N, [&](std::int64_t k) { CALL; });                                               \
  }
#define PIXEL_KERNEL(NAME, N, CALL)              \
  TYPED_KERNEL(NAME, u2, std::uint16_t, N, CALL) \
  TYPED_KERNEL(NAME, i2, std::int16_t, N, CALL)  \
  TYPED_KERNEL(NAME, u4, std::uint32_t, N, CALL) \
  TYPED_KERNEL(NAME, i4, std::int32_t, N, CALL)  \
  TYPED_KERNEL(NAME, f4, float, N, CALL)
#include "peakrt/network_kernels.def"

// Two kernels that are of another kind: one over the pixels of the map and not of a frame, one by blocks with memory
// that their threads share.
extern "C" __global__ void network_age(NetworkBatch b) {
  each(b.shape.pixels(), [&](std::int64_t k) { age_body(b, k); });
}

#define SWEEP_KERNEL(SUFFIX, T)                                                                               \
  extern "C" __global__ void __launch_bounds__(256) network_sweep_##SUFFIX(NetworkBatch b, const T* frames) { \
    __shared__ SweepShared shared;                                                                            \
    if (b.skips(blockIdx.y)) return;                                                                          \
    for (int phase = 0; phase < kSweepPhases; ++phase) {                                                      \
      sweep_phase(b, frames, blockIdx.y, blockIdx.x, phase, threadIdx.x, blockDim.x, &shared);                \
      __syncthreads();                                                                                        \
    }                                                                                                         \
  }

SWEEP_KERNEL(u2, std::uint16_t)
SWEEP_KERNEL(i2, std::int16_t)
SWEEP_KERNEL(u4, std::uint32_t)
SWEEP_KERNEL(i4, std::int32_t)
SWEEP_KERNEL(f4, float)
