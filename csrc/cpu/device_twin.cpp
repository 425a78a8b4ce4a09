#include "peakrt/device_twin.hpp"

#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>

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

// How numpy writes a type; an address is a number there.
template <class T>
const char* format_of() {
  if constexpr (std::is_pointer_v<T>)
    return "u8";
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return "i4";
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return "i8";
  else if constexpr (std::is_same_v<T, float>)
    return "f4";
  else if constexpr (std::is_same_v<T, Shape>)
    return "3i4";
  else if constexpr (std::is_same_v<T, LeastScore>)
    return "2f4";
  else {
    static_assert(std::is_same_v<T, Peakfinder8Options>, "say how numpy writes this type");
    return "f4,f4,i4,i4,i4";
  }
}

}  // namespace

#define FIELD(TYPE, NAME) {#NAME, format_of<TYPE>(), offsetof(Struct, NAME), sizeof(TYPE)},

std::vector<Field> proposer_batch_fields() {
  using Struct = ProposerBatch;
  return {
#include "peakrt/proposer_batch.def"
  };
}

std::vector<Field> peakfinder8_batch_fields() {
  using Struct = DeviceBatch;
  return {
#include "peakrt/peakfinder8_batch.def"
  };
}

std::vector<Field> conv_layer_fields() {
  using Struct = ConvLayer;
  return {
#include "peakrt/conv_layer.def"
  };
}

#undef FIELD

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

void proposer_twin(const char* kernel, const ProposerBatch& b, Dtype dtype, const void* pixels) {
  const std::string name = kernel;
  const auto run = [&](auto&& count, auto&& body) {
    grid(b.n_frames, [&](int frame) { return b.skips(frame) ? 0 : std::int64_t(count(frame)); }, body);
  };
  with_dtype(dtype, pixels, [&](const auto* frames) {
#define KERNEL(NAME, N, CALL) \
  if (name == #NAME)          \
    return run([&]([[maybe_unused]] int f) { return N; }, [&](int f, [[maybe_unused]] std::int64_t k) { CALL; });
#define PIXEL_KERNEL KERNEL
#define TEAM_KERNEL(NAME, N, SIZE, SHARED, CALL)                                                 \
  if (name == #NAME) {                                                                           \
    static SHARED shared;                                                                        \
    [[maybe_unused]] SHARED* s = &shared;                                                        \
    const Alone team{};                                                                          \
    return run([&]([[maybe_unused]] int f) { return N; }, [&](int f, std::int64_t k) { CALL; }); \
  }
#define PIXEL_TEAM_KERNEL TEAM_KERNEL
#include "peakrt/proposer_kernels.def"
#undef PIXEL_TEAM_KERNEL
#undef TEAM_KERNEL
#undef PIXEL_KERNEL
#undef KERNEL
    if (name == "age") return grid(1, fixed(b.shape.pixels()), [&](int, std::int64_t i) { age_body(b, i); });
    unknown(name);
  });
}

std::vector<Kernel> proposer_kernels() {
  return {
#define KERNEL(NAME, N, CALL) {#NAME, false, 0},
#define PIXEL_KERNEL(NAME, N, CALL) {#NAME, true, 0},
#define TEAM_KERNEL(NAME, N, SIZE, SHARED, CALL) {#NAME, false, SIZE},
#define PIXEL_TEAM_KERNEL(NAME, N, SIZE, SHARED, CALL) {#NAME, true, SIZE},
#include "peakrt/proposer_kernels.def"
#undef PIXEL_TEAM_KERNEL
#undef TEAM_KERNEL
#undef PIXEL_KERNEL
#undef KERNEL
      {"age", false, 0},
  };
}

void conv_twin(const ConvLayer& layer) {
  grid(layer.images, fixed(layer.out_ss * layer.out_fs),
       [&](int image, std::int64_t i) { conv_body(layer, image, int(i)); });
}

}  // namespace peakrt
