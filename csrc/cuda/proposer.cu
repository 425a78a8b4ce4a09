// The kernels of device_proposer.hpp and device_segmentation.hpp. Grids are sized by capacity, so that a batch needs no
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

#define KERNEL(NAME, N, CALL)                                   \
  extern "C" __global__ void proposer_##NAME(ProposerBatch b) { \
    const int f = blockIdx.y;                                   \
    if (b.skips(f)) return;                                     \
    each(N, [&](std::int64_t k) { CALL; });                     \
  }
#define TYPED_KERNEL(NAME, SUFFIX, T, N, CALL)                                              \
  extern "C" __global__ void proposer_##NAME##_##SUFFIX(ProposerBatch b, const T* frames) { \
    const int f = blockIdx.y;                                                               \
    if (b.skips(f)) return;                                                                 \
    each(N, [&](std::int64_t k) { CALL; });                                                 \
  }
#define PIXEL_KERNEL(NAME, N, CALL)              \
  TYPED_KERNEL(NAME, u2, std::uint16_t, N, CALL) \
  TYPED_KERNEL(NAME, i2, std::int16_t, N, CALL)  \
  TYPED_KERNEL(NAME, u4, std::uint32_t, N, CALL) \
  TYPED_KERNEL(NAME, i4, std::int32_t, N, CALL)  \
  TYPED_KERNEL(NAME, f4, float, N, CALL)

// Teams of SIZE threads, kTeamThreads a block.
#define TEAM_BODY(N, SIZE, SHARED, CALL)                                                           \
  {                                                                                                \
    alignas(8) __shared__ char of_teams[kTeamThreads / SIZE * sizeof(SHARED)];                     \
    [[maybe_unused]] SHARED* s = reinterpret_cast<SHARED*>(of_teams) + threadIdx.x / SIZE;         \
    const int f = blockIdx.y;                                                                      \
    if (b.skips(f)) return;                                                                        \
    const Team<SIZE> team{};                                                                       \
    for (std::int64_t k = thread_number() / SIZE; k < N; k += gridDim.x * (kTeamThreads / SIZE)) { \
      CALL;                                                                                        \
      team.meet();                                                                                 \
    }                                                                                              \
  }
#define TEAM_KERNEL(NAME, N, SIZE, SHARED, CALL)                                              \
  extern "C" __global__ void __launch_bounds__(kTeamThreads) proposer_##NAME(ProposerBatch b) \
      TEAM_BODY(N, SIZE, SHARED, CALL)
#define TYPED_TEAM_KERNEL(NAME, SUFFIX, T, N, SIZE, SHARED, CALL) \
  extern "C" __global__ void __launch_bounds__(kTeamThreads)      \
      proposer_##NAME##_##SUFFIX(ProposerBatch b, const T* frames) TEAM_BODY(N, SIZE, SHARED, CALL)
#define PIXEL_TEAM_KERNEL(NAME, N, SIZE, SHARED, CALL)              \
  TYPED_TEAM_KERNEL(NAME, u2, std::uint16_t, N, SIZE, SHARED, CALL) \
  TYPED_TEAM_KERNEL(NAME, i2, std::int16_t, N, SIZE, SHARED, CALL)  \
  TYPED_TEAM_KERNEL(NAME, u4, std::uint32_t, N, SIZE, SHARED, CALL) \
  TYPED_TEAM_KERNEL(NAME, i4, std::int32_t, N, SIZE, SHARED, CALL)  \
  TYPED_TEAM_KERNEL(NAME, f4, float, N, SIZE, SHARED, CALL)
#include "peakrt/proposer_kernels.def"

// A kernel of another kind: over the pixels of the map and not of a frame.
extern "C" __global__ void proposer_age(ProposerBatch b) {
  each(b.shape.pixels(), [&](std::int64_t k) { age_body(b, k); });
}
