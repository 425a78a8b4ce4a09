// The candidate finder for a batch of frames, as the body of one thread of each kernel. nvcc makes kernels of these
// bodies (csrc/cuda/network.cu), the host compiler loops over them (csrc/cpu/device_twin.cpp) so that tests run them
// without a GPU. The formulas are those of the CPU's finder, from the same headers, and sums run in its order.
#pragma once
#include "peakrt/crowd.hpp"
#include "peakrt/device.hpp"
#include "peakrt/measurement.hpp"
#include "peakrt/statistics.hpp"

namespace peakrt {

constexpr int kSweepSs = 32, kSweepFs = 64;  // pixels that a block of the sweep searches
constexpr int kMostHidden = 128;             // width of a model's layers

// A rectangle of the sweep: its first pixel, within the ASIC.
struct SweepPlace {
  std::int32_t asic, ss, fs;
};

// The plan, the model's weights and the batch's arrays.
struct NetworkBatch {
#define FIELD(TYPE, NAME) TYPE NAME;
#include "peakrt/network_batch.def"
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
PEAKRT_HD inline void clear_body(const NetworkBatch& batch, int frame, int i) {
  batch.low[batch.bins(frame) + i] = -1e30f;
  batch.high[batch.bins(frame) + i] = 1e30f;
  batch.clear[batch.bins(frame) + i] = 0;
  if (i < 3) batch.crowd[3 * frame + i] = 0;
  if (i < 2) batch.noise[2 * frame + i] = Noise{};
  if (i == 0) batch.n_candidates[frame] = batch.n_sure[frame] = 0;
  if (i == 0 && !batch.again) batch.n_clear[frame] = 0;
  if (i == 0 && frame == 0) *batch.n_peaks = 0;
}

// 1. Sorts a sampled pixel to its bin: thread (frame, place in order). NaN where the order is padded.
template <class T>
PEAKRT_HD void collect_body(const NetworkBatch& batch, const T* frames, int frame, std::int64_t place) {
  const std::int32_t pixel = batch.order[place];
  const T* data = frames + frame * batch.shape.pixels();
  batch.values[frame * batch.n_order + place] = pixel < 0 ? NAN : static_cast<float>(data[pixel]);
}

// 2. Sums of a bin's values that are kept: thread (frame, group, lane); kPasses times, each followed by
PEAKRT_HD inline void sums_body(const NetworkBatch& batch, int frame, int group, int lane) {
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
PEAKRT_HD inline void level_body(const NetworkBatch& batch, int frame, int bin) {
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

// 4. Sums of pixels in a window: thread (frame, window).
template <class T>
PEAKRT_HD void window_body(const NetworkBatch& batch, const T* frames, int frame, int window) {
  const Window w = batch.windows[window];
  float* values = batch.noise_values + (std::int64_t(frame) * batch.n_windows + window) * 2 * kSums;
  window_sums(batch.view(frames, frame, w.asic), w, values, values + kSums);
}

// 5. Their clipped sums: thread (frame, window, 3 or 5); kNoisePasses times, each followed by
PEAKRT_HD inline void clip_noise_body(const NetworkBatch& batch, int frame, int window, int which) {
  const std::int64_t at = (std::int64_t(frame) * batch.n_windows + window) * 2 + which;
  NoiseSums sums;
  sums.add(batch.noise_values + at * kSums, batch.noise[2 * frame + which].sigma);
  batch.noise_sums[at] = sums;
}

// 6. the sigma of sums: thread (frame, 3 or 5).
PEAKRT_HD inline void refine_noise_body(const NetworkBatch& batch, int frame, int which) {
  NoiseSums sums;
  for (int window = 0; window < batch.n_windows; ++window)
    sums.add(batch.noise_sums[(std::int64_t(frame) * batch.n_windows + window) * 2 + which]);
  batch.noise[2 * frame + which].refine(sums, which ? kMostNoise5 : kMostNoise3);
}

PEAKRT_HD inline float noise_of(const NetworkBatch& batch, int frame, int which) {
  return batch.noise[2 * frame + which].settled();
}

// 7. The sum of a tile's clipped heights: thread (frame, tile). Columns first, as on the CPU.
template <class T>
PEAKRT_HD void tile_body(const NetworkBatch& batch, const T* frames, int frame, int tile) {
  const SweepPlace place = batch.tiles[tile];
  const SigmaView<T> view = batch.view(frames, frame, place.asic);
  const float limit = batch.clip().local;
  float columns[kTile];
  for (int j = 0; j < kTile; ++j) columns[j] = 0;
  for (int i = 0; i < kTile; ++i) {
    PEAKRT_UNROLL
    for (int j = 0; j < kTile; ++j) {
      float z = 0;
      const bool good = view.z(view.asic.min_ss + place.ss * kTile + i, view.asic.min_fs + place.fs * kTile + j, &z);
      columns[j] += good ? least(most(z, -limit), limit) : 0.f;
    }
  }
  float sum = 0;
  for (int j = 0; j < kTile; ++j) sum += columns[j];
  batch.tile_sum[std::int64_t(frame) * batch.n_tiles + tile] = sum;
}

PEAKRT_HD inline int tiles_along(int pixels) { return (pixels + kTile - 1) / kTile; }

// 8. The local mean of a tile: of the 3 x 3 tiles around it. Thread (frame, tile).
PEAKRT_HD inline void local_body(const NetworkBatch& batch, int frame, int tile) {
  const SweepPlace place = batch.tiles[tile];
  const Asic asic = batch.asics[place.asic];
  const int rows = tiles_along(asic.end_ss - asic.min_ss), columns = tiles_along(asic.end_fs - asic.min_fs);
  const float* sums = batch.tile_sum + std::int64_t(frame) * batch.n_tiles + batch.tile_first[place.asic];
  float sum = 0;
  for (int r = place.ss > 0 ? place.ss - 1 : 0; r <= place.ss + 1 && r < rows; ++r)
    for (int c = place.fs > 0 ? place.fs - 1 : 0; c <= place.fs + 1 && c < columns; ++c) sum += sums[r * columns + c];
  batch.tile_mean[std::int64_t(frame) * batch.n_tiles + tile] = sum * batch.tile_weight[tile];
}

// What the threads of a block of the sweep share: heights with a margin of three pixels, their sums along rows, merits.
struct SweepShared {
  static constexpr int kZ = 3, kSum = 1;  // margins
  static constexpr int kZSs = kSweepSs + 2 * kZ, kZFs = kSweepFs + 2 * kZ;
  static constexpr int kSumFs = kSweepFs + 2 * kSum, kMeritSs = kSweepSs + 2 * kSum;
  float z[kZSs][kZFs], three[kZSs][kSumFs], five[kZSs][kSumFs], merit[kMeritSs][kSumFs];
};
constexpr int kSweepPhases = 4;

PEAKRT_HD inline float local_mean(const NetworkBatch& batch, int frame, int asic, int ss, int fs) {
  const Asic& a = batch.asics[asic];
  const std::int64_t tile = batch.tile_first[asic] + ss / kTile * tiles_along(a.end_fs - a.min_fs) + fs / kTile;
  return batch.tile_mean[std::int64_t(frame) * batch.n_tiles + tile];
}

// Appends a candidate if it is significant.
template <class T>
PEAKRT_HD void list_candidate(const NetworkBatch& batch, const SigmaView<T>& view, int frame, const Candidate& c) {
  const int bin = batch.bin[batch.pixel(c)];
  // A maximum may fall on a bad pixel between good ones; it is not a place to look from.
  if (view.inverse[bin] <= 0) return;
  const float noise3 = noise_of(batch, frame, 0);
  if (!significant(c, view.photons[bin], noise3, noise_of(batch, frame, 1))) return;
  if (!batch.again && is_clear(c, view.photons[bin], noise3)) next(batch.n_clear + frame);
  const int k = next(batch.n_candidates + frame);
  if (k < batch.capacity) batch.candidates[batch.row(frame, k)] = c;
}

// 9. One phase of the search of a rectangle for candidates: thread of a block (frame, sweep); the threads of a block
// meet after each phase.
template <class T>
PEAKRT_HD void sweep_phase(const NetworkBatch& batch, const T* frames, int frame, int sweep, int phase, int thread,
                           int threads, SweepShared* s) {
  const SweepPlace place = batch.sweeps[sweep];
  const SigmaView<T> view = batch.view(frames, frame, place.asic);
  const int n_ss = view.asic.end_ss - view.asic.min_ss, n_fs = view.asic.end_fs - view.asic.min_fs;
  if (phase == 0) {
    for (int i = thread; i < s->kZSs * s->kZFs; i += threads) {
      const int r = i / s->kZFs, c = i % s->kZFs, ss = place.ss + r - s->kZ, fs = place.fs + c - s->kZ;
      float z = 0;
      const bool inside = ss >= 0 && fs >= 0 && ss < n_ss && fs < n_fs;
      const bool good = inside && view.z(view.asic.min_ss + ss, view.asic.min_fs + fs, &z);
      s->z[r][c] = good ? z - local_mean(batch, frame, place.asic, ss, fs) : 0.f;
    }
  } else if (phase == 1) {
    for (int i = thread; i < s->kZSs * s->kSumFs; i += threads) {
      const int r = i / s->kSumFs, c = i % s->kSumFs;
      const float* z = &s->z[r][c + s->kZ - s->kSum];
      const float t = z[-1] + z[0] + z[1];
      s->three[r][c] = t;
      s->five[r][c] = t + z[-2] + z[2];
    }
  } else if (phase == 2) {
    for (int i = thread; i < s->kMeritSs * s->kSumFs; i += threads) {
      const int r = i / s->kSumFs, c = i % s->kSumFs, ss = place.ss + r - s->kSum, fs = place.fs + c - s->kSum;
      const bool inside = ss >= 0 && fs >= 0 && ss < n_ss && fs < n_fs;
      const int at = r + s->kZ - s->kSum;
      const float a = (s->three[at - 1][c] + s->three[at][c] + s->three[at + 1][c]) * (1 / 3.f);
      const float b =
          (s->five[at - 2][c] + s->five[at - 1][c] + s->five[at][c] + s->five[at + 1][c] + s->five[at + 2][c]) *
          (1 / 5.f);
      s->merit[r][c] = inside ? a + .5f * s->z[at][c + s->kZ - s->kSum] + .5f * b : -INFINITY;
    }
  } else {
    const float level3 = kS3 * noise_of(batch, frame, 0), level5 = kS5 * noise_of(batch, frame, 1);
    for (int i = thread; i < kSweepSs * kSweepFs; i += threads) {
      const int r = i / kSweepFs + s->kSum, c = i % kSweepFs + s->kSum;
      const int ss = place.ss + r - s->kSum, fs = place.fs + c - s->kSum;
      if (ss >= n_ss || fs >= n_fs) continue;
      const float here = s->merit[r][c];
      bool highest = true;  // of equals the first in raster order
      PEAKRT_UNROLL
      for (int k = 0; k < 9; ++k) {
        if (k == 4) continue;
        const float there = s->merit[r + k / 3 - 1][c + k % 3 - 1];
        if (there > here || (k < 4 && there == here)) highest = false;
      }
      if (!highest) continue;
      const int at = r + s->kZ - s->kSum;
      const float z = s->z[at][c + s->kZ - s->kSum];
      const float a = (s->three[at - 1][c] + s->three[at][c] + s->three[at + 1][c]) * (1 / 3.f);
      const float b =
          (s->five[at - 2][c] + s->five[at - 1][c] + s->five[at][c] + s->five[at + 1][c] + s->five[at + 2][c]) *
          (1 / 5.f);
      if (!((a > level3) | (z > peakrt::kZ) | (b > level5))) continue;
      list_candidate(batch, view, frame,
                     {place.asic, view.asic.panel, view.asic.min_ss + ss, view.asic.min_fs + fs, z, a, b,
                      local_mean(batch, frame, place.asic, ss, fs)});
    }
  }
}

// 10. The numbers of a candidate alone: thread (frame, candidate).
template <class T>
PEAKRT_HD void describe_body(const NetworkBatch& batch, const T* frames, int frame, int k) {
  const Candidate c = batch.candidates[batch.row(frame, k)];
  describe(batch.view(frames, frame, c.asic), c.ss, c.fs, c.local, noise_of(batch, frame, 0), noise_of(batch, frame, 1),
           batch.radial != 0, batch.n_bins, batch.numbers + batch.row(frame, k) * kFeatures);
}

// 11. Its neighbours, and its part in the frame's sums: thread (frame, candidate).
PEAKRT_HD inline void crowd_body(const NetworkBatch& batch, int frame, int k) {
  const Candidate* list = batch.candidates + batch.row(frame, 0);
  float* all = batch.numbers + batch.row(frame, 0) * kFeatures;
  float* f = all + std::int64_t(k) * kFeatures;
  const Candidate c = list[k];
  const float strength = f[f_sum3_poisson];
  int neighbours = 0;
  float rival = 0, distance = 9;
  std::int64_t where = 0;
  for (int j = 0; j < batch.listed(frame); ++j) {
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
  f[f_neighbours] = float(neighbours);
  f[f_rival] = rival_number(rival, strength);
  f[f_rival_distance] = distance;
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

// 12. Sorts the frame's sharp peaks by rank: thread (frame, sharp peak).
PEAKRT_HD inline void rank_body(const NetworkBatch& batch, int frame, int k) {
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

// 13. The numbers that the frame gives each of its candidates: thread (frame, candidate).
PEAKRT_HD inline void frame_body(const NetworkBatch& batch, int frame, int k) {
  const std::int32_t* crowd = batch.crowd + 3 * frame;
  const CrowdNumbers numbers =
      crowd_numbers(batch.megapixels, batch.listed(frame), crowd[0], crowd[1], crowd[2],
                    batch.sorted_sharp + batch.row(frame, 0), batch.sorted_sec + batch.row(frame, 0));
  float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  const int bin = batch.bin[batch.pixel(batch.candidates[batch.row(frame, k)])];
  numbers.put(f, batch.clear + batch.bins(frame), batch.bin_pixels, batch.n_bins, bin);
}

// 14. The model: thread (frame, candidate). Layers as the model file has them (peakrt_lab/export.py).
PEAKRT_HD inline void score_body(const NetworkBatch& batch, int frame, int k) {
  const float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  float x[kFeatures], first[kMostHidden], second[kMostHidden];
  for (int i = 0; i < kFeatures; ++i) {
    const float size = logf(fabsf(f[i]) + 1), value = f[i] > 0 ? size : f[i] < 0 ? -size : 0;
    x[i] = least(most((value - batch.mean_of[i]) * batch.scale_of[i], -5.f), 5.f);
  }
  for (int o = 0; o < batch.n_hidden1; ++o) {
    float sum = batch.bias1[o];
    for (int i = 0; i < kFeatures; ++i) sum += batch.weight1[o * kFeatures + i] * x[i];
    first[o] = most(sum, 0.f);
  }
  for (int o = 0; o < batch.n_hidden2; ++o) {
    float sum = batch.bias2[o];
    for (int i = 0; i < batch.n_hidden1; ++i) sum += batch.weight2[o * batch.n_hidden1 + i] * first[i];
    second[o] = most(sum, 0.f);
  }
  float logit = batch.bias3[0];
  for (int i = 0; i < batch.n_hidden2; ++i) logit += batch.weight3[i] * second[i];
  logit = logit * batch.sharpness[0] + batch.sharpness[1];
  batch.scores[batch.row(frame, k)] = 1 / (1 + expf(-logit));
}

// 15. Counts pixels that stand alone: thread (frame, candidate). bad_pixels.py says why.
PEAKRT_HD inline void learn_body(const NetworkBatch& batch, int frame, int k) {
  const float* f = batch.numbers + batch.row(frame, k) * kFeatures;
  if (stands_alone(f)) next(batch.times_alone + batch.pixel(batch.candidates[batch.row(frame, k)]));
}

// 16. Marks those that did so often, and what is beside them: thread (frame, candidate).
PEAKRT_HD inline void mark_body(const NetworkBatch& batch, int frame, int k) {
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
PEAKRT_HD inline void age_body(const NetworkBatch& batch, std::int64_t pixel) { batch.times_alone[pixel] /= 2; }

PEAKRT_HD inline float final_score(const NetworkBatch& batch, int frame, int k) {
  const std::int64_t row = batch.row(frame, k);
  return batch.learn && batch.near_bad[batch.pixel(batch.candidates[row])] ? 0.f : batch.scores[row];
}

// 17. Counts what tells a hit from a blank: thread (frame, candidate).
PEAKRT_HD inline void sure_body(const NetworkBatch& batch, int frame, int k) {
  if (final_score(batch, frame, k) >= batch.min_score.usual) next(batch.n_sure + frame);
}

// 18. Keeps a candidate that is the best within kSuppress pixels: thread (frame, candidate).
PEAKRT_HD inline void suppress_body(const NetworkBatch& batch, int frame, int k) {
  const std::int64_t row = batch.row(frame, k);
  const Candidate c = batch.candidates[row];
  const float score = final_score(batch, frame, k);
  bool keep = score >= batch.min_score.of(batch.n_sure[frame]);
  for (int j = 0; keep && j < batch.listed(frame); ++j) {
    const Candidate o = batch.candidates[batch.row(frame, j)];
    if (j == k || o.asic != c.asic) continue;
    if (yields(c, score, o, final_score(batch, frame, j), batch.place(o) < batch.place(c))) keep = false;
  }
  batch.kept[row] = keep;
}

// 19. Measures a kept candidate: thread (frame, candidate).
template <class T>
PEAKRT_HD void measure_body(const NetworkBatch& batch, const T* frames, int frame, int k) {
  const std::int64_t row = batch.row(frame, k);
  if (!batch.kept[row]) return;
  const Candidate c = batch.candidates[row];
  Other others[kMostOthers];
  int n = 0;
  for (int j = 0; j < batch.listed(frame) && n < kMostOthers; ++j) {
    if (!batch.kept[batch.row(frame, j)] || j == k) continue;
    const Candidate o = batch.candidates[batch.row(frame, j)];
    const int ss = o.ss - c.ss, fs = o.fs - c.fs;
    if (o.asic != c.asic || ss < -kOtherReach || ss > kOtherReach || fs < -kOtherReach || fs > kOtherReach) continue;
    others[n++] = {std::int16_t(ss), std::int16_t(fs), batch.place(o) < batch.place(c)};
  }
  const int out = next(batch.n_peaks);
  if (out >= batch.peak_capacity) return;
  const SigmaView<T> view = batch.view(frames, frame, c.asic);
  Measurement<T> measurement(view, c, batch.gain[frame], noise_of(batch, frame, 0), others, n);
  batch.peaks[out] = measurement.measure(batch.scores[row]);
  batch.peak_frame[out] = frame;
  batch.peak_place[out] = batch.place(c);
}

}  // namespace peakrt
