// The candidate finder for a batch of frames, as the body of one thread, or of one team of threads, of each kernel.
// nvcc makes kernels of these bodies (csrc/cuda/proposer.cu), the host compiler loops over them
// (csrc/cpu/device_twin.cpp) so that tests run them without a GPU. The formulas are those of the CPU's finder, from the
// same headers, and sums run in its order.
#pragma once
#include "peakrt/crowd.hpp"
#include "peakrt/device.hpp"
#include "peakrt/frame_network.hpp"
#include "peakrt/measurement.hpp"
#include "peakrt/statistics.hpp"
#include "peakrt/team.hpp"

namespace peakrt {

constexpr int kTeamThreads = 128;  // threads of a block of teams

constexpr int kSweepSs = 32, kSweepFs = 64;  // pixels that a block of the sweep searches
constexpr int kMostHidden = 128;             // width of a model's layers

// A rectangle of the sweep: its first pixel, within the ASIC.
struct SweepPlace {
  std::int32_t asic, ss, fs;
};

// The plan, the model's weights and the batch's arrays.
struct ProposerBatch {
#define FIELD(TYPE, NAME) TYPE NAME;
#include "peakrt/proposer_batch.def"
#undef FIELD

  PEAKRT_HD std::int64_t bins(int frame) const { return std::int64_t(frame) * (n_bins_padded + 1); }
  PEAKRT_HD std::int64_t row(int frame, int k) const { return std::int64_t(frame) * capacity + k; }
  PEAKRT_HD int listed(int frame) const { return n_candidates[frame] < capacity ? n_candidates[frame] : capacity; }
  PEAKRT_HD bool skips(int frame) const { return again && !is_crowded(n_clear[frame], megapixels); }
  PEAKRT_HD Clip clip() const { return again ? tight_clip() : usual_clip(); }
  PEAKRT_HD std::int64_t pixel(const Candidate& c) const {
    return (std::int64_t(c.panel) * shape.ss + c.ss) * shape.fs + c.fs;
  }
  // Raster order by ASIC: the order of the CPU's lists.
  PEAKRT_HD std::int64_t place(const Candidate& c) const { return c.asic * shape.pixels() + pixel(c); }
  template <class T>
  PEAKRT_HD SigmaView<T> view(const T* frames, int frame, int asic) const {
    return {frames + frame * shape.pixels(), bin,   mean + bins(frame), inverse + bins(frame),
            photons + bins(frame),           shape, asics[asic]};
  }
};

// 0. An empty batch: thread (frame, i), i up to n_bins_padded. Kernels 0 and 2 to 9 are launched once more for frames
// that the first search finds crowded.
PEAKRT_HD inline void clear_body(const ProposerBatch& batch, int frame, int i) {
  batch.low[batch.bins(frame) + i] = -1e30f;
  batch.high[batch.bins(frame) + i] = 1e30f;
  batch.clear[batch.bins(frame) + i] = 0;
  if (i < 3) batch.crowd[3 * frame + i] = 0;
  if (i < kFrameCounts) batch.frame_counts[frame * kFrameCounts + i] = 0;
  if (i < 2) batch.noise[2 * frame + i] = Noise{};
  if (i == 0) batch.n_candidates[frame] = batch.n_sure[frame] = 0;
  if (i == 0 && !batch.again) batch.n_clear[frame] = 0;
  if (i == 0 && frame == 0) *batch.n_peaks = 0;
}

// 1. Sorts a sampled pixel to its bin: thread (frame, place in order). NaN where the order is padded.
template <class T>
PEAKRT_HD void collect_body(const ProposerBatch& batch, const T* frames, int frame, std::int64_t place) {
  const std::int32_t pixel = batch.order[place];
  const T* data = frames + frame * batch.shape.pixels();
  batch.values[frame * batch.n_order + place] = pixel < 0 ? NAN : static_cast<float>(data[pixel]);
}

// 2. Sums of a bin's values that are kept: thread (frame, group, lane); kPasses times, each followed by
PEAKRT_HD inline void sums_body(const ProposerBatch& batch, int frame, int group, int lane) {
  const float* values = batch.values + frame * batch.n_order + batch.group_first[group] + lane;
  const std::int64_t at = batch.bins(frame) + group * kDeviceLanes + lane;
  const float low = batch.low[at], high = batch.high[at];
  float n = 0, s = 0, q = 0;
  PEAKRT_UNROLL
  for (int row = 0; row < batch.group_deep[group]; ++row) {
    const float v = values[row * kDeviceLanes];
    const bool keep = (v >= low) & (v <= high);
    const float kept = keep ? v : 0.f;
    n += keep ? 1.f : 0.f;
    s += kept;
    q += kept * kept;
  }
  batch.count[at] = n;
  batch.sum[at] = s;
  batch.squares[at] = q;
}

// 3. mean and sigma of a bin and its neighbours: thread (frame, bin), bin up to n_bins, which is the masked pixels'.
PEAKRT_HD inline void level_body(const ProposerBatch& batch, int frame, int bin) {
  const std::int64_t first = batch.bins(frame), at = first + bin;
  if (bin == batch.n_bins) {
    batch.mean[at] = batch.inverse[at] = 0;
    batch.photons[at] = 1;
    return;
  }
  const BinLevel level = pool_bin(batch.count + first, batch.sum + first, batch.squares + first, batch.n_bins, bin,
                                  batch.radial != 0, batch.gain[frame], batch.clip());
  batch.low[at] = level.low;
  batch.high[at] = level.high;
  batch.mean[at] = level.mean;
  batch.inverse[at] = level.inverse;
  batch.photons[at] = level.photons;
}

// 4. Sums of pixels in a window: team (frame, window).
template <class T, class Members>
PEAKRT_HD void window_body(const ProposerBatch& batch, const T* frames, int frame, int window, Members team,
                           WindowShared* shared) {
  const Window w = batch.windows[window];
  float* values = batch.noise_values + std::int64_t(frame) * batch.n_windows * 2 * kSums + window;
  window_sums(team, shared, batch.view(frames, frame, w.asic), w, values, values + kSums * batch.n_windows,
              batch.n_windows);
}

// What the threads that refine the noise of sums share.
struct NoiseShared {
  NoiseSums of_window[kWindows];
  Noise noise;
};

// 5. The sigma of sums, clipped in kNoisePasses: team (frame, 3 or 5).
template <class Members>
PEAKRT_HD void noise_body(const ProposerBatch& batch, int frame, int which, Members team, NoiseShared* shared) {
  const float* values = batch.noise_values + (std::int64_t(frame) * 2 + which) * kSums * batch.n_windows;
  if (team.rank() == 0) shared->noise = Noise{};
  team.meet();
  for (int pass = 0; pass < kNoisePasses; ++pass) {
    for (int window = team.rank(); window < batch.n_windows; window += team.size) {
      NoiseSums sums{0, 0, 0};
      for (int k = 0; k < kSums; ++k) sums.add(values[k * batch.n_windows + window], shared->noise.sigma);
      shared->of_window[window] = sums;
    }
    team.meet();
    if (team.rank() == 0) {
      NoiseSums sums{0, 0, 0};
      for (int window = 0; window < batch.n_windows; ++window) sums.add(shared->of_window[window]);
      shared->noise.refine(sums, which ? kMostNoise5 : kMostNoise3);
    }
    team.meet();
  }
  if (team.rank() == 0) batch.noise[2 * frame + which] = shared->noise;
}

PEAKRT_HD inline float noise_of(const ProposerBatch& batch, int frame, int which) {
  return batch.noise[2 * frame + which].settled();
}

// 6. The sum of a tile's clipped heights: team (frame, tile). Columns first, as on the CPU.
struct TileShared {
  float columns[kTile];
};
template <class T, class Members>
PEAKRT_HD void tile_body(const ProposerBatch& batch, const T* frames, int frame, int tile, Members team,
                         TileShared* shared) {
  const SweepPlace place = batch.tiles[tile];
  const SigmaView<T> view = batch.view(frames, frame, place.asic);
  const float limit = batch.clip().local;
  const int first_ss = view.asic.min_ss + place.ss * kTile, first_fs = view.asic.min_fs + place.fs * kTile;
  const std::int64_t first = view.index(first_ss, first_fs);
  for (int j = team.rank(); j < kTile; j += team.size) {
    float column = 0;
    PEAKRT_UNROLL
    for (int i = 0; i < kTile; ++i) {
      float z = 0;
      const bool inside = first_ss + i < view.asic.end_ss && first_fs + j < view.asic.end_fs;
      const bool good = inside && view.z(first + i * view.shape.fs + j, &z);
      column += good ? least(most(z, -limit), limit) : 0.f;
    }
    shared->columns[j] = column;
  }
  team.meet();
  if (team.rank() != 0) return;
  float sum = 0;
  for (int j = 0; j < kTile; ++j) sum += shared->columns[j];
  batch.tile_sum[std::int64_t(frame) * batch.n_tiles + tile] = sum;
}

PEAKRT_HD inline int tiles_along(int pixels) { return (pixels + kTile - 1) / kTile; }

// 7. The local mean of a tile: of the 3 x 3 tiles around it. Thread (frame, tile).
PEAKRT_HD inline void local_body(const ProposerBatch& batch, int frame, int tile) {
  const SweepPlace place = batch.tiles[tile];
  const Asic asic = batch.asics[place.asic];
  const int rows = tiles_along(asic.end_ss - asic.min_ss), columns = tiles_along(asic.end_fs - asic.min_fs);
  const float* sums = batch.tile_sum + std::int64_t(frame) * batch.n_tiles + batch.tile_first[place.asic];
  float sum = 0;
  for (int r = place.ss > 0 ? place.ss - 1 : 0; r <= place.ss + 1 && r < rows; ++r)
    for (int c = place.fs > 0 ? place.fs - 1 : 0; c <= place.fs + 1 && c < columns; ++c) sum += sums[r * columns + c];
  batch.tile_mean[std::int64_t(frame) * batch.n_tiles + tile] = sum * batch.tile_weight[tile];
}

// What the threads of a block of the sweep share: the tiles' means, heights with a margin of three pixels, merits with
// one.
struct SweepShared {
  static constexpr int kZ = 3, kMerit = 1;  // margins
  static constexpr int kZSs = kSweepSs + 2 * kZ, kZFs = kSweepFs + 2 * kZ;
  static constexpr int kMeritSs = kSweepSs + 2 * kMerit, kMeritFs = kSweepFs + 2 * kMerit;
  static constexpr int kTilesSs = kSweepSs / kTile + 2, kTilesFs = kSweepFs / kTile + 2;
  float local[kTilesSs][kTilesFs], z[kZSs][kZFs], merit[kMeritSs][kMeritFs];

