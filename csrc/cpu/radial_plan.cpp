#include "peakrt/radial_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace peakrt {
namespace {

// The ranks of `keep` good pixels evenly spaced among n: (2 k + 1) n / (2 keep), by additions in place of a division
// for each.
class EvenRanks {
 public:
  EvenRanks(std::int64_t n, std::int64_t keep)
      : rank_(n / (2 * keep)), rest_(n % (2 * keep)), step_(n / keep), step_rest_(n % keep * 2), parts_(2 * keep) {}

  std::int64_t rank() const { return rank_; }

  // To the next rank; returns how many ranks lie between the two.
  std::int64_t advance() {
    const std::int64_t before = rank_;
    rank_ += step_;
    rest_ += step_rest_;
    if (rest_ >= parts_) {
      rest_ -= parts_;
      ++rank_;
    }
    return rank_ - before - 1;
  }

 private:
  std::int64_t rank_, rest_, step_, step_rest_, parts_;
};

int kept(const RadialPlan& plan, int b) {
  return plan.samples_per_bin ? std::min(plan.bin_pixels[b], plan.samples_per_bin) : plan.bin_pixels[b];
}

// Of n good pixels of which `keep` are sampled: the first sample whose rank is at least `rank`. It is the quotient
// (2 keep rank + n - 1) / (2 n) of whole numbers. Half a unit more in the dividend never changes that, and makes up for
// the rounding of a product with the reciprocal, which takes less time than a division.
int first_sample_from(int rank, int n, int keep, double reciprocal) {
  return int((2. * keep * rank + n - 0.5) * reciprocal);
}

// Its rank: (2 k + 1) n / (2 keep), by the same reasoning.
int sample_rank(int k, int n, double reciprocal) { return int((double(2 * k + 1) * n + 0.5) * reciprocal); }

constexpr int kStretch = 4096;  // pixels that are worked off together; their bins stay in the nearest cache
constexpr int kAtOnce = 4, kListed = kStretch + kAtOnce;
constexpr int kMany = 32;  // pixels of a stretch, so many that it takes less time to load all than to wait for each

// Lists the set bits of a word, as numbers from `first` on; returns how many. A few are listed whether they are there
// or not: how many bad pixels a word has cannot be guessed, and a wrong guess takes as long as listing ten. to: has
// room for kAtOnce more
inline int list_bits(std::uint64_t bits, std::int32_t first, std::int32_t* to) {
  if (!bits) return 0;
  const int n = count_bits(bits);
  constexpr std::uint64_t kEnd = std::uint64_t(1) << 63;
  for (int k = 0; k < kAtOnce; ++k, bits &= bits - 1) to[k] = first + __builtin_ctzll(bits | kEnd);
  for (int k = kAtOnce; k < n; ++k, bits &= bits - 1) to[k] = first + __builtin_ctzll(bits);
  return n;
}

void prefetch(const std::uint16_t* values, std::int64_t n) {
  for (std::int64_t i = 0; i < n; i += 32) __builtin_prefetch(values + i);
}

// Both decide how lists are made, not what is in them, by a look at every 17th word: no multiple of a row of a common
// detector. Whether at least half of the pixels are good; whether fewer pixels differ from the bad ones of before than
// are bad.
constexpr int kLook = 17;
bool mostly_good(const std::uint64_t* good, std::int64_t pixels) {
  std::int64_t seen = 0, good_ones = 0;
  for (std::int64_t word = 0; word <= pixels / 64; word += kLook, seen += 64) good_ones += count_bits(good[word]);
  return 2 * good_ones >= seen;
}
bool much_alike(const std::uint64_t* good, const std::uint64_t* bad, std::int64_t pixels) {
  std::int64_t different = 0, bad_ones = 0;
  for (std::int64_t word = 0; word < pixels / 64; word += kLook) {
    bad_ones += count_bits(~good[word]);
    different += count_bits(~good[word] ^ bad[word]);
  }
  return different < bad_ones;
}

}  // namespace

