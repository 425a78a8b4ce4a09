#include "peakrt/device_twin.hpp"

#include <stdexcept>
#include <string>

namespace peakrt {
namespace {

// Calls body(frame, i) for i below n(frame).
template <class Count, class Body>
void grid(int frames, Count&& n, Body&& body) {
  for (int frame = frames - 1; frame >= 0; --frame)
    for (std::int64_t i = std::int64_t(n(frame)) - 1; i >= 0; --i) body(frame, i);
}

auto fixed(std::int64_t n) {
  return [n](int) { return n; };
}

void unknown(const std::string& kernel) { throw std::invalid_argument("no kernel is called " + kernel); }

template <class T>
void above(const DeviceBatch& batch, const T* frames, int frame, std::int64_t block) {
  const std::int64_t pixels = batch.shape.pixels(), first = block * kDeviceBlock;
  const T* data = frames + frame * pixels;
  const float level = batch.floor[frame * (batch.n_bins_padded + 1) + batch.block_bin[block]];
  unsigned bits = 0;
  for (int i = 0; i < kDeviceBlock && first + i < pixels; ++i)
    bits |= unsigned(static_cast<float>(data[first + i]) > level) << i;
  above_body(batch, data, frame, int(block), bits & batch.block_good[block]);
}

template <class T>
void sweep(const NetworkBatch& batch, const T* frames, int frame, std::int64_t sweep) {
  static SweepShared shared;
  constexpr int kThreads = 7;  // any number will do
  for (int phase = 0; phase < kSweepPhases; ++phase)
    for (int thread = 0; thread < kThreads; ++thread)
      sweep_phase(batch, frames, frame, int(sweep), phase, thread, kThreads, &shared);
}

}  // namespace

void peakfinder8_twin(const char* kernel, const DeviceBatch& b, Dtype dtype, const void* frames) {
  const std::string name = kernel;
  const int n = b.n_frames;
  with_dtype(dtype, frames, [&](const auto* data) {
    if (name == "clear")
      grid(n, fixed(1), [&](int f, std::int64_t) { clear_body(b, f); });
    else if (name == "gather")
      grid(n, fixed(b.n_order), [&](int f, std::int64_t i) { gather_body(b, data, f, i); });
    else if (name == "radial")
      grid(n, fixed(b.n_groups * kDeviceLanes),
           [&](int f, std::int64_t i) { radial_body(b, f, int(i) / kDeviceLanes, int(i) % kDeviceLanes); });
    else if (name == "floors")
      for (int f = 0; f < n; ++f)  // the last bin's thread writes a threshold that no other reads
        for (int bin = 0; bin <= b.n_bins; ++bin) floor_body(b, f, bin);
    else if (name == "above")
      grid(n, fixed((b.shape.pixels() + kDeviceBlock - 1) / kDeviceBlock),
           [&](int f, std::int64_t i) { above(b, data, f, i); });
    else if (name == "groups")
      grid(n, [&](int f) { return b.n_foreground[f]; }, [&](int f, std::int64_t i) { group_body(b, data, f, int(i)); });
    else
      unknown(name);
  });
}

void network_twin(const char* kernel, const NetworkBatch& b, Dtype dtype, const void* frames) {
  const std::string name = kernel;
  const int n = b.n_frames;
  const auto listed = [&](int frame) { return b.listed(frame); };
  const auto run = [&](auto&& count, auto&& body) {
    grid(n, [&](int frame) { return b.skips(frame) ? 0 : std::int64_t(count(frame)); }, body);
  };
  const auto foreground = [&](int frame) { return listed_pixels(b, frame); };
  with_dtype(dtype, frames, [&](const auto* data) {
    if (name == "clear")
      run(fixed(b.n_bins_padded + 1), [&](int f, std::int64_t i) { clear_body(b, f, int(i)); });
    else if (name == "collect")
      run(fixed(b.n_order), [&](int f, std::int64_t i) { collect_body(b, data, f, i); });
    else if (name == "sums")
      run(fixed(b.n_groups * kDeviceLanes),
          [&](int f, std::int64_t i) { sums_body(b, f, int(i) / kDeviceLanes, int(i) % kDeviceLanes); });
    else if (name == "levels")
      run(fixed(b.n_bins + 1), [&](int f, std::int64_t i) { level_body(b, f, int(i)); });
    else if (name == "windows")
      run(fixed(b.n_windows), [&](int f, std::int64_t i) { window_body(b, data, f, int(i)); });
    else if (name == "clip_noise")
      run(fixed(b.n_windows * 2), [&](int f, std::int64_t i) { clip_noise_body(b, f, int(i) / 2, int(i) % 2); });
    else if (name == "refine_noise")
      run(fixed(2), [&](int f, std::int64_t i) { refine_noise_body(b, f, int(i)); });
    else if (name == "tiles")
      run(fixed(b.n_tiles), [&](int f, std::int64_t i) { tile_body(b, data, f, int(i)); });
    else if (name == "locals")
      run(fixed(b.n_tiles), [&](int f, std::int64_t i) { local_body(b, f, int(i)); });
    else if (name == "sweep")
      run(fixed(b.n_sweeps), [&](int f, std::int64_t i) { sweep(b, data, f, i); });
    else if (name == "describe")
      run(listed, [&](int f, std::int64_t k) { describe_body(b, data, f, int(k)); });
    else if (name == "crowd")
      run(listed, [&](int f, std::int64_t k) { crowd_body(b, f, int(k)); });
    else if (name == "rank")
      run([&](int f) { return b.crowd[3 * f + 1]; }, [&](int f, std::int64_t k) { rank_body(b, f, int(k)); });
    else if (name == "frame")
      run(listed, [&](int f, std::int64_t k) { frame_body(b, f, int(k)); });
    else if (name == "judge")
      run(listed, [&](int f, std::int64_t k) { judge_body(b, f, int(k)); });
    else if (name == "learn")
      run(listed, [&](int f, std::int64_t k) { learn_body(b, f, int(k)); });
    else if (name == "mark")
      run(listed, [&](int f, std::int64_t k) { mark_body(b, f, int(k)); });
    else if (name == "age")
      grid(1, fixed(b.shape.pixels()), [&](int, std::int64_t i) { age_body(b, i); });
    else if (name == "dense_clear")
      run(fixed(1), [&](int f, std::int64_t) { dense_clear_body(b, f); });
    else if (name == "dense_input")
      run(fixed(std::int64_t(b.shape.panel) * b.even_ss * b.even_fs),
          [&](int f, std::int64_t i) { dense_input_body(b, data, f, i); });
    else if (name == "dense_list")
      run(fixed(b.shape.pixels()), [&](int f, std::int64_t i) { dense_list_body(b, f, i); });
    else if (name == "dense_sort")
      run(foreground, [&](int f, std::int64_t k) { dense_sort_body(b, f, int(k)); });
    else if (name == "dense_join")
      run(foreground, [&](int f, std::int64_t k) { dense_join_body(b, f, int(k)); });
    else if (name == "dense_top")
      run(foreground, [&](int f, std::int64_t k) { dense_top_body(b, data, f, int(k)); });
    else if (name == "sure")
      run(listed, [&](int f, std::int64_t k) { sure_body(b, f, int(k)); });
    else if (name == "suppress")
      run(listed, [&](int f, std::int64_t k) { suppress_body(b, f, int(k)); });
    else if (name == "measure")
      run(listed, [&](int f, std::int64_t k) { measure_body(b, data, f, int(k)); });
    else
      unknown(name);
  });
}

void conv_twin(const ConvLayer& layer) {
  grid(layer.images, fixed(layer.out_ss * layer.out_fs),
       [&](int image, std::int64_t i) { conv_body(layer, image, int(i)); });
}

}  // namespace peakrt
