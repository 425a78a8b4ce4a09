// The CUDA kernels' bodies, run as loops on the host: for tests where there is no GPU.
#pragma once
#include "peakrt/device_peakfinder8.hpp"
#include "peakrt/dtype.hpp"

namespace peakrt {

// Runs every kernel of a batch in order, thread by thread.
void device_twin(const DeviceBatch& batch, Dtype dtype, const void* frames);

}  // namespace peakrt
