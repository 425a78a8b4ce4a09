// One native vector of floats: for files that are compiled once per instruction set.
#pragma once
#include <cstdint>
#include <cstring>

namespace peakrt::PEAKRT_ISA {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
typedef float Vector __attribute__((vector_size(4 * kWidth)));
typedef std::int32_t IntVector __attribute__((vector_size(4 * kWidth)));

inline Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

}  // namespace
}  // namespace peakrt::PEAKRT_ISA
