// The proposer's inner loops, compiled once per instruction set like simd.cpp. Every sum is taken in one order,
// whatever the width of the vectors, so that all give the same bits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "simd.hpp"
#include "vectors.hpp"

namespace peakrt::PEAKRT_ISA {
namespace {

#define PEAKRT_NOINLINE __attribute__((noinline))
constexpr float kBad = -1e30f;  // a pixel that does not count, while it has no local mean yet

inline Vector all(float value) { return value - Vector{}; }

// Eight numbers, for sums in double precision.
typedef float Floats __attribute__((vector_size(32)));
typedef double Doubles __attribute__((vector_size(64)));
constexpr int kDoubles = 8;
inline Floats eight(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline Doubles doubles(const float* p) { return __builtin_convertvector(eight(p), Doubles); }

// A row in units of sigma.
template <class T>
void sigma_some(const T* __restrict row, const std::uint16_t* __restrict bin, const float* __restrict mean,
                const float* __restrict inverse, int n, float* __restrict z) {
  for (int i = 0; i < n; ++i) {
    const float scale = inverse[bin[i]], value = (static_cast<float>(row[i]) - mean[bin[i]]) * scale;
    z[i] = (scale > 0) & (value > -1e9f) & (value < 1e9f) ? value : kBad;
  }
}

// The same, where vectors can be shuffled by numbers: the bins of a vector of neighbours lie within two vectors of
// bins, since a radius grows by a pixel a pixel at most, and so their means are picked from registers, which takes a
// third of the time of picking them from memory. lowest: of each RadialBins::kStep pixels from the first on. False
// where bins lie farther apart, and z is to be made by sigma_some(): between ASICs that are not side by side.
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX2__)
template <class T>
bool sigma_of_vectors(const T* row, const std::uint16_t* bin, const std::uint16_t* lowest, int n_bins,
                      const float* mean, const float* inverse, int n, float* z) {
  static_assert(kWidth % RadialBins::kStep == 0, "a vector starts at a step");
  typedef T Pixels __attribute__((vector_size(sizeof(T) * kWidth)));
  typedef std::uint16_t Bins __attribute__((vector_size(2 * kWidth)));
  IntVector apart{};
  for (int i = 0; i < n; i += kWidth, lowest += kWidth / RadialBins::kStep) {
    Pixels pixels;
    Bins bins;
    std::memcpy(&pixels, row + i, sizeof pixels);
    std::memcpy(&bins, bin + i, sizeof bins);
    const int first = kWidth == RadialBins::kStep ? lowest[0] : std::min(lowest[0], lowest[1]);
    const IntVector of = __builtin_convertvector(bins, IntVector), at = of - first;
    const IntVector within = at < 2 * kWidth;
    apart |= ~within & (of != n_bins);
    const Vector m = __builtin_shuffle(load(mean + first), load(mean + first + kWidth), at);
    const Vector scale = __builtin_shuffle(load(inverse + first), load(inverse + first + kWidth), at);
    const Vector value = (__builtin_convertvector(pixels, Vector) - m) * scale;
    const IntVector good = within & (scale > 0) & (value > -1e9f) & (value < 1e9f);
    store(z + i, good ? value : all(kBad));
  }
  for (int k = 0; k < kWidth; ++k)
    if (apart[k]) return false;
  return true;
}
#else
template <class T>
bool sigma_of_vectors(const T*, const std::uint16_t*, const std::uint16_t*, int, const float*, const float*, int,
                      float*) {
  return false;
}
#endif

// Pixels from number "at" of the frame on.
template <class T>
PEAKRT_NOINLINE void sigma_row(const T* frame, const RadialPlan& plan, std::int64_t at, const float* mean,
                               const float* inverse, int n, float* z) {
  const int step = RadialBins::kStep, before = std::min<int>(n, int((step - at % step) % step));
  const int whole = (n - before) / kWidth * kWidth, end = before + whole;
  const T* row = frame + at;
  const std::uint16_t* bin = plan.bin.data() + at;
  sigma_some(row, bin, mean, inverse, before, z);
  if (!sigma_of_vectors(row + before, bin + before, plan.shared->lowest.data() + (at + before) / step, plan.n_bins,
                        mean, inverse, whole, z + before))
    sigma_some(row + before, bin + before, mean, inverse, whole, z + before);
  sigma_some(row + end, bin + end, mean, inverse, n - end, z + end);
}

PEAKRT_NOINLINE void add_clipped(const float* __restrict z, int n, float most, float* __restrict columns) {
  for (int i = 0; i < n; ++i) {
    const float low = z[i] > -most ? z[i] : -most, clipped = low < most ? low : most;
    columns[i] += z[i] > kBad / 2 ? clipped : 0.f;
  }
}

PEAKRT_NOINLINE void subtract_local(const float* __restrict local, int n, float* __restrict z) {
  for (int i = 0; i < n; ++i) z[i] = z[i] > kBad / 2 ? z[i] - local[i] : 0.f;
}

struct Levels {
  float s3, z, s5;
};

// Sums of a row over three and five columns, and the row itself.
struct RowSums {
  Vector three, five, z;

