// What all device code uses.
#pragma once
#include <cstdint>

#include "peakrt/peak.hpp"

#if defined(__CUDA_ARCH__)
#define PEAKRT_UNROLL _Pragma("unroll")
#define PEAKRT_UNROLL_SOME _Pragma("unroll 8")
#else
#define PEAKRT_UNROLL
#define PEAKRT_UNROLL_SOME
#endif

namespace peakrt {

constexpr int kDeviceLanes = 32;  // bins side by side: kLanes of the plan, and a warp

// Adds one to a counter and gives its old value. nvcc makes one addition of a warp of these.
PEAKRT_HD inline int next(std::int32_t* counter) {
#if defined(__CUDA_ARCH__)
  return atomicAdd(counter, 1);
#else
  return (*counter)++;
#endif
}

}  // namespace peakrt
