// Threads that work on one thing together: part of a warp, a warp or a block on a device, one thread on the host. Each
// takes every size-th piece. A sum whose bits matter is made in one order: pieces are summed one by one, put into
// memory that the team shares, and added in their order, so that all teams get what one thread gets.
#pragma once
#include <cstdint>

#include "peakrt/peak.hpp"

namespace peakrt {

// On the host the size is 1, whatever is asked for.
template <int kSize>
struct Team {
#if defined(__CUDA_ARCH__)
  static constexpr int size = kSize;
  __device__ static int rank() { return threadIdx.x % kSize; }
  // All have come this far, and see what each has written to shared memory.
  __device__ static void meet() {
    if (kSize > 32)
      __syncthreads();
    else
      __syncwarp(members());
  }
  // Of all ranks: for teams of a warp at most.
  template <class T>
  __device__ static T highest(T value) {
    for (int other = kSize / 2; other > 0; other /= 2) {
      const T theirs = __shfl_xor_sync(members(), value, other);
      value = theirs > value ? theirs : value;
    }
    return value;
  }
  template <class T>
  __device__ static T lowest(T value) {
    return -highest(-value);
  }
  __device__ static int total(int value) {
    for (int other = kSize / 2; other > 0; other /= 2) value += __shfl_xor_sync(members(), value, other);
    return value;
  }

 private:
  __device__ static unsigned members() {
    return kSize >= 32 ? 0xffffffffu : ((1u << kSize % 32) - 1) << (threadIdx.x % 32 / kSize * kSize);
  }
#else
  static constexpr int size = 1;
  PEAKRT_HD static int rank() { return 0; }
  PEAKRT_HD static void meet() {}
  template <class T>
  PEAKRT_HD static T highest(T value) {
    return value;
  }
  template <class T>
  PEAKRT_HD static T lowest(T value) {
    return value;
  }
  PEAKRT_HD static int total(int value) { return value; }
#endif
};
using Alone = Team<1>;
struct NothingShared {};

// The pixels of a square, body(row, column): on the host row by row, so that what a row has in common is found once.
template <int kSide, class Members, class Body>
PEAKRT_HD void each_of_square(Members team, Body&& body) {
  if (Members::size == 1) {
    for (int i = 0; i < kSide; ++i)
      for (int j = 0; j < kSide; ++j) body(i, j);
    return;
  }
  for (int k = team.rank(); k < kSide * kSide; k += team.size) body(k / kSide, k % kSide);
}

// Sums of rows first to last, added up in the order of the rows: row(i, own) adds row i's to own.
// rows: memory of the team, kValues for each row and kValues more.
template <int kValues, class Members, class Row>
PEAKRT_HD void sum_rows(Members team, int first, int last, float* rows, float* total, Row&& row) {
  if (Members::size == 1) {
    for (int v = 0; v < kValues; ++v) total[v] = 0;
    for (int i = first; i <= last; ++i) {
      float own[kValues] = {};
      row(i, own);
      for (int v = 0; v < kValues; ++v) total[v] += own[v];
    }
    return;
  }
  for (int i = first + team.rank(); i <= last; i += team.size) {
    float own[kValues] = {};
    row(i, own);
    for (int v = 0; v < kValues; ++v) rows[(i - first) * kValues + v] = own[v];
  }
  team.meet();
  float* totals = rows + (last - first + 1) * kValues;
  for (int v = team.rank(); v < kValues; v += team.size) {
    float sum = 0;
    for (int i = 0; i <= last - first; ++i) sum += rows[i * kValues + v];
    totals[v] = sum;
  }
  team.meet();
  for (int v = 0; v < kValues; ++v) total[v] = totals[v];
  team.meet();  // before others write there
}

}  // namespace peakrt