  // z: has two numbers before and behind
  static RowSums of(const float* z) {
    const Vector here = load(z), t = load(z - 1) + here + load(z + 1);
    return {t, t + load(z - 2) + load(z + 2), here};
  }
};

// S3 and S5 in the middle of five rows.
inline void sum_rows(const RowSums (&r)[5], Vector* s3, Vector* s5) {
  *s3 = (r[1].three + r[2].three + r[3].three) * (1 / 3.f);
  *s5 = (r[0].five + r[1].five + r[2].five + r[3].five + r[4].five) * (1 / 5.f);
}

// Rows of one ASIC in rings, each row with a margin of zeros.
class Sweep {
 public:
  Sweep(const ProposePlan& plan, int number, ProposeWorkspace& ws)
      : plan_(plan),
        ws_(ws),
        number_(number),
        asic_(plan.bins.asics[number]),
        n_ss_(asic_.end_ss - asic_.min_ss),
        n_fs_(asic_.end_fs - asic_.min_fs),
        tile_rows_((n_ss_ + kTile - 1) / kTile),
        tile_columns_((n_fs_ + kTile - 1) / kTile),
        width_(n_fs_ + kSweepMargin * 2),
        level_{kS3 * ws.noise3, kZ, kS5 * ws.noise5} {
    std::fill(ws.rows.begin(), ws.rows.begin() + std::size_t(kSweepRows) * width_, 0.f);
    std::memset(ws.flags.data(), 0, ws.flags.size());
  }

  template <class T>
  void run(const T* frame) {
    for (int tile = 0; tile <= tile_rows_; ++tile) {
      if (tile < tile_rows_) load_tile_row(tile, frame);
      if (tile > 0) finish_tile_row(tile - 1);
    }
  }

 private:
  // Rings in one array: z (32 rows), column sums of tiles (4), local means (4), merit (16).
  float* ring(int first, int rows, int k) {
    return ws_.rows.data() + std::size_t(first + (k & (rows - 1))) * width_ + kSweepMargin;
  }
  float* z(int ss) { return ring(0, 32, ss); }
  float* columns(int tile) { return ring(32, 4, tile); }
  float* local(int tile) { return ring(36, 4, tile); }
  float* merit(int ss) { return ring(40, 16, ss); }
  std::uint8_t* flag(int ss) {
    return ws_.flags.data() + std::size_t(ss & (kSweepFlags - 1)) * ((n_fs_ + 63) / 64 * 64);
  }

  template <class T>
  void load_tile_row(int tile, const T* frame) {
    float* sums = columns(tile);
    std::fill(sums, sums + n_fs_, 0.f);
    for (int ss = tile * kTile; ss < std::min(n_ss_, (tile + 1) * kTile); ++ss) {
      const std::int64_t at =
          (std::int64_t(asic_.panel) * plan_.bins.shape.ss + asic_.min_ss + ss) * plan_.bins.shape.fs + asic_.min_fs;
      sigma_row(frame, plan_.bins, at, ws_.mean.data(), ws_.inverse.data(), n_fs_, z(ss));
      add_clipped(z(ss), n_fs_, ws_.clip.local, sums);
    }
    // From columns to tiles, in place: the sum of a tile at its first column.
    for (int t = 0; t < tile_columns_; ++t) {
      float sum = 0;
      for (int i = t * kTile; i < std::min(n_fs_, (t + 1) * kTile); ++i) sum += sums[i];
      sums[t] = sum;
    }
  }

