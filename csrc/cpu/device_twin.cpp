#include "peakrt/device_twin.hpp"

namespace peakrt {

void device_twin(const DeviceBatch& batch, Dtype dtype, const void* frames) {
  const std::int64_t pixels = batch.shape.pixels();
  const int blocks = int((pixels + kDeviceBlock - 1) / kDeviceBlock);
  *batch.n_peaks = 0;
  with_dtype(dtype, frames, [&](const auto* data) {
    for (int frame = 0; frame < batch.n_frames; ++frame) {
      batch.n_foreground[frame] = 0;
      for (std::int64_t place = 0; place < batch.n_order; ++place) gather_body(batch, data, frame, place);
      for (int group = 0; group < batch.n_groups; ++group)
        for (int lane = 0; lane < kDeviceLanes; ++lane) radial_body(batch, frame, group, lane);
      for (int bin = 0; bin <= batch.n_bins; ++bin) floor_body(batch, frame, bin);
      for (int block = 0; block < blocks; ++block) {
        const auto* one = data + frame * pixels;
        const float level = batch.floor[frame * (batch.n_bins_padded + 1) + batch.block_bin[block]];
        unsigned bits = 0;
        for (int i = 0; i < kDeviceBlock && std::int64_t(block) * kDeviceBlock + i < pixels; ++i)
          bits |= unsigned(static_cast<float>(one[std::int64_t(block) * kDeviceBlock + i]) > level) << i;
        above_body(batch, one, frame, block, bits & batch.block_good[block]);
      }
      for (int k = 0; k < batch.n_foreground[frame]; ++k) group_body(batch, data, frame, k);
    }
  });
}

}  // namespace peakrt
