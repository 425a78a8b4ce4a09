// Element types of a frame, dispatched once at the front of each kernel.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <type_traits>

namespace peakrt {

enum class Dtype : int { u8, i8, u16, i16, u32, i32, u64, i64, f32, f64 };

// Calls body(const T*) with the frame's element type.
template <class Body>
decltype(auto) with_dtype(Dtype dtype, const void* data, Body&& body) {
  switch (dtype) {
    case Dtype::u8:
      return body(static_cast<const std::uint8_t*>(data));
    case Dtype::i8:
      return body(static_cast<const std::int8_t*>(data));
    case Dtype::u16:
      return body(static_cast<const std::uint16_t*>(data));
    case Dtype::i16:
      return body(static_cast<const std::int16_t*>(data));
    case Dtype::u32:
      return body(static_cast<const std::uint32_t*>(data));
    case Dtype::i32:
      return body(static_cast<const std::int32_t*>(data));
    case Dtype::u64:
      return body(static_cast<const std::uint64_t*>(data));
    case Dtype::i64:
      return body(static_cast<const std::int64_t*>(data));
    case Dtype::f32:
      return body(static_cast<const float*>(data));
    case Dtype::f64:
      return body(static_cast<const double*>(data));
  }
  throw std::invalid_argument("unknown element type");
}

}  // namespace peakrt
