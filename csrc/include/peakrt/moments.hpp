// Intensity moments of one peak, shared by the CPU and the CUDA kernels.
#pragma once
#include "peakrt/peak.hpp"

namespace peakrt {

// Sums of weight, weight * position and weight * position^2 about an origin near the peak,
// so that nothing cancels far from the corner of the panel.
struct Moments {
  float sum = 0, ss = 0, fs = 0, ss2 = 0, fs2 = 0, ssfs = 0;

  PEAKRT_HD void add(float weight, float d_ss, float d_fs) {
    sum += weight;
    ss += weight * d_ss;
    fs += weight * d_fs;
    ss2 += weight * d_ss * d_ss;
    fs2 += weight * d_fs * d_fs;
    ssfs += weight * d_ss * d_fs;
  }

  // Central second moments; zero where the sum is not positive.
  PEAKRT_HD void variances(float* var_ss, float* var_fs, float* cov) const {
    if (!(sum > 0)) {
      *var_ss = *var_fs = *cov = 0;
      return;
    }
    const float m_ss = ss / sum, m_fs = fs / sum;
    const float v_ss = ss2 / sum - m_ss * m_ss, v_fs = fs2 / sum - m_fs * m_fs;
    *var_ss = v_ss > 0 ? v_ss : 0;
    *var_fs = v_fs > 0 ? v_fs : 0;
    *cov = ssfs / sum - m_ss * m_fs;
  }
};

}  // namespace peakrt