  // The local mean is known once the next row of tiles is: subtract it; gate the rows whose neighbours are known, two
  // fewer, and search those of them whose neighbours are gated.
  void finish_tile_row(int tile) {
    float* mean = local(tile);
    const float* weight = plan_.tile_weight.data() + plan_.tile_first[number_] + std::int64_t(tile) * tile_columns_;
    for (int t = 0; t < tile_columns_; ++t) {
      float sum = 0;
      for (int r = std::max(0, tile - 1); r <= std::min(tile_rows_ - 1, tile + 1); ++r)
        for (int c = std::max(0, t - 1); c <= std::min(tile_columns_ - 1, t + 1); ++c) sum += columns(r)[c];
      const float value = sum * weight[t];
      for (int i = t * kTile; i < std::min(n_fs_, (t + 1) * kTile); ++i) mean[i] = value;
    }
    const int end = std::min(n_ss_, (tile + 1) * kTile);
    for (int ss = tile * kTile; ss < end; ++ss) subtract_local(mean, n_fs_, z(ss));
    const bool last = tile == tile_rows_ - 1;
    for (int k = 0; last && k < 2; ++k) std::fill(z(end + k), z(end + k) + n_fs_, 0.f);
    const int gated = last ? end : end - 2;
    gate(gated_, gated);
    const int searched = last ? gated : gated - 1;
    for (; searched_ < searched; ++searched_) search(searched_);
    gated_ = gated;
  }

  // Merits and flags of some rows, down the columns: a row's sums stay in registers for the five rows that need them.
  PEAKRT_NOINLINE void gate(int first, int end) {
    constexpr int kMost = kTile + 2;  // rows
    const float* rows[kMost + 4];
    for (int ss = first - 2; ss < end + 2; ++ss) rows[ss - first + 2] = z(ss);
    typedef signed char Bytes __attribute__((vector_size(kWidth)));
    for (int fs = 0; fs < n_fs_; fs += kWidth) {
      RowSums last[5];
      for (int k = 0; k < 4; ++k) last[k + 1] = RowSums::of(rows[k] + fs);
      for (int ss = first; ss < end; ++ss) {
        for (int k = 0; k < 4; ++k) last[k] = last[k + 1];
        last[4] = RowSums::of(rows[ss - first + 4] + fs);
        Vector s3, s5;
        sum_rows(last, &s3, &s5);
        const Vector here = last[2].z;
        store(merit(ss) + fs, s3 + .5f * here + .5f * s5);
        const Bytes passes =
            __builtin_convertvector((s3 > level_.s3) | (here > level_.z) | (s5 > level_.s5), Bytes) & 1;
        std::memcpy(flag(ss) + fs, &passes, sizeof passes);
      }
    }
  }

  void search(int ss) {
    const std::uint8_t* flags = flag(ss);
    for (int first = 0; first < n_fs_; first += 8) {
      std::uint64_t eight;
      std::memcpy(&eight, flags + first, 8);
      for (; eight; eight &= eight - 1) {
        const int fs = first + __builtin_ctzll(eight) / 8;
        if (fs < n_fs_ && is_maximum(ss, fs)) add(ss, fs);
      }
    }
  }

  // Of equals the first in raster order.
  bool is_maximum(int ss, int fs) {
    const float here = merit(ss)[fs];
    for (int i = -1; i <= 1; ++i) {
      if (ss + i < 0 || ss + i >= n_ss_) continue;
      const float* row = merit(ss + i);
      for (int j = -1; j <= 1; ++j) {
        if ((i == 0 && j == 0) || fs + j < 0 || fs + j >= n_fs_) continue;
        const bool before = i < 0 || (i == 0 && j < 0);
        if (row[fs + j] > here || (before && row[fs + j] == here)) return false;
      }
    }
    return true;
  }

