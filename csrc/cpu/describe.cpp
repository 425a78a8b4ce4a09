#include "peakrt/describe.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

#include "halves.hpp"
#include "peakrt/crowd.hpp"
#include "peakrt/measurement.hpp"

namespace peakrt {
namespace {

template <class T>
SigmaView<T> view_of(const ProposePlan& plan, const T* frame, const ProposeWorkspace& ws, int asic) {
  return {frame,           plan.bins.bin.data(), ws.mean.data(), ws.inverse.data(), ws.photons.data(),
          plan.bins.shape, plan.bins.asics[asic]};
}

// For each candidate calls near(i, j) for every other one of its ASIC within reach pixels along ss, in list order:
// candidates are in raster order within an ASIC, so these are a run of the list.
template <class Near>
void each_near(const std::vector<Candidate>& list, int reach, Near&& near) {
  std::size_t first = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    while (list[first].asic != list[i].asic || list[first].ss < list[i].ss - reach) ++first;
    for (std::size_t j = first; j < list.size() && list[j].asic == list[i].asic && list[j].ss <= list[i].ss + reach;
         ++j)
      if (j != i && std::abs(list[j].fs - list[i].fs) <= reach) near(i, j);
  }
}

void describe_crowd(const std::vector<Candidate>& list, std::vector<float>& strength, float* numbers) {
  each_near(list, kNear, [&](std::size_t i, std::size_t j) {
    const int ss = list[i].ss - list[j].ss, fs = list[i].fs - list[j].fs, d2 = ss * ss + fs * fs;
    float* f = numbers + i * kFeatures;
    if (d2 <= kNear * kNear) f[f_neighbours] += 1;
    if (d2 <= kRivalReach * kRivalReach && strength[j] > strength[i] && strength[j] > f[f_rival]) {
      f[f_rival] = strength[j];
      f[f_rival_distance] = std::sqrt(float(d2));
    }
  });
  for (std::size_t i = 0; i < list.size(); ++i) {
    float* f = numbers + i * kFeatures;
    f[f_rival] = rival_number(f[f_rival], strength[i]);
  }
}

// How crowded the frame and the candidate's bin are, and how sharp the clear peaks of the frame.
void describe_frame(const ProposePlan& plan, const std::vector<Candidate>& list, const std::vector<float>& strength,
                    float* numbers) {
  const int bins = plan.bins.n_bins;
  std::vector<std::int32_t> clear(bins, 0);
  std::vector<float> sharpness, seconds;
  std::vector<int> bin_of(list.size());
  int strong = 0, spikes = 0;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const float* f = numbers + i * kFeatures;
    const Candidate& c = list[i];
    bin_of[i] = plan.bins.bin[(std::int64_t(c.panel) * plan.bins.shape.ss + c.ss) * plan.bins.shape.fs + c.fs];
    clear[bin_of[i]] += strength[i] > kOfBin;
    strong += strength[i] > kStrong;
    if (!tells_sharpness(f)) continue;
    if (is_sharp(f)) {
      sharpness.push_back(f[f_height_of_sum3]);
      seconds.push_back(f[f_second_of_height]);
    } else {
      ++spikes;
    }
  }
  std::sort(sharpness.begin(), sharpness.end());
  std::sort(seconds.begin(), seconds.end());
  const CrowdNumbers crowd = crowd_numbers(plan.megapixels(), int(list.size()), strong, int(sharpness.size()), spikes,
                                           sharpness.data(), seconds.data());
  for (std::size_t i = 0; i < list.size(); ++i)
    crowd.put(numbers + i * kFeatures, clear.data(), plan.bins.bin_pixels.data(), bins, bin_of[i]);
}

using FrameTally = std::array<std::int32_t, kFrameCounts>;
FrameTally tally(const float* numbers, const float* scores, std::size_t n) {
  FrameTally counts{};
  for (std::size_t i = 0; i < n; ++i) count_candidate(scores[i], numbers + i * kFeatures, counts.data());
  return counts;
}

