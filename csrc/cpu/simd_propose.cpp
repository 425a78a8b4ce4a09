// The proposer's inner loops, compiled once per instruction set like simd.cpp. Every sum is taken in one order,
// whatever the width of the vectors, so that all give the same bits.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "simd.hpp"

namespace peakrt::PEAKRT_ISA {
namespace {

#define PEAKRT_NOINLINE __attribute__((noinline))
constexpr float kBad = -1e30f;  // a pixel that does not count, while it has no local mean yet

template <class T>
PEAKRT_NOINLINE void sigma_row(const T* __restrict row, const std::uint16_t* __restrict bin,
                               const float* __restrict mean, const float* __restrict inverse, int n,
                               float* __restrict z) {
  for (int i = 0; i < n; ++i) {
    const float scale = inverse[bin[i]], value = (static_cast<float>(row[i]) - mean[bin[i]]) * scale;
    z[i] = (scale > 0) & (value > -1e9f) & (value < 1e9f) ? value : kBad;
  }
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

// Sums of 3 and of 5 pixels along the row; z has two zeros before and after.
PEAKRT_NOINLINE void row_sums(const float* __restrict z, int n, float* __restrict three, float* __restrict five) {
  for (int i = 0; i < n; ++i) {
    const float t = z[i - 1] + z[i] + z[i + 1];
    three[i] = t;
    five[i] = t + z[i - 2] + z[i + 2];
  }
}

struct Levels {
  float s3, z, s5;
};

PEAKRT_NOINLINE void gate_row(const float* __restrict z, const float* const* three, const float* const* five, int n,
                              Levels level, float* __restrict s3, float* __restrict s5, float* __restrict merit,
                              std::uint8_t* __restrict flag) {
  const float* __restrict t0 = three[0], * __restrict t1 = three[1], * __restrict t2 = three[2];
  const float* __restrict f0 = five[0], * __restrict f1 = five[1], * __restrict f2 = five[2], * __restrict f3 = five[3], * __restrict f4 = five[4];
  for (int i = 0; i < n; ++i) {
    const float a = (t0[i] + t1[i] + t2[i]) * (1 / 3.f), b = (f0[i] + f1[i] + f2[i] + f3[i] + f4[i]) * (1 / 5.f);
    s3[i] = a;
    s5[i] = b;
    merit[i] = a + .5f * z[i] + .5f * b;
    flag[i] = std::uint8_t((a > level.s3) | (z[i] > level.z) | (b > level.s5));
  }
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
    for (int k = 0; k < 3; ++k) advance(n_ss_ + k);  // empty rows below push the last ones through
  }

 private:
  // Rings in one array: z (32 rows), column sums of tiles (4), local means (4), sums of 3 and 5 along rows (8 each),
  // S3, S5 and merit (4 each).
  float* ring(int first, int rows, int k) {
    return ws_.rows.data() + std::size_t(first + (k & (rows - 1))) * width_ + kSweepMargin;
  }
  float* z(int ss) { return ring(0, 32, ss); }
  float* columns(int tile) { return ring(32, 4, tile); }
  float* local(int tile) { return ring(36, 4, tile); }
  float* three(int ss) { return ring(40, 8, ss); }
  float* five(int ss) { return ring(48, 8, ss); }
  float* s3(int ss) { return ring(56, 4, ss); }
  float* s5(int ss) { return ring(60, 4, ss); }
  float* merit(int ss) { return ring(64, 4, ss); }
  std::uint8_t* flag(int ss) { return ws_.flags.data() + std::size_t(ss & 3) * ((n_fs_ + 63) / 64 * 64); }

  template <class T>
  void load_tile_row(int tile, const T* frame) {
    float* sums = columns(tile);
    std::fill(sums, sums + n_fs_, 0.f);
    for (int ss = tile * kTile; ss < std::min(n_ss_, (tile + 1) * kTile); ++ss) {
      const std::int64_t at =
          (std::int64_t(asic_.panel) * plan_.bins.shape.ss + asic_.min_ss + ss) * plan_.bins.shape.fs + asic_.min_fs;
      sigma_row(frame + at, plan_.bins.bin.data() + at, ws_.mean.data(), ws_.inverse.data(), n_fs_, z(ss));
      add_clipped(z(ss), n_fs_, ws_.clip.local, sums);
    }
    // From columns to tiles, in place: the sum of a tile at its first column.
    for (int t = 0; t < tile_columns_; ++t) {
      float sum = 0;
      for (int i = t * kTile; i < std::min(n_fs_, (t + 1) * kTile); ++i) sum += sums[i];
      sums[t] = sum;
    }
  }

  // The local mean is known once the next row of tiles is: subtract it, and gate what can be.
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
    for (int ss = tile * kTile; ss < std::min(n_ss_, (tile + 1) * kTile); ++ss) {
      subtract_local(mean, n_fs_, z(ss));
      advance(ss);
    }
  }

  // Row ss is known: its sums; then row ss - 2 can be gated, and row ss - 3 searched for maxima.
  void advance(int ss) {
    if (ss < n_ss_) {
      row_sums(z(ss), n_fs_, three(ss), five(ss));
    } else {
      std::fill(three(ss), three(ss) + n_fs_, 0.f);
      std::fill(five(ss), five(ss) + n_fs_, 0.f);
    }
    const int gated = ss - 2;
    if (gated >= 0 && gated < n_ss_) {
      const float* threes[3] = {three(gated - 1), three(gated), three(gated + 1)};
      const float* fives[5] = {five(gated - 2), five(gated - 1), five(gated), five(gated + 1), five(gated + 2)};
      gate_row(z(gated), threes, fives, n_fs_, level_, s3(gated), s5(gated), merit(gated), flag(gated));
    } else if (gated == n_ss_) {
      std::fill(merit(gated), merit(gated) + n_fs_, -std::numeric_limits<float>::infinity());
    }
    if (ss >= 3) search(ss - 3);
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
    ws_.candidates.push_back({number_, asic_.panel, asic_.min_ss + ss, asic_.min_fs + fs, z(ss)[fs], s3(ss)[fs],
                              s5(ss)[fs], local(ss / kTile)[fs]});
  }

  const ProposePlan& plan_;
  ProposeWorkspace& ws_;
  const int number_;
  const Asic asic_;
  const int n_ss_, n_fs_, tile_rows_, tile_columns_, width_;
  const Levels level_;
};

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
  for (std::size_t g = 0; g < plan.groups.size(); ++g) {
    const float* __restrict group = values + plan.groups[g].first;
    float n[kLanes] = {}, s[kLanes] = {}, q[kLanes] = {};
    const float* __restrict lo = low + g * kLanes, * __restrict hi = high + g * kLanes;
    for (std::int64_t row = 0; row < plan.groups[g].deep; ++row)
      for (int lane = 0; lane < kLanes; ++lane) {
        const float v = group[row * kLanes + lane];
        const bool keep = (v >= lo[lane]) & (v <= hi[lane]);
        const float kept = keep ? v : 0.f;
        n[lane] += keep ? 1.f : 0.f;
        s[lane] += kept;
        q[lane] += kept * kept;
      }
    std::copy(n, n + kLanes, count + g * kLanes);
    std::copy(s, s + kLanes, sum + g * kLanes);
    std::copy(q, q + kLanes, squares + g * kLanes);
  }
}

void sweep(const ProposePlan& plan, int asic, Dtype dtype, const void* frame, ProposeWorkspace& ws) {
  with_dtype(dtype, frame, [&](const auto* data) { Sweep(plan, asic, ws).run(data); });
}

}  // namespace peakrt::PEAKRT_ISA
