// The CUDA kernels' bodies, run as loops on the host: for tests where there is no GPU.
#pragma once
#include "peakrt/device_dense.hpp"
#include "peakrt/device_peakfinder8.hpp"
#include "peakrt/dtype.hpp"

namespace peakrt {

// Runs one kernel, thread by thread and last thread first: on a device no order is promised.
// Throws std::invalid_argument for a name that is none.
void peakfinder8_twin(const char* kernel, const DeviceBatch& batch, Dtype dtype, const void* frames);
void network_twin(const char* kernel, const NetworkBatch& batch, Dtype dtype, const void* frames);
void conv_twin(const ConvLayer& layer);

}  // namespace peakrt
