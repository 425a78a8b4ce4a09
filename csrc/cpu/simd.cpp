// Compiled once per instruction set with PEAKRT_ISA = plain, avx2 or avx512. The loops are plain C++ over
// fixed blocks, which the compiler turns into that set's vectors; contraction to fused multiply-add is
// off (CMakeLists.txt), so that all three give the same bits.
#include "simd.hpp"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace peakrt::PEAKRT_ISA {
namespace {

// One native vector. kVectors of them go side by side, so that their chains of additions overlap.
#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kVectors = 2, kSpan = kVectors * kWidth;
typedef float Vector __attribute__((vector_size(4 * kWidth)));
typedef std::int32_t IntVector __attribute__((vector_size(4 * kWidth)));

inline Vector load(const float* p) {
  Vector v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }

template <class T>
void gather(const T* frame, const std::int32_t* order, const BinGroup& group, float* values) {
  const std::int64_t full = std::int64_t(group.full) * kLanes, deep = std::int64_t(group.deep) * kLanes;
  for (std::int64_t i = 0; i < full; ++i) values[i] = static_cast<float>(frame[order[i]]);
  for (std::int64_t i = full; i < deep; ++i)
    values[i] = order[i] < 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(frame[order[i]]);
}

// One clipping pass over kSpan bins of a group, each summed in raster order as the original does.
inline void clip_pass(const float* values, std::int64_t rows, const Peakfinder8Options& options, float* low,
                      float* high, float* offset) {
  Vector sum[kVectors] = {}, squares[kVectors] = {}, lower[kVectors], upper[kVectors];
  IntVector count[kVectors] = {};
  for (int k = 0; k < kVectors; ++k) {
    lower[k] = load(low + k * kWidth);
    upper[k] = load(high + k * kWidth);
  }
  for (std::int64_t row = 0; row < rows; ++row)
    for (int k = 0; k < kVectors; ++k) {
      const Vector v = load(values + row * kLanes + k * kWidth);
      const IntVector keep = (v < upper[k]) & (v > lower[k]);
      const Vector kept = reinterpret_cast<Vector>(reinterpret_cast<IntVector>(v) & keep);
      sum[k] += kept;
      squares[k] += kept * kept;
      count[k] -= keep;
    }
  for (int lane = 0; lane < kSpan; ++lane) {
    const int k = lane / kWidth, i = lane % kWidth;
    const RadialBin bin = clip(sum[k][i], squares[k][i], count[k][i], options.min_snr, options.adc_threshold);
    low[lane] = bin.low;
    high[lane] = bin.high;
    offset[lane] = bin.offset;
  }
}

// Appends the pixels above threshold of kSpan bins.
inline std::size_t emit(const float* values, const std::int32_t* order, std::int64_t rows, const float* threshold,
                        std::int32_t* foreground) {
  std::size_t found = 0;
  Vector level[kVectors];
  for (int k = 0; k < kVectors; ++k) level[k] = load(threshold + k * kWidth);
  for (std::int64_t row = 0; row < rows; ++row) {
    const float* at = values + row * kLanes;
    IntVector over = load(at) > level[0];
    for (int k = 1; k < kVectors; ++k) over |= load(at + k * kWidth) > level[k];
    std::int64_t parts[kWidth / 2], any = 0;
    std::memcpy(parts, &over, sizeof parts);
    for (std::int64_t part : parts) any |= part;
    if (!any) continue;
    for (int lane = 0; lane < kSpan; ++lane)
      if (at[lane] > threshold[lane]) foreground[found++] = order[row * kLanes + lane];
  }
  return found;
}

std::size_t radial(const RadialPlan& plan, const Peakfinder8Options& options, Dtype dtype, const void* frame,
                   float* values, float* threshold, float* offset, std::int32_t* foreground) {
  std::size_t found = 0;
  with_dtype(dtype, frame, [&](const auto* data) {
    for (std::size_t g = 0; g < plan.groups.size(); ++g) {
      const BinGroup& group = plan.groups[g];
      const std::int32_t* order = plan.order.data() + group.first;
      gather(data, order, group, values);
      for (int first = 0; first < kLanes; first += kSpan) {
        float *high = threshold + g * kLanes + first, low[kSpan];
        std::fill(low, low + kSpan, -1e9f);
        std::fill(high, high + kSpan, 1e9f);
        for (int pass = 0; pass < kClipPasses; ++pass)
          clip_pass(values + first, group.deep, options, low, high, offset + g * kLanes + first);
        if (!plan.sampled) found += emit(values + first, order + first, group.deep, high, foreground + found);
      }
    }
  });
  return found;
}

// Bit i of the result: data[i] > level.
template <class T>
inline unsigned over_bits(const T* data, float level) {
  unsigned bits = 0;
  for (int i = 0; i < kBlock; ++i) bits |= unsigned(static_cast<float>(data[i]) > level) << i;
  return bits;
}

template <class T>
inline bool any_over(const T* data, float level) {
  int over = 0;
  for (int i = 0; i < kBlock; ++i) over |= static_cast<float>(data[i]) > level;
  return over;
}

std::size_t above(const RadialPlan& plan, Dtype dtype, const void* frame, const float* threshold,
                  const float* floor, std::int32_t* foreground) {
  std::size_t found = 0;
  const std::int64_t n = plan.shape.pixels(), blocks = n / kBlock;
  with_dtype(dtype, frame, [&](const auto* data) {
    const std::uint16_t* bin = plan.bin.data();
    for (std::int64_t block = 0; block < blocks; ++block) {
      const float level = floor[plan.block_bin[block]];
      if (!any_over(data + block * kBlock, level)) continue;
      unsigned bits = over_bits(data + block * kBlock, level) & plan.block_good[block];
      while (bits) {
        const std::int64_t i = block * kBlock + __builtin_ctz(bits);
        bits &= bits - 1;
        if (static_cast<float>(data[i]) > threshold[bin[i]]) foreground[found++] = std::int32_t(i);
      }
    }
    for (std::int64_t i = blocks * kBlock; i < n; ++i)
      if (static_cast<float>(data[i]) > threshold[bin[i]]) foreground[found++] = std::int32_t(i);
  });
  return found;
}

// The maximum of +x is searched with sign > 0; the minimum likewise, with every comparison turned round.
template <bool kMax, class T>
inline bool beats(T a, T b) {
  return kMax ? a > b : a < b;
}

template <bool kMax, class T>
inline T better(T a, T b) {
  return kMax ? (a > b ? a : b) : (a < b ? a : b);
}

// What a masked pixel counts as in a search: a value that nothing is beaten by.
template <bool kMax, class T>
constexpr T neutral() {
  return kMax ? std::numeric_limits<T>::lowest() : std::numeric_limits<T>::max();
}

// best[i] = the best of row[i - rank .. i + rank], row being padded by rank; doubles the window as it goes.
template <bool kMax, class T>
void row_window(const T* padded, T* work, int n, int rank, T* best) {
  const int width = 2 * rank + 1, total = n + 2 * rank;
  const T* from = padded;
  int covered = 1;
  while (2 * covered <= width) {
    const int length = total - 2 * covered + 1;
    for (int i = 0; i < length; ++i) work[i] = better<kMax>(from[i], from[i + covered]);
    from = work;
    covered *= 2;
  }
  for (int i = 0; i < n; ++i) best[i] = better<kMax>(from[i], from[i + width - covered]);
}

template <bool kMax, class T>
void extrema_of(const T* data, const std::uint8_t* mask, int n_ss, int n_fs, int rank, std::uint8_t* bits) {
  const std::uint8_t row_bit = kMax ? kRowMax : kRowMin, col_bit = kMax ? kColMax : kColMin;
  const int width = n_fs + 2 * rank;
  // A ring of filled rows serves the row search and, 2 * rank + 1 of them, the column search.
  const int n_ring = 2 * rank + 2;
  std::vector<T> ring(std::size_t(n_ring) * width, neutral<kMax, T>());
  std::vector<T> work(width), best(n_fs);
  std::vector<std::uint8_t> candidate(n_fs + 8);
  std::vector<std::int32_t> last(n_fs, -rank - 1);
  const auto filled = [&](int ss) { return ring.data() + std::size_t(ss % n_ring) * width; };

  const auto search_row = [&](int ss) {
    const T* row = data + std::int64_t(ss) * n_fs;
    const std::uint8_t* good = mask + std::int64_t(ss) * n_fs;
    T* fill = filled(ss);
    for (int fs = 0; fs < n_fs; ++fs) fill[rank + fs] = good[fs] ? row[fs] : neutral<kMax, T>();
    row_window<kMax>(fill, work.data(), n_fs, rank, best.data());
    for (int fs = 0; fs + 1 < n_fs; ++fs)
      candidate[fs] = std::uint8_t((good[fs] != 0) & beats<kMax>(row[fs], row[fs + 1]) &
                                   !beats<kMax>(best[fs], row[fs]));
    candidate[n_fs - 1] = std::uint8_t((good[n_fs - 1] != 0) & !beats<kMax>(best[n_fs - 1], row[n_fs - 1]));
    // Of equal extrema within reach of one another the first in the row stands.
    std::uint8_t* out = bits + std::int64_t(ss) * n_fs;
    int stands = -rank - 1;
    for (int fs = 0; fs < n_fs; fs += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, candidate.data() + fs, 8);
      for (; eight; eight &= eight - 1) {
        const int at = fs + __builtin_ctzll(eight) / 8;
        if (at < n_fs && at - stands > rank) {
          out[at] |= row_bit;
          stands = at;
        }
      }
    }
  };