// Marks in keep the candidates that are the best within kSuppress pixels.
void suppress(const std::vector<Candidate>& list, const float* scores, LeastScore least,
              std::vector<std::uint8_t>* keep) {
  const auto sure = std::count_if(scores, scores + list.size(), [&](float score) { return score >= least.usual; });
  const float min_score = least.of(int(sure));
  keep->assign(list.size(), 0);
  for (std::size_t i = 0; i < list.size(); ++i) (*keep)[i] = scores[i] >= min_score;
  each_near(list, int(kSuppress), [&](std::size_t i, std::size_t j) {
    if (yields(list[i], scores[i], list[j], scores[j], j < i)) (*keep)[i] = 0;
  });
}

}  // namespace

void describe(const ProposePlan& plan, Dtype dtype, const void* frame, const ProposeWorkspace& ws, float* numbers) {
  const std::vector<Candidate>& list = ws.candidates;
  std::vector<float> strength(list.size());
  std::fill(numbers, numbers + list.size() * kFeatures, 0.f);
  with_dtype(dtype, frame, [&](const auto* data) {
    in_halves(list.size(), [&](std::size_t first, std::size_t end) {
      Patch patch;
      for (std::size_t i = first; i < end; ++i) {
        const Candidate& c = list[i];
        float* own = numbers + i * kFeatures;
        const auto view = view_of(plan, data, ws, c.asic);
        describe(Alone(), &patch, view, c.ss, c.fs, c.local, ws.noise3, ws.noise5, plan.radial, plan.bins.n_bins, own);
        own[f_rival_distance] = 9;
        strength[i] = own[f_sum3_poisson];
      }
    });
  });
  describe_crowd(list, strength, numbers);
  describe_frame(plan, list, strength, numbers);
}

void frame_inputs_of(const float* numbers, const float* scores, std::size_t n, float* inputs) {
  const FrameTally counts = tally(numbers, scores, n);
  for (std::size_t i = 0; i < n; ++i)
    frame_inputs(scores[i], numbers + i * kFeatures, counts.data(), inputs + i * kFrameInputs);
}

void weigh_scores(const float* numbers, const float* scores, std::size_t n, const float* weights, float* weighed) {
  const FrameTally counts = tally(numbers, scores, n);
  for (std::size_t i = 0; i < n; ++i) weighed[i] = weigh(scores[i], numbers + i * kFeatures, counts.data(), weights);
}

void measure_peaks(const ProposePlan& plan, float gain, Dtype dtype, const void* frame, const ProposeWorkspace& ws,
                   const float* scores, std::size_t n_scores, LeastScore least, std::vector<Peak>* peaks) {
  if (n_scores != ws.candidates.size())
    throw std::invalid_argument("there are " + std::to_string(n_scores) + " scores for " +
                                std::to_string(ws.candidates.size()) + " candidates");
  std::vector<std::uint8_t> keep;
  suppress(ws.candidates, scores, least, &keep);
  std::vector<Candidate> accepted;
  std::vector<float> accepted_scores;
  for (std::size_t i = 0; i < keep.size(); ++i)
    if (keep[i]) {
      accepted.push_back(ws.candidates[i]);
      accepted_scores.push_back(scores[i]);
    }
  std::vector<std::vector<Other>> others(accepted.size());
  each_near(accepted, kOtherReach, [&](std::size_t i, std::size_t j) {
    const Candidate &c = accepted[i], &o = accepted[j];
    others[i].push_back({std::int16_t(o.ss - c.ss), std::int16_t(o.fs - c.fs), j < i});
  });
  peaks->resize(accepted.size());
  with_dtype(dtype, frame, [&](const auto* data) {
    using T = std::remove_cv_t<std::remove_pointer_t<decltype(data)>>;
    in_halves(accepted.size(), [&](std::size_t first, std::size_t end) {
      MeasureShared shared;
      for (std::size_t i = first; i < end; ++i) {
        const auto view = view_of(plan, data, ws, accepted[i].asic);
        Measurement<T, Alone> measurement(Alone(), &shared, view, accepted[i], gain, ws.noise3, others[i].data(),
                                          int(others[i].size()));
        (*peaks)[i] = measurement.measure(accepted_scores[i]);
      }
    });
  });
}

}  // namespace peakrt