std::vector<std::uint64_t> good_bits(const std::uint8_t* mask, std::int64_t n) {
  std::vector<std::uint64_t> bits(bit_words(n));
  for (std::int64_t i = 0; i + 8 <= n; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    // The product gathers the lowest bits of eight bytes in its highest byte.
    bits[i / 64] |= (eight * 0x0102040810204080 >> 56) << i % 64;
  }
  for (std::int64_t i = n / 8 * 8; i < n; ++i) bits[i / 64] |= std::uint64_t(mask[i]) << i % 64;
  return bits;
}

RadialBins::RadialBins(Shape shape, const float* radius) : pixels(shape.pixels()) {
  if (pixels > INT32_MAX) throw std::invalid_argument("a frame may have at most 2^31 - 1 pixels");
  float farthest = 0;
  bool valid = true;
  for (std::int64_t i = 0; i < pixels; ++i) {
    valid &= radius[i] >= 0;
    farthest = radius[i] > farthest ? radius[i] : farthest;
  }
  if (!valid) throw std::invalid_argument("radius must be finite and not negative");
  if (farthest > 60000)
    throw std::invalid_argument("radius is above 60000 pixels: are its units metres or micrometres?");
  n_bins = int(std::ceil(farthest)) + 1;
  bin.resize(pixels);
  // Adding 2^23 leaves a float no bits below 1: it rounds as std::rint does, half to even, and in vectors.
  constexpr float kWhole = 8388608;
  for (std::int64_t i = 0; i < pixels; ++i) bin[i] = std::uint16_t(int(radius[i] + kWhole - kWhole));
  lowest.assign((pixels + kStep - 1) / kStep, UINT16_MAX);
  for (std::int64_t i = 0; i < pixels; ++i) lowest[i / kStep] = std::min(lowest[i / kStep], bin[i]);
}

const RadialBins::Order& RadialBins::order() const {
  std::call_once(sorted_, [this] {
    order_.start.assign(n_bins + 1, 0);
    for (std::uint16_t b : bin) ++order_.start[b + 1];
    order_.usable = *std::max_element(order_.start.begin(), order_.start.end()) <= UINT16_MAX;
    if (!order_.usable) return;
    std::partial_sum(order_.start.begin(), order_.start.end(), order_.start.begin());
    order_.pixel.reset(new std::int32_t[pixels]);
    order_.rank.reset(new std::uint16_t[pixels]);
    std::vector<std::int64_t> next(order_.start.begin(), order_.start.end() - 1);
    for (std::int64_t i = 0; i < pixels; ++i) {
      const std::int64_t at = next[bin[i]]++;
      order_.pixel[at] = std::int32_t(i);
      order_.rank[i] = std::uint16_t(at - order_.start[bin[i]]);
    }
  });
  return order_;
}

void RadialBins::keep(RadialLists&& lists) const {
  const std::lock_guard<std::mutex> lock(spare_lock_);
  spare_ = std::move(lists);
}

RadialLists RadialBins::take() const {
  const std::lock_guard<std::mutex> lock(spare_lock_);
  return std::exchange(spare_, {});
}

RadialPlan::RadialPlan(Shape shape_, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics_,
                       int samples_per_bin_)
    : shape(shape_),
      asics(std::move(asics_)),
      samples_per_bin(samples_per_bin_),
      shared(std::make_shared<RadialBins>(shape, radius)) {
  n_bins = shared->n_bins;
  list_in_one_pass(mask);
}

RadialPlan::RadialPlan(const RadialPlan& other, const std::uint64_t* good)
    : shape(other.shape),
      asics(other.asics),
      n_bins(other.n_bins),
      samples_per_bin(other.samples_per_bin),
      shared(other.shared) {
  // Where every pixel is listed, or most are bad, the order saves nothing.
  if (samples_per_bin && mostly_good(good, shared->pixels) && shared->order().usable) {
    list_from_order(good);
    return;
  }
  std::vector<std::uint8_t> mask(shared->pixels);
  for (std::int64_t i = 0; i < shared->pixels; ++i) mask[i] = good[i / 64] >> i % 64 & 1;
  list_in_one_pass(mask.data());
}