  const auto search_column = [&](int ss) {
    const T* row = data + std::int64_t(ss) * n_fs;
    const T* below = ss + 1 < n_ss ? row + n_fs : nullptr;
    const std::uint8_t* good = mask + std::int64_t(ss) * n_fs;
    const int from = std::max(0, ss - rank), to = std::min(n_ss - 1, ss + rank);
    std::memcpy(best.data(), filled(from) + rank, sizeof(T) * n_fs);
    for (int other = from + 1; other <= to; ++other) {
      const T* fill = filled(other) + rank;
      for (int fs = 0; fs < n_fs; ++fs) best[fs] = better<kMax>(best[fs], fill[fs]);
    }
    std::uint8_t* out = bits + std::int64_t(ss) * n_fs;
    std::int32_t* stands = last.data();
    for (int fs = 0; fs < n_fs; ++fs)
      candidate[fs] = std::uint8_t((good[fs] != 0) & !beats<kMax>(best[fs], row[fs]));
    if (below)
      for (int fs = 0; fs < n_fs; ++fs) candidate[fs] &= std::uint8_t(beats<kMax>(row[fs], below[fs]));
    for (int fs = 0; fs < n_fs; ++fs) {
      const bool found = candidate[fs] & (ss - stands[fs] > rank);
      out[fs] |= found ? col_bit : 0;
      stands[fs] = found ? ss : stands[fs];
    }
  };

  for (int ss = 0; ss < n_ss + rank; ++ss) {
    if (ss < n_ss) search_row(ss);
    if (ss >= rank) search_column(ss - rank);
  }
}

void extrema(Dtype dtype, const void* panel, const std::uint8_t* mask, int n_ss, int n_fs, int rank,
             std::uint8_t* bits) {
  with_dtype(dtype, panel, [&](const auto* data) {
    std::memset(bits, 0, std::size_t(n_ss) * n_fs);
    extrema_of<true>(data, mask, n_ss, n_fs, rank, bits);
    extrema_of<false>(data, mask, n_ss, n_fs, rank, bits);
  });
}

}  // namespace

extern const SimdKernels kernels;
const SimdKernels kernels = {radial, above, extrema};

}  // namespace peakrt::PEAKRT_ISA