  void add(int ss, int fs) {
    // A maximum may fall on a bad pixel between good ones; it is not a place to look from.
    const std::int64_t at =
        (std::int64_t(asic_.panel) * plan_.bins.shape.ss + asic_.min_ss + ss) * plan_.bins.shape.fs + asic_.min_fs + fs;
    if (ws_.inverse[plan_.bins.bin[at]] <= 0) return;
    float three[5], five[5];
    for (int k = 0; k < 5; ++k) {
      const float* row = z(ss + k - 2) + fs;
      three[k] = row[-1] + row[0] + row[1];
      five[k] = three[k] + row[-2] + row[2];
    }
    const float s3 = (three[1] + three[2] + three[3]) * (1 / 3.f);
    const float s5 = (five[0] + five[1] + five[2] + five[3] + five[4]) * (1 / 5.f);
    ws_.candidates.push_back(
        {number_, asic_.panel, asic_.min_ss + ss, asic_.min_fs + fs, z(ss)[fs], s3, s5, local(ss / kTile)[fs]});
  }

  const ProposePlan& plan_;
  ProposeWorkspace& ws_;
  const int number_;
  const Asic asic_;
  const int n_ss_, n_fs_, tile_rows_, tile_columns_, width_;
  const Levels level_;
  int gated_ = 0, searched_ = 0;  // rows that are
};

// window_sums() of statistics.hpp, for a window that lies on the ASIC: the same sums in the same order.
template <class T>
void window(const ProposePlan& plan, const T* frame, const Window& window, const ProposeWorkspace& ws, float* three,
            float* five, int stride) {
  const Asic& asic = plan.bins.asics[window.asic];
  const std::int64_t first =
      (std::int64_t(asic.panel) * plan.bins.shape.ss + asic.min_ss + window.ss) * plan.bins.shape.fs + asic.min_fs +
      window.fs;
  float z[kWindow][kWindow], sums[kWindow] = {}, counts[kWindow] = {}, sum = 0, n = 0;
  for (int i = 0; i < kWindow; ++i) {
    sigma_row(frame, plan.bins, first + i * std::int64_t(plan.bins.shape.fs), ws.mean.data(), ws.inverse.data(),
              kWindow, z[i]);
    for (int j = 0; j < kWindow; ++j) {
      const bool good = z[i][j] > kBad / 2;
      sums[j] += good ? least(most(z[i][j], -4.f), 4.f) : 0.f;
      counts[j] += good ? 1.f : 0.f;
    }
  }
  for (int j = 0; j < kWindow; ++j) {
    sum += sums[j];
    n += counts[j];
  }
  const float mean = sum / n;
  for (int i = 0; i < kWindow; ++i)
    for (int j = 0; j < kWindow; ++j) z[i][j] = z[i][j] > kBad / 2 ? z[i][j] - mean : 0.f;
  for (int i = 2, k = 0; i < kWindow - 2; i += 2) {
    // Of every column, and taken from every other: vectors of neighbours are cheap.
    float t[kWindow - 4] = {}, f[kWindow - 4] = {};
    for (int a = -2; a <= 2; ++a)
      for (int b = -2; b <= 2; ++b)
        for (int j = 0; j < kWindow - 4; ++j) {
          f[j] += z[i + a][j + 2 + b];
          if (a >= -1 && a <= 1 && b >= -1 && b <= 1) t[j] += z[i + a][j + 2 + b];
        }
    for (int j = 0; j < kWindow - 4; j += 2, ++k) {
      three[k * stride] = n > 0 ? t[j] / 3 : std::numeric_limits<float>::quiet_NaN();
      five[k * stride] = n > 0 ? f[j] / 5 : std::numeric_limits<float>::quiet_NaN();
    }
  }
}

}  // namespace

void collect(const RadialPlan& plan, Dtype dtype, const void* frame, float* values) {
  with_dtype(dtype, frame, [&](const auto* data) {
    const std::int64_t n = std::int64_t(plan.order.size());
    for (std::int64_t i = 0; i < n; ++i)
      values[i] = plan.order[i] < 0 ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(data[plan.order[i]]);
  });
}

void clip_sums(const RadialPlan& plan, const float* values, const float* low, const float* high, float* count,
               float* sum, float* squares) {
  constexpr int kVectors = kLanes / kWidth;
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const float* group = values + plan.groups[g].first;
    Vector n[kVectors] = {}, s[kVectors] = {}, q[kVectors] = {}, lowest[kVectors], highest[kVectors];
    for (int k = 0; k < kVectors; ++k) {
      lowest[k] = load(low + g * kLanes + k * kWidth);
      highest[k] = load(high + g * kLanes + k * kWidth);
    }
    for (std::int64_t row = 0; row < plan.groups[g].deep; ++row)
      for (int k = 0; k < kVectors; ++k) {
        const Vector v = load(group + row * kLanes + k * kWidth);
        const IntVector keep = (v >= lowest[k]) & (v <= highest[k]);
        const Vector kept = keep ? v : Vector{};
        n[k] += keep ? all(1) : Vector{};
        s[k] += kept;
        q[k] += kept * kept;
      }
    for (int k = 0; k < kVectors; ++k) {
      store(count + g * kLanes + k * kWidth, n[k]);
      store(sum + g * kLanes + k * kWidth, s[k]);
      store(squares + g * kLanes + k * kWidth, q[k]);
    }
  }
}

