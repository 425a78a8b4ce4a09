// Candidates of the proposer, and which of them are significant. Written once for every device.
#pragma once
#include <cstdint>

#include "peakrt/features.hpp"

namespace peakrt {

// Fixed, not options: the model was trained behind them.
constexpr int kSamplesPerBin = 128;          // pixels a radius that the statistics look at
constexpr int kTile = 8;                     // pixels; the local mean is over 3 x 3 tiles
constexpr int kWindow = 16, kWindows = 512;  // where the noise of sums is measured
constexpr float kClip = 4;                   // sigmas that the statistics of a bin keep
struct Clip {
  float high;   // sigmas above the mean that the statistics of a bin keep
  float local;  // of z in the local mean, to either side
};
PEAKRT_HD inline Clip usual_clip() { return {kClip, 4}; }
// A frame with more than kLeastClear clear peaks, and kCrowded a megapixel, is searched once more: there the tails of
// the peaks are part of what the usual clips leave as background.
PEAKRT_HD inline Clip tight_clip() { return {2.5f, 1}; }
constexpr int kLeastClear = 100;
constexpr float kCrowded = 350;
constexpr float kS3 = 3.5f, kZ = 4.5f, kS5 = 4.0f;  // significances, one of which a candidate must reach
constexpr float kLeastSnr = 1.5f;                   // of photons over their own noise
constexpr float kSigmaFloor = 0.1f;                 // photons: a darker bin is not trusted to be that quiet
constexpr int kMostCandidates = 8192;               // the most significant are kept
constexpr float kSuppress = 3.0f;                   // pixels: of candidates nearer than this the best is a peak
constexpr int kSure = 10;                           // candidates that tell a hit from a blank

// The least score of a peak. Where kSure candidates reach the usual one the frame is no blank, and a lower one does:
// on simulated runs all blanks but one have at most four such candidates.
struct LeastScore {
  float usual, in_hits;
  PEAKRT_HD float of(int sure) const { return sure >= kSure ? in_hits : usual; }
};

struct Candidate {
  std::int32_t asic, panel, ss, fs;  // ss, fs of the panel
  float z, s3, s5, local;            // local: mean of z around, which the others are above
};

// A place where the noise of sums is measured: its first pixel, within the ASIC.
struct Window {
  std::int32_t asic, ss, fs;
};

// What Gaussian statistics let pass must hold by Poisson's too, and be some photons.
PEAKRT_HD inline bool significant(const Candidate& c, float background, float noise3, float noise5) {
  const float root = sqrtf(background);
  bool passes = c.s3 > kS3 * noise3 && deviance(c.s3 * 3 * root, 9 * background) > kS3 * noise3;
  passes = passes || (c.z > kZ && deviance(c.z * root, background) > kZ);
  passes = passes || (c.s5 > kS5 * noise5 && deviance(c.s5 * 5 * root, 25 * background) > kS5 * noise5);
  if (!passes) return false;
  const float u = most(most(c.s3, c.z), 1.4f * c.s5) * 3 * root;
  return photon_snr(u, 9 * background) >= kLeastSnr || photon_snr(c.z * root, background) >= kLeastSnr;
}

PEAKRT_HD inline bool is_clear(const Candidate& c, float background, float noise3) {
  const float u = c.s3 * 3 * sqrtf(background);
  return is_clear(deviance(u, 9 * background) / noise3, photon_snr(u, 9 * background));
}
PEAKRT_HD inline bool is_crowded(int clear, float megapixels) {
  return clear > kLeastClear && float(clear) > kCrowded * megapixels;
}

PEAKRT_HD inline float merit(const Candidate& c) { return c.s3 + .5f * c.z + .5f * c.s5; }

// Whether the second of two candidates nearer than kSuppress stands in the first one's way. Of equal scores (certain
// peaks) the more significant stands; earlier: whether the other comes first in raster order.
PEAKRT_HD inline bool yields(const Candidate& c, float score, const Candidate& other, float other_score, bool earlier) {
  const int ss = c.ss - other.ss, fs = c.fs - other.fs;
  if (float(ss * ss + fs * fs) > kSuppress * kSuppress) return false;
  const float m = c.s3 + .5f * c.z, o = other.s3 + .5f * other.z;
  return other_score > score || (other_score == score && (o > m || (o == m && earlier)));
}

}  // namespace peakrt
