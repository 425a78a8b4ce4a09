// The CUDA kernels' bodies, run as loops on the host: for tests where there is no GPU.
#pragma once
#include <vector>

#include "peakrt/device_peakfinder8.hpp"
#include "peakrt/device_segmentation.hpp"
#include "peakrt/dtype.hpp"

namespace peakrt {

// Runs one kernel, thread by thread and last thread first: on a device no order is promised.
// Throws std::invalid_argument for a name that is none.
void peakfinder8_twin(const char* kernel, const DeviceBatch& batch, Dtype dtype, const void* frames);
void proposer_twin(const char* kernel, const ProposerBatch& batch, Dtype dtype, const void* frames);
void conv_twin(const ConvLayer& layer);

// A field of a struct that kernels are given: its name, its type as numpy writes it, its place and size in bytes.
struct Field {
  const char *name, *format;
  std::size_t offset, size;
};
std::vector<Field> proposer_batch_fields();
std::vector<Field> peakfinder8_batch_fields();
std::vector<Field> conv_layer_fields();

// A kernel of the candidate or segmentation finder: whether it is given the frames, and threads of its teams, if it has
// any.
struct Kernel {
  const char* name;
  bool takes_frames;
  int team;
};
std::vector<Kernel> proposer_kernels();

}  // namespace peakrt