void windows(const ProposePlan& plan, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  const int stride = noise_stride(plan);
  ws.noise_values.assign(std::size_t(2 * kSums) * stride, std::numeric_limits<float>::quiet_NaN());
  with_dtype(dtype, frame, [&](const auto* data) {
    float* values = ws.noise_values.data();
    for (const Window& each : plan.windows) {
      window(plan, data, each, ws, values, values + kSums * stride, stride);
      ++values;
    }
  });
}

void noise_sums(const float* values, int n_windows, int stride, float sigma, NoiseSums* total) {
  const float limit = 4 * sigma;
  for (int first = 0; first < n_windows; first += kDoubles) {
    Doubles n{}, s{}, q{};
    for (int k = 0; k < kSums; ++k) {
      const Floats value = eight(values + k * stride + first), none{};
      const auto keep = (value < limit) & (value > -limit);
      const Doubles kept = __builtin_convertvector(keep ? value : none, Doubles);
      n += __builtin_convertvector(keep ? none + 1 : none, Doubles);
      s += kept;
      q += kept * kept;
    }
    for (int w = 0; w < std::min(kDoubles, n_windows - first); ++w) total->add(NoiseSums{n[w], s[w], q[w]});
  }
}

void pool_bins(const ProposePlan& plan, float gain, ProposeWorkspace& ws) {
  const int bins = plan.bins.n_bins;
  const float *count = ws.count.data(), *sum = ws.sum.data(), *squares = ws.squares.data();
  for (int first = 0; first < bins; first += kDoubles) {
    Doubles n, s, q;
    const int size = std::min(kDoubles, bins - first);
    if (first < kPoolReach || first + kDoubles + kPoolReach > bins) {  // bins are missing on a side
      for (int k = 0; k < kDoubles; ++k) {
        double of[3];
        pool(count, sum, squares, bins, std::min(first + k, bins - 1), plan.radial, of, of + 1, of + 2);
        n[k] = of[0];
        s[k] = of[1];
        q[k] = of[2];
      }
    } else {
      n = doubles(count + first);
      s = doubles(sum + first);
      q = doubles(squares + first);
      for (int reach = 1; plan.radial && reach <= kPoolReach; ++reach) {
        const auto more = n < (reach == 1 ? std::numeric_limits<double>::infinity() : double(kPool));
        bool any = false;
        for (int k = 0; k < kDoubles; ++k) any |= more[k] != 0;
        if (!any) break;
        const int below = first - reach, above = first + reach;
        n = more ? n + doubles(count + below) + doubles(count + above) : n;
        s = more ? s + doubles(sum + below) + doubles(sum + above) : s;
        q = more ? q + doubles(squares + below) + doubles(squares + above) : q;
      }
    }
    const Doubles mean = s / n, variance = q / n - mean * mean, least = variance > 0 ? variance : Doubles{};
    double root[kDoubles];
    std::memcpy(root, &least, sizeof root);
    for (double& each : root) each = std::sqrt(each);
    for (int k = 0; k < size; ++k) {
      const BinLevel level = bin_level(n[k], mean[k], root[k], gain, ws.clip);
      ws.low[first + k] = level.low;
      ws.high[first + k] = level.high;
      ws.mean[first + k] = level.mean;
      ws.inverse[first + k] = level.inverse;
      ws.photons[first + k] = level.photons;
    }
  }
}

void sweep(const ProposePlan& plan, int asic, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  with_dtype(dtype, frame, [&](const auto* data) { Sweep(plan, asic, ws).run(data); });
}

}  // namespace peakrt::PEAKRT_ISA
