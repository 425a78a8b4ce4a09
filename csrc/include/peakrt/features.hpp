// The input of the candidate model: numbers about the pixels around it. Written once for every device.
// (A network that sees the 13 x 13 pixels as well was no better in its own simulation and worse in another one.)
#pragma once
#include <cmath>
#include <cstdint>

#include "peakrt/team.hpp"

namespace peakrt {

constexpr int kReach = 6, kPatch = 2 * kReach + 1;  // pixels around a candidate that are looked at

// The numbers, in order. Ratios and significances, so that they mean the same on every detector.
// clang-format off
#define PEAKRT_FEATURES(X)                                                                                           \
  X(height) X(sum3) X(sum3_poisson) X(sum3_snr) X(sum5) X(sum5_snr) X(height_poisson) X(height_snr)                   \
  X(height_of_sum3) X(sum3_of_sum5) X(second_of_height) X(edge_of_height) X(corner_of_height)                         \
  X(major) X(minor) X(roundness) X(bright5) X(bright11) X(highest_outside)                                            \
  X(ring_mean) X(ring_sigma) X(local_mean) X(masked5) X(masked13) X(background) X(noise3)                             \
  X(tangential) X(radial) X(row) X(column) X(photons) X(sum3_ring_poisson) X(sum3_ring_snr)                           \
  X(around3_poisson) X(second_poisson) X(edge_poisson) X(around5_poisson) X(corner_poisson) X(around3_snr)            \
  X(noise5_of_noise3) X(sum5_of_noise5)                                                                               \
  X(frame_density) X(bin_density) X(candidate_density) X(neighbours) X(rival) X(rival_distance)                       \
  X(sharp_density) X(spike_density) X(sharpness25) X(sharpness50) X(sharpness75) X(second50)
// clang-format on
enum Feature : int {
#define PEAKRT_ENUM(name) f_##name,
  PEAKRT_FEATURES(PEAKRT_ENUM)
#undef PEAKRT_ENUM
      kFeatures
};
constexpr int kOwnFeatures = f_frame_density;  // those of the candidate alone come first

// Signed square root of the Poisson deviance of an excess of u photons over b expected (McCullagh & Nelder 1989).
PEAKRT_HD inline float deviance(float u, float b) {
  if (b < 1e-3f) b = 1e-3f;
  const float n = u + b > 0 ? u + b : 0;
  const float d = (n > 0 ? n * logf(n / b) : 0.f) - u;
  const float root = sqrtf(d > 0 ? 2 * d : 0.f);
  return u > 0 ? root : -root;
}

PEAKRT_HD inline float photon_snr(float u, float b) { return u > 0 ? u / sqrtf(u + b + .5f) : 0.f; }

// Whether a peak is clear, by its significance over the noise of 3 x 3 pixels and by its photons: textured noise may
// have the one, never the other.
PEAKRT_HD inline bool is_clear(float significance, float snr) { return significance > 7 && snr > 5; }

PEAKRT_HD inline float least(float a, float b) { return a < b ? a : b; }
PEAKRT_HD inline float most(float a, float b) { return a > b ? a : b; }

// One ASIC of a frame in units of sigma.
template <class T>
struct SigmaView {
  const T* frame;
  const std::uint16_t* bin;
  const float *mean, *inverse, *photons;  // by bin; inverse 0: no statistics, a bad pixel
  Shape shape;
  Asic asic;

