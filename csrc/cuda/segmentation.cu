// The segmentation model's convolutions, for where there is no TensorRT; blockIdx.y is the image.
#include "peakrt/device_segmentation.hpp"

using namespace peakrt;

extern "C" __global__ void segmentation_conv(ConvLayer layer) {
  const int pixel = blockIdx.x * blockDim.x + threadIdx.x;
  if (pixel < layer.out_ss * layer.out_fs) conv_body(layer, blockIdx.y, pixel);
}
