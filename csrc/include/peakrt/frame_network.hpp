// The second, small network of a candidate model: it weighs the score of each candidate by what the others of its frame
// say: how many of them are sure, middling and doubtful, and how sharp the sure ones are. Written once for every
// device. The counts are whole numbers, so that the order in which they are counted does not matter.
#pragma once
#include <cstdint>

#include "peakrt/candidate.hpp"
#include "peakrt/device.hpp"
#include "peakrt/features.hpp"

namespace peakrt {

// Bounds of what is counted as sure, middling and doubtful, of the first network's score.
constexpr float kSureScore = .8f, kMiddlingScore = .2f, kDoubtfulScore = .05f;
constexpr int kSharpBins = 16;       // of the share of 3 x 3 pixels that the brightest holds
constexpr int kFrameHidden = 8;      // width of the hidden layer
constexpr float kBesideMasked = 13;  // pixels of 13 x 13 that are masked where a candidate lies beside an edge

// The counts of a frame; of the sure candidates also those away from edges, and all by sharpness.
enum FrameCount : int {
  n_sure_ones,
  n_middling,
  n_doubtful,
  n_sure_inside,
  n_by_sharpness,
  kFrameCounts = n_by_sharpness + kSharpBins
};

// The inputs, in order: the logit of the first network's score, logarithms of the frame's counts, and the share of the
// sure candidates that are about as sharp as this one or sharper. (The candidate's own sharpness, masked pixels around
// it and light along its row improve the scores on frames of the own simulation and spoil their order on those of
// others.)
#define PEAKRT_FRAME_INPUTS(X) X(logit) X(sure) X(middling) X(doubtful) X(as_sharp)
enum FrameInput : int {
#define PEAKRT_ENUM(name) i_##name,
  PEAKRT_FRAME_INPUTS(PEAKRT_ENUM)
#undef PEAKRT_ENUM
      kFrameInputs
};
// The weights, one after the other: mean and scale of the inputs, weights input by input and biases of the hidden
// layer, weights and bias of the last one.
constexpr int kFrameWeights = 2 * kFrameInputs + kFrameInputs * kFrameHidden + 2 * kFrameHidden + 1;

PEAKRT_HD inline bool is_inside(const float* f) { return f[f_masked13] <= kBesideMasked; }
PEAKRT_HD inline int sharp_bin(const float* f) {
  return int(least(most(f[f_height_of_sum3], 0.f) * float(kSharpBins), float(kSharpBins - 1)));
}

// Counts a candidate. f: its numbers; counts: kFrameCounts of its frame.
PEAKRT_HD inline void count_candidate(float score, const float* f, std::int32_t* counts) {
  if (score >= kSureScore) {
    next(counts + n_sure_ones);
    next(counts + n_by_sharpness + sharp_bin(f));
    if (is_inside(f)) next(counts + n_sure_inside);
  } else if (score >= kMiddlingScore) {
    next(counts + n_middling);
  } else if (score >= kDoubtfulScore) {
    next(counts + n_doubtful);
  }
}

// What the network is told of a candidate: kFrameInputs numbers.
PEAKRT_HD inline void frame_inputs(float score, const float* f, const std::int32_t* counts, float* inputs) {
  const float p = least(most(score, 1e-6f), 1 - 1e-6f);
  const int bin = sharp_bin(f);
  std::int32_t as_sharp = 0;
  for (int b = bin > 0 ? bin - 1 : 0; b < kSharpBins; ++b) as_sharp += counts[n_by_sharpness + b];
  inputs[i_logit] = least(most(logf(p / (1 - p)), -9.f), 9.f);
  inputs[i_sure] = log1pf(float(counts[n_sure_ones]));
  inputs[i_middling] = log1pf(float(counts[n_middling]));
  inputs[i_doubtful] = log1pf(float(counts[n_doubtful]));
  inputs[i_as_sharp] = float(as_sharp) / float(counts[n_sure_ones] + 1);
}

// The probability that a candidate is a peak, in the light of its frame. A score of 0 stays: that pixel is bad. A frame
// with kSure sure candidates away from edges lowers no score there: long streaks leave many middling candidates, and
// are peaks.
PEAKRT_HD inline float weigh(float score, const float* f, const std::int32_t* counts, const float* weights) {
  if (!(score > 0)) return 0;
  float inputs[kFrameInputs];
  frame_inputs(score, f, counts, inputs);
  const float lowest = counts[n_sure_inside] >= kSure && is_inside(f) ? inputs[i_logit] : -99;
  const float *mean = weights, *scale = mean + kFrameInputs, *hidden = scale + kFrameInputs;
  const float *bias = hidden + kFrameInputs * kFrameHidden, *last = bias + kFrameHidden;
  for (int i = 0; i < kFrameInputs; ++i) inputs[i] = least(most((inputs[i] - mean[i]) * scale[i], -4.f), 4.f);
  float logit = last[kFrameHidden];
  for (int o = 0; o < kFrameHidden; ++o) {
    float sum = bias[o];
    for (int i = 0; i < kFrameInputs; ++i) sum += hidden[i * kFrameHidden + o] * inputs[i];
    logit += last[o] * most(sum, 0.f);
  }
  return 1 / (1 + expf(-most(logit, lowest)));
}

}  // namespace peakrt