  PEAKRT_HD bool inside(int ss, int fs) const {
    return ss >= asic.min_ss && ss < asic.end_ss && fs >= asic.min_fs && fs < asic.end_fs;
  }
  PEAKRT_HD std::int64_t index(int ss, int fs) const {
    return (std::int64_t(asic.panel) * shape.ss + ss) * shape.fs + fs;
  }
  // False for pixels that are masked, not a number, or off the ASIC.
  PEAKRT_HD bool z(int ss, int fs, float* value) const { return inside(ss, fs) && z(index(ss, fs), value); }
  PEAKRT_HD bool z(std::int64_t i, float* value) const {
    const float scale = inverse[bin[i]];
    *value = (static_cast<float>(frame[i]) - mean[bin[i]]) * scale;
    return scale > 0 && *value > -1e9f && *value < 1e9f;
  }
  PEAKRT_HD int bin_at(int ss, int fs) const { return bin[index(ss, fs)]; }
};

// The sums over the pixels around a candidate.
// clang-format off
#define PEAKRT_PATCH_SUMS(X)                                                                                      \
  X(ring) X(ring2) X(n_ring) X(along) X(n_along) X(across) X(n_across) X(row) X(n_row) X(column) X(n_column)       \
  X(sum3) X(n3) X(sum5) X(n5) X(edge) X(n_edge) X(corner) X(n_corner) X(weight) X(w_ss) X(w_fs) X(bright5)         \
  X(bright11) X(bad5) X(bad13)
// clang-format on
enum PatchSum : int {
#define PEAKRT_ENUM(name) s_##name,
  PEAKRT_PATCH_SUMS(PEAKRT_ENUM)
#undef PEAKRT_ENUM
      kPatchSums
};

// The pixels around a candidate, above the local mean; 0 where they are not good. What a team that describes it shares.
struct Patch {
  float v[kPatch][kPatch], rows[(kPatch + 1) * kPatchSums], outside[kPatch], second[kPatch];
  bool good[kPatch][kPatch];
};

// own: the first kOwnFeatures numbers. local: mean of z around; radial: whether bins are radii.
template <class T, class Members>
PEAKRT_HD inline void describe(Members team, Patch* patch, const SigmaView<T>& view, int ss, int fs, float local,
                               float noise3, float noise5, bool radial, int n_bins, float* own) {
  auto& v = patch->v;
  auto& good = patch->good;
  for (int k = team.rank(); k < kPatch * kPatch; k += team.size) {
    const int i = k / kPatch, j = k % kPatch;
    float value = 0;
    good[i][j] = view.z(ss + i - kReach, fs + j - kReach, &value);
    v[i][j] = good[i][j] ? value - local : 0;
  }
  team.meet();
  const float background = view.photons[view.bin_at(ss, fs)], root = sqrtf(background);
  // Direction along which the radius grows, from the bins a few pixels off; 0 where there is none.
  float g_ss = 0, g_fs = 0;
  if (radial) {
    const int reach = 5;
    if (view.inside(ss, fs + reach) && view.inside(ss, fs - reach) && view.inside(ss + reach, fs) &&
        view.inside(ss - reach, fs)) {
      const int right = view.bin_at(ss, fs + reach), left = view.bin_at(ss, fs - reach);
      const int below = view.bin_at(ss + reach, fs), above = view.bin_at(ss - reach, fs);
      if (right < n_bins && left < n_bins && below < n_bins && above < n_bins) {
        g_fs = float(right - left);
        g_ss = float(below - above);
        const float norm = sqrtf(g_fs * g_fs + g_ss * g_ss);
        if (norm > 0) {
          g_fs /= norm;
          g_ss /= norm;
        }
      }
    }
  }
  const bool directed = g_ss != 0 || g_fs != 0;
  float sums[kPatchSums];
  sum_rows<kPatchSums>(team, -kReach, kReach, patch->rows, sums, [&](int i, float* of_row) {
    float outside = 0, second = -9;
    for (int j = -kReach; j <= kReach; ++j) {
      const int a = i < 0 ? -i : i, b = j < 0 ? -j : j, far = a > b ? a : b, d2 = i * i + j * j;
      if (!good[i + kReach][j + kReach]) {
        of_row[s_bad13] += 1;
        of_row[s_bad5] += far <= 2;
        continue;
      }
      const float value = v[i + kReach][j + kReach];
      if (far > 2 && value > outside) outside = value;
      if (value > 2.5f && far <= 5) of_row[s_bright11] += 1;
      const float w = least(most(value, -6.f), 6.f), c = least(most(value, -3.f), 3.f);
      if (d2 >= 12 && d2 < 48) {
        of_row[s_ring] += c;
        of_row[s_ring2] += c * c;
        of_row[s_n_ring] += 1;
      }
      if (d2 >= 6 && directed) {
        const float radially = fabsf(float(i) * g_ss + float(j) * g_fs);
        const float tangentially = fabsf(float(i) * g_fs - float(j) * g_ss);
        if (radially < 1.1f) {
          of_row[s_along] += w;
          of_row[s_n_along] += 1;
        }
        if (tangentially < 1.1f) {
          of_row[s_across] += w;
          of_row[s_n_across] += 1;
        }
      }
      if (i == 0 && b > 2) {
        of_row[s_row] += w;
        of_row[s_n_row] += 1;
      }
      if (j == 0 && a > 2) {
        of_row[s_column] += w;
        of_row[s_n_column] += 1;
      }
      if (far > 2) continue;
      of_row[s_sum5] += value;
      of_row[s_n5] += 1;
      if (value > 2.5f) of_row[s_bright5] += 1;
      if (value > 0) {
        of_row[s_weight] += value;
        of_row[s_w_ss] += value * float(i);
        of_row[s_w_fs] += value * float(j);
      }
      if (far > 1) continue;
      of_row[s_sum3] += value;
      of_row[s_n3] += 1;
      if (far == 0) continue;
      if (value > second) second = value;
      if (a + b == 1) {
        of_row[s_edge] += value;
        of_row[s_n_edge] += 1;
      } else {
        of_row[s_corner] += value;
        of_row[s_n_corner] += 1;
      }
    }
    patch->outside[i + kReach] = outside;
    patch->second[i + kReach] = second;
  });
  const float weight = sums[s_weight] + 1e-6f, c_ss = sums[s_w_ss] / weight, c_fs = sums[s_w_fs] / weight;
  float moments[4];
  sum_rows<4>(team, -4, 4, patch->rows, moments, [&](int i, float* of_row) {
    for (int j = -4; j <= 4; ++j) {
      const float value = v[i + kReach][j + kReach] - 1;
      if (value <= 0 || !good[i + kReach][j + kReach] || i * i + j * j > 20) continue;
      of_row[0] += value;
      of_row[1] += value * (float(i) - c_ss) * (float(i) - c_ss);
      of_row[2] += value * (float(j) - c_fs) * (float(j) - c_fs);
      of_row[3] += value * (float(i) - c_ss) * (float(j) - c_fs);
    }
  });
  if (team.rank() != 0) return;
  float outside = 0, second = -9;
  for (int i = 0; i < kPatch; ++i) {
    outside = most(outside, patch->outside[i]);
    second = most(second, patch->second[i]);
  }
  const float m = moments[0] + 1e-6f, m_ss = moments[1] / m, m_fs = moments[2] / m, m_x = moments[3] / m;
  const float height = v[kReach][kReach];
  const float sum3 = sums[s_sum3], n3 = sums[s_n3], sum5 = sums[s_sum5], n5 = sums[s_n5], n_ring = sums[s_n_ring];
  const float edge = sums[s_edge], corner = sums[s_corner];
  const float half = .5f * (m_ss + m_fs), spread = sqrtf(.25f * (m_ss - m_fs) * (m_ss - m_fs) + m_x * m_x);
  const float ring_mean = n_ring > 5 ? sums[s_ring] / n_ring : 0.f;
  const float ring_var = n_ring > 5 ? most(.01f, sums[s_ring2] / n_ring - ring_mean * ring_mean) : 1.f;
  const float h = most(height, .5f), u3 = sum3 * root, u5 = sum5 * root, u1 = height * root;
  const float u3_ring = (sum3 - n3 * ring_mean) * root, b3 = n3 * background, b5 = n5 * background;
  const float around3 = (sum3 - height) * root, around5 = (sum5 - height) * root;
  own[f_height] = log1pf(most(0.f, height));
  own[f_sum3] = sum3 / sqrtf(n3) / noise3;
  own[f_sum3_poisson] = deviance(u3, b3) / noise3;
  own[f_sum3_snr] = photon_snr(u3, b3);
  own[f_sum5] = sum5 / sqrtf(n5) / noise3;
  own[f_sum5_snr] = photon_snr(u5, b5);
  own[f_height_poisson] = deviance(u1, background);
  own[f_height_snr] = photon_snr(u1, background);
  own[f_height_of_sum3] = height / most(sum3, .5f);
  own[f_sum3_of_sum5] = sum3 / most(sum5, .5f);
  own[f_second_of_height] = second / h;
  own[f_edge_of_height] = edge / most(sums[s_n_edge], 1.f) / h;
  own[f_corner_of_height] = corner / most(sums[s_n_corner], 1.f) / h;
  own[f_major] = sqrtf(half + spread);
  own[f_minor] = sqrtf(most(0.f, half - spread));
  own[f_roundness] = own[f_minor] / (own[f_major] + .1f);
  own[f_bright5] = sums[s_bright5];
  own[f_bright11] = sums[s_bright11];
  own[f_highest_outside] = log1pf(outside);
  own[f_ring_mean] = ring_mean;
  own[f_ring_sigma] = sqrtf(ring_var);
  own[f_local_mean] = local;
  own[f_masked5] = sums[s_bad5];
  own[f_masked13] = sums[s_bad13];
  own[f_background] = logf(most(background, 1e-6f));
  own[f_noise3] = noise3;
  own[f_tangential] = sums[s_along] / most(sums[s_n_along], 1.f);
  own[f_radial] = sums[s_across] / most(sums[s_n_across], 1.f);
  own[f_row] = sums[s_row] / most(sums[s_n_row], 1.f);
  own[f_column] = sums[s_column] / most(sums[s_n_column], 1.f);
  own[f_photons] = log1pf(most(0.f, u3));
  own[f_sum3_ring_poisson] = deviance(u3_ring, n3 * most(background * ring_var, .2f * background)) / noise3;
  own[f_sum3_ring_snr] = photon_snr(u3_ring, b3 * most(1.f, ring_var));
  own[f_around3_poisson] = deviance(around3, 8 * background) / noise3;
  own[f_second_poisson] = deviance(second * root, background);
  own[f_edge_poisson] = deviance(edge * root, 4 * background) / noise3;
  own[f_around5_poisson] = deviance(around5, 24 * background) / noise3;
  own[f_corner_poisson] = deviance(corner * root, 4 * background) / noise3;
  own[f_around3_snr] = photon_snr(around3, 8 * background);
  own[f_noise5_of_noise3] = noise5 / noise3;
  own[f_sum5_of_noise5] = sum5 / 5 / noise5;
}

}  // namespace peakrt