  // A pixel of the rectangle: its height, sums over 3 x 3 and 5 x 5 pixels in units of their sigma, and merit.
  struct Sums {
    float z, s3, s5;
    PEAKRT_HD float merit() const { return s3 + .5f * z + .5f * s5; }
  };
  // Heights of a row summed over three and five columns.
  struct Row {
    float three, five, z;
  };
  PEAKRT_HD Row row(int ss, int fs) const {
    const float* at = &z[ss + kZ][fs + kZ];
    const float three = at[-1] + at[0] + at[1];
    return {three, three + at[-2] + at[2], at[0]};
  }
  PEAKRT_HD static Sums sums(const Row (&r)[5]) {
    return {r[2].z, (r[1].three + r[2].three + r[3].three) * (1 / 3.f),
            (r[0].five + r[1].five + r[2].five + r[3].five + r[4].five) * (1 / 5.f)};
  }
  PEAKRT_HD Sums sums(int ss, int fs) const {
    const Row rows[5] = {row(ss - 2, fs), row(ss - 1, fs), row(ss, fs), row(ss + 1, fs), row(ss + 2, fs)};
    return sums(rows);
  }
  // Whether a pixel is the highest of its nine, of equals the first in raster order.
  PEAKRT_HD bool highest(int ss, int fs) const {
    const float here = merit[ss + kMerit][fs + kMerit];
    for (int k = 0; k < 9; ++k) {
      const float there = merit[ss + kMerit + k / 3 - 1][fs + kMerit + k % 3 - 1];
      if (k != 4 && (there > here || (k < 4 && there == here))) return false;
    }
    return true;
  }
};
static_assert(kSweepSs % kTile == 0 && kSweepFs % kTile == 0, "a rectangle of the sweep is made of whole tiles");

// Appends a candidate if it is significant.
template <class T>
PEAKRT_HD void list_candidate(const ProposerBatch& batch, const SigmaView<T>& view, int frame, const Candidate& c) {
  const int bin = batch.bin[batch.pixel(c)];
  // A maximum may fall on a bad pixel between good ones; it is not a place to look from.
  if (view.inverse[bin] <= 0) return;
  const float noise3 = noise_of(batch, frame, 0);
  if (!significant(c, view.photons[bin], noise3, noise_of(batch, frame, 1))) return;
  if (!batch.again && is_clear(c, view.photons[bin], noise3)) next(batch.n_clear + frame);
  const int k = next(batch.n_candidates + frame);
  if (k < batch.capacity) batch.candidates[batch.row(frame, k)] = c;
}

// 8. The search of a rectangle for candidates: team (frame, sweep). A thread goes down a part of a column, and keeps
// the sums along the last five rows.
template <class T, class Members>
PEAKRT_HD void sweep_body(const ProposerBatch& batch, const T* frames, int frame, int sweep, Members team,
                          SweepShared* s) {
  constexpr int kParts = 2, kPart = SweepShared::kMeritSs / kParts;
  static_assert(SweepShared::kMeritSs % kParts == 0 && kPart <= 32, "a part's rows are bits of a number");
  const SweepPlace place = batch.sweeps[sweep];
  const SigmaView<T> view = batch.view(frames, frame, place.asic);
  const int n_ss = view.asic.end_ss - view.asic.min_ss, n_fs = view.asic.end_fs - view.asic.min_fs;
  const int rows = tiles_along(n_ss), columns = tiles_along(n_fs);
  const float* means = batch.tile_mean + std::int64_t(frame) * batch.n_tiles + batch.tile_first[place.asic];
  for (int i = team.rank(); i < s->kTilesSs * s->kTilesFs; i += team.size) {
    const int r = place.ss / kTile + i / s->kTilesFs - 1, c = place.fs / kTile + i % s->kTilesFs - 1;
    s->local[i / s->kTilesFs][i % s->kTilesFs] =
        r >= 0 && r < rows && c >= 0 && c < columns ? means[r * columns + c] : 0;
  }
  team.meet();
  const std::int64_t corner = view.index(view.asic.min_ss + place.ss - s->kZ, view.asic.min_fs + place.fs - s->kZ);
  for (int i = team.rank(); i < s->kZSs * s->kZFs; i += team.size) {
    const int r = i / s->kZFs, c = i % s->kZFs, ss = place.ss + r - s->kZ, fs = place.fs + c - s->kZ;
    float z = 0;
    const bool inside = unsigned(ss) < unsigned(n_ss) && unsigned(fs) < unsigned(n_fs);
    const bool good = inside && view.z(corner + r * view.shape.fs + c, &z);
    s->z[r][c] = good ? z - s->local[(r - s->kZ + kTile) / kTile][(c - s->kZ + kTile) / kTile] : 0.f;
  }
  team.meet();
  const auto inside = [&](int ss, int fs) {
    return unsigned(place.ss + ss) < unsigned(n_ss) && unsigned(place.fs + fs) < unsigned(n_fs);
  };
  // The margin's two columns, pixel by pixel
  for (int i = team.rank(); i < 2 * s->kMeritSs; i += team.size) {
    const int ss = i / 2 - s->kMerit, fs = i % 2 ? kSweepFs : -s->kMerit;
    s->merit[ss + s->kMerit][fs + s->kMerit] = inside(ss, fs) ? s->sums(ss, fs).merit() : -INFINITY;
  }
  const float level3 = kS3 * noise_of(batch, frame, 0), level5 = kS5 * noise_of(batch, frame, 1);
  // On the host a thread has many parts: it marks them all before it lists.
  constexpr int kOfThread = (kParts * kSweepFs + Members::size - 1) / Members::size;
  std::uint32_t marked[kOfThread] = {};
  for (int of_thread = 0; of_thread < kOfThread; ++of_thread) {
    const int part = of_thread * team.size + team.rank();
    if (part >= kParts * kSweepFs) break;
    const int fs = part % kSweepFs, first = part / kSweepFs * kPart - s->kMerit;
    SweepShared::Row last[5] = {
        {}, s->row(first - 2, fs), s->row(first - 1, fs), s->row(first, fs), s->row(first + 1, fs)};
    PEAKRT_UNROLL
    for (int k = 0; k < kPart; ++k) {
      const int ss = first + k;
      for (int r = 0; r < 4; ++r) last[r] = last[r + 1];
      last[4] = s->row(ss + 2, fs);
      const SweepShared::Sums sums = s->sums(last);
      const bool searched = ss >= 0 && ss < kSweepSs;
      s->merit[ss + s->kMerit][fs + s->kMerit] = inside(ss, fs) ? sums.merit() : -INFINITY;
      if (searched && inside(ss, fs) && ((sums.s3 > level3) | (sums.z > peakrt::kZ) | (sums.s5 > level5)))
        marked[of_thread] |= 1u << k;
    }
  }
  team.meet();
  for (int of_thread = 0; of_thread < kOfThread; ++of_thread) {
    const int part = of_thread * team.size + team.rank();
    const int fs = part % kSweepFs, first = part / kSweepFs * kPart - s->kMerit;
    for (int k = 0; marked[of_thread]; ++k, marked[of_thread] >>= 1) {
      const int ss = first + k;
      if (!(marked[of_thread] & 1) || !s->highest(ss, fs)) continue;
      const SweepShared::Sums sums = s->sums(ss, fs);
      list_candidate(batch, view, frame,
                     {place.asic, view.asic.panel, view.asic.min_ss + place.ss + ss, view.asic.min_fs + place.fs + fs,
                      sums.z, sums.s3, sums.s5, s->local[ss / kTile + 1][fs / kTile + 1]});
    }
  }
}

// 9. The numbers of a candidate alone: team (frame, candidate).
template <class T, class Members>
PEAKRT_HD void describe_body(const ProposerBatch& batch, const T* frames, int frame, int k, Members team,
                             Patch* patch) {
  const Candidate c = batch.candidates[batch.row(frame, k)];
  const SigmaView<T> view = batch.view(frames, frame, c.asic);
  describe(team, patch, view, c.ss, c.fs, c.local, noise_of(batch, frame, 0), noise_of(batch, frame, 1),
           batch.radial != 0, batch.n_bins, batch.numbers + batch.row(frame, k) * kFeatures);
}

// 10. Its neighbours, and its part in the frame's sums: team (frame, candidate).
template <class Members>
PEAKRT_HD void crowd_body(const ProposerBatch& batch, int frame, int k, Members team) {
  const Candidate* list = batch.candidates + batch.row(frame, 0);
  float* all = batch.numbers + batch.row(frame, 0) * kFeatures;
  float* f = all + std::int64_t(k) * kFeatures;
  const Candidate c = list[k];
  const float strength = f[f_sum3_poisson];
  int neighbours = 0;
  float rival = 0, distance = 9;
  std::int64_t where = 0;
  for (int j = team.rank(); j < batch.listed(frame); j += team.size) {
    const Candidate o = list[j];
    const int ss = c.ss - o.ss, fs = c.fs - o.fs, d2 = ss * ss + fs * fs;
    if (j == k || o.asic != c.asic || d2 > kNear * kNear) continue;
    ++neighbours;
    const float other = all[std::int64_t(j) * kFeatures + f_sum3_poisson];
    if (d2 > kRivalReach * kRivalReach || !(other > strength)) continue;
    if (other > rival || (other == rival && batch.place(o) < where)) {
      rival = other;
      distance = sqrtf(float(d2));
      where = batch.place(o);
    }
  }
  neighbours = team.total(neighbours);
  const float strongest = team.highest(rival);
  constexpr std::int64_t kNowhere = std::int64_t(1) << 62;
  const std::int64_t first = team.lowest(strongest > 0 && rival == strongest ? where : kNowhere);
  if (strongest > 0 ? rival == strongest && where == first : team.rank() == 0) {
    f[f_rival] = rival_number(strongest, strength);
    f[f_rival_distance] = distance;
  }
  if (team.rank() != 0) return;
  f[f_neighbours] = float(neighbours);
  std::int32_t* crowd = batch.crowd + 3 * frame;
  if (strength > kOfBin) next(batch.clear + batch.bins(frame) + batch.bin[batch.pixel(c)]);
  if (strength > kStrong) next(crowd);
  if (!tells_sharpness(f)) return;
  if (!is_sharp(f)) {
    next(crowd + 2);
    return;
  }
  const int at = next(crowd + 1);
  batch.sharpness_of[batch.row(frame, at)] = f[f_height_of_sum3];
  batch.second_of[batch.row(frame, at)] = f[f_second_of_height];
}

// 11. Sorts the frame's sharp peaks by rank: thread (frame, sharp peak).
PEAKRT_HD inline void rank_body(const ProposerBatch& batch, int frame, int k) {
  const int n = batch.crowd[3 * frame + 1];
  const float *sharpness = batch.sharpness_of + batch.row(frame, 0), *second = batch.second_of + batch.row(frame, 0);
  int before = 0, before2 = 0;
  for (int j = 0; j < n; ++j) {
    before += sharpness[j] < sharpness[k] || (sharpness[j] == sharpness[k] && j < k);
    before2 += second[j] < second[k] || (second[j] == second[k] && j < k);
  }
  batch.sorted_sharp[batch.row(frame, before)] = sharpness[k];
  batch.sorted_sec[batch.row(frame, before2)] = second[k];
}

// 12. The numbers that the frame gives each of its candidates: thread (frame, candidate).
PEAKRT_HD inline void frame_body(const ProposerBatch& batch, int frame, int k) {
  const std::int32_t* crowd = batch.crowd + 3 * frame;
  const CrowdNumbers numbers =
      crowd_numbers(batch.megapixels, batch.listed(frame), crowd[0], crowd[1], crowd[2],
                    batch.sorted_sharp + batch.row(frame, 0), batch.sorted_sec + batch.row(frame, 0));
  float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  const int bin = batch.bin[batch.pixel(batch.candidates[batch.row(frame, k)])];
  numbers.put(f, batch.clear + batch.bins(frame), batch.bin_pixels, batch.n_bins, bin);
}

// 13. The model: team (frame, candidate). Layers as the model file has them (peakrt_lab/export.py), but for the weights
// of the hidden layers, which lie input by input, so that threads side by side read numbers side by side.
struct ScoreShared {
  float x[kFeatures], first[kMostHidden], second[kMostHidden];
};
template <class Members>
PEAKRT_HD void score_body(const ProposerBatch& batch, int frame, int k, Members team, ScoreShared* s) {
  const float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  for (int i = team.rank(); i < kFeatures; i += team.size) {
    const float size = logf(fabsf(f[i]) + 1), value = f[i] > 0 ? size : f[i] < 0 ? -size : 0;
    s->x[i] = least(most((value - batch.mean_of[i]) * batch.scale_of[i], -5.f), 5.f);
  }
  team.meet();
  for (int o = team.rank(); o < batch.n_hidden1; o += team.size) {
    float sum = batch.bias1[o];
    PEAKRT_UNROLL_SOME
    for (int i = 0; i < kFeatures; ++i) sum += batch.weight1[i * batch.n_hidden1 + o] * s->x[i];
    s->first[o] = most(sum, 0.f);
  }
  team.meet();
  for (int o = team.rank(); o < batch.n_hidden2; o += team.size) {
    float sum = batch.bias2[o];
    PEAKRT_UNROLL_SOME
    for (int i = 0; i < batch.n_hidden1; ++i) sum += batch.weight2[i * batch.n_hidden2 + o] * s->first[i];
    s->second[o] = most(sum, 0.f);
  }
  team.meet();
  if (team.rank() != 0) return;
  float logit = batch.bias3[0];
  for (int i = 0; i < batch.n_hidden2; ++i) logit += batch.weight3[i] * s->second[i];
  logit = logit * batch.sharpness[0] + batch.sharpness[1];
  batch.scores[batch.row(frame, k)] = 1 / (1 + expf(-logit));
}

// 14. Counts pixels that stand alone: thread (frame, candidate). bad_pixels.py says why.
PEAKRT_HD inline void learn_body(const ProposerBatch& batch, int frame, int k) {
  const float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  if (stands_alone(f)) next(batch.times_alone + batch.pixel(batch.candidates[batch.row(frame, k)]));
}

// 15. Marks those that did so often, and what is beside them: thread (frame, candidate).
PEAKRT_HD inline void mark_body(const ProposerBatch& batch, int frame, int k) {
  const float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  const Candidate c = batch.candidates[batch.row(frame, k)];
  const std::int64_t pixel = batch.pixel(c);
  if (!stands_alone(f) || !is_often(batch.times_alone[pixel], batch.frames_seen)) return;
  batch.bad[pixel] = 1;
  for (int i = -1; i <= 1; ++i)
    for (int j = -1; j <= 1; ++j)
      if (c.ss + i >= 0 && c.ss + i < batch.shape.ss && c.fs + j >= 0 && c.fs + j < batch.shape.fs)
        batch.near_bad[pixel + std::int64_t(i) * batch.shape.fs + j] = 1;
}

// Halves the counts once in a long while: what matters is recent. Thread (pixel), for the whole batch.
PEAKRT_HD inline void age_body(const ProposerBatch& batch, std::int64_t pixel) { batch.times_alone[pixel] /= 2; }

PEAKRT_HD inline float final_score(const ProposerBatch& batch, int frame, int k) {
  const std::int64_t row = batch.row(frame, k);
  return batch.learn && batch.near_bad[batch.pixel(batch.candidates[row])] ? 0.f : batch.scores[row];
}

// 16. Counts the candidates of a frame by score and sharpness: thread (frame, candidate). Kernels 16 and 17 are left
// out where the model has no second network.
PEAKRT_HD inline void count_body(const ProposerBatch& batch, int frame, int k) {
  const float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  count_candidate(final_score(batch, frame, k), f, batch.frame_counts + frame * kFrameCounts);
}

// 17. Weighs a candidate's score by its frame: thread (frame, candidate).
PEAKRT_HD inline void weigh_body(const ProposerBatch& batch, int frame, int k) {
  const std::int64_t row = batch.row(frame, k);
  batch.scores[row] = weigh(final_score(batch, frame, k), batch.numbers + row * kFeatures,
                            batch.frame_counts + frame * kFrameCounts, batch.frame_weights);
}

// 18. Counts what tells a hit from a blank: thread (frame, candidate).
PEAKRT_HD inline void sure_body(const ProposerBatch& batch, int frame, int k) {
  if (final_score(batch, frame, k) >= batch.min_score.usual) next(batch.n_sure + frame);
}

// 19. Keeps a candidate that is the best within kSuppress pixels: team (frame, candidate).
template <class Members>
PEAKRT_HD void suppress_body(const ProposerBatch& batch, int frame, int k, Members team) {
  const std::int64_t row = batch.row(frame, k);
  const Candidate c = batch.candidates[row];
  const float score = final_score(batch, frame, k);
  int better = 0;
  if (score >= batch.min_score.of(batch.n_sure[frame]))
    for (int j = team.rank(); j < batch.listed(frame); j += team.size) {
      const Candidate o = batch.candidates[batch.row(frame, j)];
      if (j == k || o.asic != c.asic) continue;
      better |= yields(c, score, o, final_score(batch, frame, j), batch.place(o) < batch.place(c));
    }
  else
    better = 1;
  better = team.highest(better);
  if (team.rank() == 0) batch.kept[row] = !better;
}

// 20. Measures a kept candidate: team (frame, candidate).
struct PeakShared {
  MeasureShared measure;
  Other others[kMostOthers];
  std::int32_t n_others;
};
template <class T, class Members>
PEAKRT_HD void measure_body(const ProposerBatch& batch, const T* frames, int frame, int k, Members team,
                            PeakShared* s) {
  const std::int64_t row = batch.row(frame, k);
  if (!batch.kept[row]) return;
  const Candidate c = batch.candidates[row];
  if (team.rank() == 0) s->n_others = 0;
  team.meet();
  for (int j = team.rank(); j < batch.listed(frame); j += team.size) {
    if (!batch.kept[batch.row(frame, j)] || j == k) continue;
    const Candidate o = batch.candidates[batch.row(frame, j)];
    const int ss = o.ss - c.ss, fs = o.fs - c.fs;
    if (o.asic != c.asic || ss < -kOtherReach || ss > kOtherReach || fs < -kOtherReach || fs > kOtherReach) continue;
    const int n = next(&s->n_others);
    if (n < kMostOthers) s->others[n] = {std::int16_t(ss), std::int16_t(fs), batch.place(o) < batch.place(c)};
  }
  team.meet();
  const SigmaView<T> view = batch.view(frames, frame, c.asic);
  Measurement<T, Members> measurement(team, &s->measure, view, c, batch.gain[frame], noise_of(batch, frame, 0),
                                      s->others, s->n_others < kMostOthers ? s->n_others : kMostOthers);
  const Peak peak = measurement.measure(batch.scores[row]);
  if (team.rank() != 0) return;
  const int out = next(batch.n_peaks);
  if (out >= batch.peak_capacity) return;
  batch.peaks[out] = peak;
  batch.peak_frame[out] = frame;
  batch.peak_place[out] = batch.place(c);
}

}  // namespace peakrt