RadialPlan::~RadialPlan() {
  if (!bad.empty()) shared->keep(std::move(*this));
}

std::vector<BinGroup> RadialPlan::layout() const {
  std::vector<BinGroup> groups;
  std::int64_t size = 0;
  for (int first = 0; first < n_bins; first += kLanes) {
    std::int32_t full = INT32_MAX, deep = 0;
    for (int b = first; b < first + kLanes; ++b) {
      const std::int32_t n = b < n_bins ? kept(*this, b) : 0;
      full = std::min(full, n);
      deep = std::max(deep, n);
    }
    groups.push_back({size, full, deep});
    size += std::int64_t(deep) * kLanes;
  }
  return groups;
}

std::int64_t RadialPlan::column(int b) const { return groups[b / kLanes].first + b % kLanes; }

void RadialPlan::list_in_one_pass(const std::uint8_t* mask) {
  const std::int64_t pixels = shared->pixels;
  bin.resize(pixels);
  for (std::int64_t i = 0; i < pixels; ++i) {
    const unsigned bad = mask[i] - 1u;  // all ones if it is
    bin[i] = std::uint16_t((shared->bin[i] & ~bad) | (unsigned(n_bins) & bad));
  }
  bin_pixels.assign(n_bins + 1, 0);
  for (std::uint16_t b : bin) ++bin_pixels[b];
  groups = layout();
  order.assign(size_of_order(), -1);

  std::vector<EvenRanks> ranks;
  std::vector<std::int64_t> to;    // where in order the next pixel of a bin goes
  std::vector<std::int32_t> skip;  // pixels of a bin before the next one to list
  for (int b = 0; b < n_bins; ++b) {
    ranks.emplace_back(bin_pixels[b], std::max(1, kept(*this, b)));
    to.push_back(column(b));
    skip.push_back(std::int32_t(ranks[b].rank()));
  }
  skip.push_back(INT32_MAX);  // bad pixels: never to list
  for (std::int64_t i = 0; i < pixels; ++i) {
    const int b = bin[i];
    if (skip[b]-- > 0) continue;
    order[to[b]] = std::int32_t(i);
    to[b] += kLanes;
    skip[b] = std::int32_t(ranks[b].advance());
  }
}

std::vector<Place> RadialPlan::change_mask(const std::uint64_t* good, bool afresh) {
  const std::uint16_t *all = shared->bin.data(), *rank = shared->order().rank.get();
  std::vector<Place> places;
  std::int32_t flipped[kListed];
  for (std::int64_t first = 0; first < shared->pixels; first += kStretch) {
    const std::int64_t end = std::min(shared->pixels, first + kStretch);
    int n = 0;
    for (std::int64_t at = first; at < end; at += 64) {
      const std::uint64_t used = end - at < 64 ? (std::uint64_t(1) << (end - at)) - 1 : ~std::uint64_t(0);
      const std::uint64_t now = ~good[at / 64] & used, before = std::exchange(bad[at / 64], now);
      n += list_bits(before ^ now, std::int32_t(at), flipped + n);
    }
    if (n > kMany && end < shared->pixels) {
      prefetch(all + end, std::min<std::int64_t>(kStretch, shared->pixels - end));
      prefetch(rank + end, std::min<std::int64_t>(kStretch, shared->pixels - end));
    }
    if (afresh) std::copy(all + first, all + end, bin.data() + first);
    const std::size_t known = places.size();
    places.resize(known + n);
    for (int k = 0; k < n; ++k) {
      const std::int32_t i = flipped[k];
      places[known + k] = {all[i], rank[i]};
      const std::uint16_t is_bad = bad[i / 64] >> (i & 63) & 1;
      bin[i] =
          std::uint16_t(is_bad * n_bins + (1 - is_bad) * all[i]);  // without a branch, which would be guessed wrong
    }
  }
  return places;
}

