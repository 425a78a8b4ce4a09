// Describes the candidates of a frame by numbers for the model, and measures those that are peaks by its scores.
#pragma once
#include <vector>

#include "peakrt/features.hpp"
#include "peakrt/frame_network.hpp"
#include "peakrt/propose.hpp"

namespace peakrt {

// numbers: (n, kFeatures) for the workspace's n candidates.
void describe(const ProposePlan& plan, Dtype dtype, const void* frame, const ProposeWorkspace& workspace,
              float* numbers);

// What the second network is told of n candidates of a frame: (n, kFrameInputs). numbers: (n, kFeatures).
void frame_inputs_of(const float* numbers, const float* scores, std::size_t n, float* inputs);

// Scores of n candidates of a frame in the light of all of them. numbers: (n, kFeatures); weights: kFrameWeights.
void weigh_scores(const float* numbers, const float* scores, std::size_t n, const float* weights, float* weighed);

// Peaks of the candidates whose score is at least the least and the highest within kSuppress pixels, in the
// candidates' order. gain: ADU a photon. Throws invalid_argument unless n_scores is the number of candidates.
void measure_peaks(const ProposePlan& plan, float gain, Dtype dtype, const void* frame,
                   const ProposeWorkspace& workspace, const float* scores, std::size_t n_scores, LeastScore least,
                   std::vector<Peak>* peaks);

}  // namespace peakrt
