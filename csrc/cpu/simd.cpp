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

#include "vectors.hpp"

namespace peakrt::PEAKRT_ISA {
namespace {

// kVectors go side by side, so that their chains of additions overlap.
constexpr int kVectors = 2, kSpan = kVectors * kWidth;

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
        if (!plan.samples_per_bin) found += emit(values + first, order + first, group.deep, high, foreground + found);
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

std::size_t above(const Peakfinder8Plan& plan, Dtype dtype, const void* frame, const float* threshold,
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

// One search serves maxima and minima: for minima every comparison is turned round.
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

// Inlined, these lose their __restrict and with it their vectors.
#define PEAKRT_NOINLINE __attribute__((noinline))

template <bool kMax, class T>
PEAKRT_NOINLINE void fill_row(const T* __restrict row, const std::uint8_t* __restrict good, int n, T* __restrict fill) {
  for (int i = 0; i < n; ++i) fill[i] = good[i] ? row[i] : neutral<kMax, T>();
}

template <bool kMax, class T>
PEAKRT_NOINLINE void pairwise(const T* __restrict a, const T* __restrict b, int n, T* __restrict best) {
  for (int i = 0; i < n; ++i) best[i] = better<kMax>(a[i], b[i]);
}

template <bool kMax, class T>
PEAKRT_NOINLINE void accumulate(const T* __restrict a, int n, T* __restrict best) {
  for (int i = 0; i < n; ++i) best[i] = better<kMax>(best[i], a[i]);
}

// candidate[i]: good, beats its next neighbour (whether or not that is good), beaten by none in its window.
template <bool kMax, class T>
PEAKRT_NOINLINE void find_candidates(const T* __restrict row, const T* __restrict next, const T* __restrict best,
                                     const std::uint8_t* __restrict good, int n, std::uint8_t* __restrict candidate) {
  for (int i = 0; i < n; ++i)
    candidate[i] =
        std::uint8_t(good[i] != 0) & std::uint8_t(beats<kMax>(row[i], next[i])) & std::uint8_t(row[i] == best[i]);
}

// Of equal extrema within reach of one another in a column the first stands; stands: its row.
PEAKRT_NOINLINE void keep_first(const std::uint8_t* __restrict candidate, int ss, int rank, int n, std::uint8_t bit,
                                std::int32_t* __restrict stands, std::uint8_t* __restrict out) {
  for (int i = 0; i < n; ++i) {
    const bool found = candidate[i] & (ss - stands[i] > rank);
    out[i] |= found ? bit : 0;
    stands[i] = found ? ss : stands[i];
  }
}

template <class T>
PEAKRT_NOINLINE void mark_equal(const T* __restrict row, const T* __restrict best, int n, std::uint8_t bit,
                                std::uint8_t* __restrict out) {
  for (int i = 0; i < n; ++i) out[i] |= row[i] == best[i] ? bit : 0;
}

template <bool kMax, class T>
class ExtremaSearch {
 public:
  ExtremaSearch(const T* data, const std::uint8_t* mask, int n_ss, int n_fs, int rank, std::uint8_t* bits)
      : data_(data),
        mask_(mask),
        n_ss_(n_ss),
        n_fs_(n_fs),
        rank_(rank),
        bits_(bits),
        width_(n_fs + 2 * rank),
        filled_(std::size_t(2 * rank + 2) * width_, neutral<kMax, T>()),
        work_(width_),
        more_(width_),
        row_best_(std::size_t(2 * rank + 2) * n_fs),
        best_(n_fs),
        candidate_(n_fs + 8),
        stands_(n_fs, -rank - 1) {}

  void run() {
    for (int ss = 0; ss < n_ss_ + rank_; ++ss) {
      if (ss < n_ss_) search_row(ss);
      if (ss >= rank_) search_column(ss - rank_);
    }
  }

 private:
  const T* row(int ss) const { return data_ + std::int64_t(ss) * n_fs_; }
  // The rows in reach, masked pixels replaced, padded by rank: a ring of 2 * rank + 2.
  T* filled(int ss) { return filled_.data() + std::size_t(ss % (2 * rank_ + 2)) * width_; }

  T* row_best(int ss) { return row_best_.data() + std::size_t(ss % (2 * rank_ + 2)) * n_fs_; }

  // best[i] = the best of padded[i .. i + 2 * rank], by doubling the window.
  void row_window(const T* padded, T* best) {
    const int window = 2 * rank_ + 1;
    const T* from = padded;
    T *to = work_.data(), *other = more_.data();
    int covered = 1;
    for (; 2 * covered <= window; covered *= 2) {
      pairwise<kMax>(from, from + covered, width_ - 2 * covered + 1, to);
      from = to;
      std::swap(to, other);
    }
    pairwise<kMax>(from, from + window - covered, n_fs_, best);
  }

  void search_row(int ss) {
    const std::uint8_t* good = mask_ + std::int64_t(ss) * n_fs_;
    T* fill = filled(ss);
    fill_row<kMax>(row(ss), good, n_fs_, fill + rank_);
    const T* best = row_best(ss);
    row_window(fill, row_best(ss));
    find_candidates<kMax>(row(ss), row(ss) + 1, best, good, n_fs_ - 1, candidate_.data());
    candidate_[n_fs_ - 1] = good[n_fs_ - 1] && row(ss)[n_fs_ - 1] == best[n_fs_ - 1];
    // Of equal extrema within reach of one another in a row the first stands.
    std::uint8_t* out = bits_ + std::int64_t(ss) * n_fs_;
    int stands = -rank_ - 1;
    for (int fs = 0; fs < n_fs_; fs += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, candidate_.data() + fs, 8);
      for (; eight; eight &= eight - 1) {
        const int at = fs + __builtin_ctzll(eight) / 8;
        if (at - stands <= rank_) continue;
        out[at] |= kMax ? kRowMax : kRowMin;
        stands = at;
      }
    }
  }

  void search_column(int ss) {
    const int from = std::max(0, ss - rank_), to = std::min(n_ss_ - 1, ss + rank_);
    if (kMax) {
      std::copy_n(row_best(from), n_fs_, best_.data());
      for (int other = from + 1; other <= to; ++other) accumulate<kMax>(row_best(other), n_fs_, best_.data());
      mark_equal(row(ss), best_.data(), n_fs_, kSquareMax, bits_ + std::int64_t(ss) * n_fs_);
    }
    std::copy_n(filled(from) + rank_, n_fs_, best_.data());
    for (int other = from + 1; other <= to; ++other) accumulate<kMax>(filled(other) + rank_, n_fs_, best_.data());
    const std::uint8_t* good = mask_ + std::int64_t(ss) * n_fs_;
    if (ss + 1 < n_ss_)
      find_candidates<kMax>(row(ss), row(ss + 1), best_.data(), good, n_fs_, candidate_.data());
    else  // nothing below to beat
      for (int i = 0; i < n_fs_; ++i) candidate_[i] = good[i] && row(ss)[i] == best_[i];
    keep_first(candidate_.data(), ss, rank_, n_fs_, kMax ? kColMax : kColMin, stands_.data(),
               bits_ + std::int64_t(ss) * n_fs_);
  }

  const T* data_;
  const std::uint8_t* mask_;
  const int n_ss_, n_fs_, rank_;
  std::uint8_t* bits_;
  const int width_;
  std::vector<T> filled_, work_, more_, row_best_, best_;
  std::vector<std::uint8_t> candidate_;
  std::vector<std::int32_t> stands_;
};

void extrema(Dtype dtype, const void* panel, const std::uint8_t* mask, int n_ss, int n_fs, int rank,
             std::uint8_t* bits) {
  with_dtype(dtype, panel, [&](const auto* data) {
    std::memset(bits, 0, std::size_t(n_ss) * n_fs);
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    ExtremaSearch<true, T>(data, mask, n_ss, n_fs, rank, bits).run();
    ExtremaSearch<false, T>(data, mask, n_ss, n_fs, rank, bits).run();
  });
}

}  // namespace

// In simd_propose.cpp.
void collect(const RadialPlan&, Dtype, const void*, float*);
void clip_sums(const RadialPlan&, const float*, const float*, const float*, float*, float*, float*);
void noise_sums(const float*, int, int, float, NoiseSums*);
void pool_bins(const ProposePlan&, float, ProposeWorkspace&);
void windows(const ProposePlan&, Dtype, const void*, ProposeWorkspace&);
void sweep(const ProposePlan&, int, Dtype, const void*, ProposeWorkspace&);

extern const SimdKernels kernels;
const SimdKernels kernels = {radial, above, extrema, collect, clip_sums, windows, noise_sums, pool_bins, sweep};

}  // namespace peakrt::PEAKRT_ISA