void RadialPlan::flip_ranks(const std::vector<Place>& places, std::vector<std::uint8_t>* changed) {
  std::vector<std::int32_t> first(n_bins + 1), bad_first_now(n_bins + 1);
  for (const Place& place : places) ++first[place.bin + 1];
  std::partial_sum(first.begin(), first.end(), first.begin());
  std::vector<std::uint16_t> flipped(places.size()), ranks(bad_ranks.size() + places.size());
  std::vector<std::int32_t> next(first);
  for (const Place& place : places) flipped[next[place.bin]++] = place.rank;
  auto to = ranks.begin();
  for (int b = 0; b < n_bins; ++b) {
    (*changed)[b] |= first[b + 1] > first[b];
    to = std::set_symmetric_difference(bad_ranks.begin() + bad_first[b], bad_ranks.begin() + bad_first[b + 1],
                                       flipped.begin() + first[b], flipped.begin() + first[b + 1], to);
    bad_first_now[b + 1] = std::int32_t(to - ranks.begin());
  }
  ranks.resize(bad_first_now[n_bins]);
  bad_ranks = std::move(ranks);
  bad_first = std::move(bad_first_now);
}

void RadialPlan::list_from_order(const std::uint64_t* good) {
  const RadialBins::Order& all = shared->order();
  static_cast<RadialLists&>(*this) = shared->take();
  const bool afresh = bad.empty() || !much_alike(good, bad.data(), shared->pixels);
  std::vector<std::uint8_t> changed(n_bins, afresh);
  if (afresh) {
    bin.resize(shared->pixels);
    bad.assign((shared->pixels + 63) / 64, 0);
    bad_ranks.clear();
    bad_first.assign(n_bins + 1, 0);
    groups.clear();
  }
  flip_ranks(change_mask(good, afresh), &changed);
  bin_pixels.resize(n_bins + 1);
  for (int b = 0; b < n_bins; ++b)
    bin_pixels[b] = std::int32_t(all.start[b + 1] - all.start[b]) - (bad_first[b + 1] - bad_first[b]);
  bin_pixels[n_bins] = bad_first[n_bins];

  std::vector<BinGroup> groups_now = layout();
  if (groups_now != groups) {
    groups = std::move(groups_now);
    order.resize(size_of_order());
    changed.assign(n_bins, 1);
  }
  std::vector<std::int32_t> passed;  // bad pixels between the last sample and this one
  for (int b = 0; b < n_bins; ++b)
    if (changed[b]) list_bin(b, &passed);
  const std::int64_t padded = std::int64_t(groups.size()) * kLanes;
  for (std::int64_t b = n_bins; b < padded; ++b) pad(int(b), 0);
}

void RadialPlan::list_bin(int b, std::vector<std::int32_t>* passed) {
  const int keep = kept(*this, b);
  std::int64_t to = column(b);
  if (keep) {
    const RadialBins::Order& all = shared->order();
    const int n = bin_pixels[b];
    const double reciprocal = 0.5 / n, reciprocal_of_keep = 0.5 / keep;
    passed->assign(keep + 1, 0);
    // A bad pixel that j others precede comes before the good ones of its rank - j and above.
    const std::uint16_t* bad_rank = bad_ranks.data() + bad_first[b];
    for (int j = 0; j < bad_first[b + 1] - bad_first[b]; ++j)
      ++(*passed)[std::min(keep, first_sample_from(bad_rank[j] - j, n, keep, reciprocal))];
    const std::int32_t* pixel = all.pixel.get() + all.start[b];
    int before = 0;
    for (int k = 0; k < keep; ++k, to += kLanes) {
      before += (*passed)[k];
      order[to] = pixel[sample_rank(k, n, reciprocal_of_keep) + before];
    }
  }
  pad(b, keep);
}

void RadialPlan::pad(int b, int from) {
  const BinGroup& group = groups[b / kLanes];
  for (int k = from; k < group.deep; ++k) order[group.first + std::int64_t(k) * kLanes + b % kLanes] = -1;
}

std::int64_t RadialPlan::size_of_order() const {
  return groups.empty() ? 0 : groups.back().first + std::int64_t(groups.back().deep) * kLanes;
}

}  // namespace peakrt
