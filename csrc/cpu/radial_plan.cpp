#include "peakrt/radial_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
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

// Groups of bins of which n_of(b) pixels each are listed, row by row.
template <class Count>
std::vector<BinGroup> layout(int n_bins, const Count& n_of) {
  std::vector<BinGroup> groups;
  std::int64_t size = 0;
  for (int first = 0; first < n_bins; first += kLanes) {
    std::int32_t full = INT32_MAX, deep = 0;
    for (int b = first; b < first + kLanes; ++b) {
      const std::int32_t n = b < n_bins ? n_of(b) : 0;
      full = std::min(full, n);
      deep = std::max(deep, n);
    }
    groups.push_back({size, full, deep});
    size += std::int64_t(deep) * kLanes;
  }
  return groups;
}

// Where the first pixel of a bin is listed; the next ones follow kLanes apart.
std::int64_t column(const std::vector<BinGroup>& groups, int b) { return groups[b / kLanes].first + b % kLanes; }

// Lists n_of(b) pixels of each bin, evenly spaced among the bin_pixels[b] that bin says are its; bin n_bins is listed
// nowhere.
template <class Count>
std::vector<std::int32_t> list_evenly(const std::vector<BinGroup>& groups, int n_bins, const Count& n_of,
                                      const std::vector<std::uint16_t>& bin,
                                      const std::vector<std::int32_t>& bin_pixels) {
  std::vector<EvenRanks> ranks;
  std::vector<std::int64_t> to;    // where the next pixel of a bin goes
  std::vector<std::int32_t> skip;  // pixels of a bin before the next one to list
  for (int b = 0; b < n_bins; ++b) {
    ranks.emplace_back(bin_pixels[b], std::max(1, n_of(b)));
    to.push_back(column(groups, b));
    skip.push_back(std::int32_t(ranks[b].rank()));
  }
  skip.push_back(INT32_MAX);
  std::vector<std::int32_t> order(groups.back().first + std::int64_t(groups.back().deep) * kLanes, -1);
  for (std::int64_t i = 0; i < std::int64_t(bin.size()); ++i) {
    const int b = bin[i];
    if (skip[b]-- > 0) continue;
    order[to[b]] = std::int32_t(i);
    to[b] += kLanes;
    skip[b] = std::int32_t(ranks[b].advance());
  }
  return order;
}

// Whether a bin that has lost some of the pixels that are listed of it is listed anew: if it is more than a quarter.
constexpr bool too_many(int lost, int listed) { return 4 * lost > listed; }

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

RadialBins::RadialBins(Shape shape, const float* radius, int samples_per_bin) : pixels(shape.pixels()) {
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
  bin_pixels.assign(n_bins + 1, 0);
  for (std::uint16_t b : bin) ++bin_pixels[b];
  if (!samples_per_bin) return;
  const auto of_bin = [&](int b) { return std::min(bin_pixels[b], samples_per_bin); };
  groups = layout(n_bins, of_bin);
  order = list_evenly(groups, n_bins, of_bin, bin, bin_pixels);
  find_places();
}

void RadialBins::find_places() {
  listed.assign((pixels + 63) / 64, 0);
  for (std::int32_t i : order)
    if (i >= 0) listed[i >> 6] |= std::uint64_t(1) << (i & 63);
  std::int32_t n = 0;
  for (std::uint64_t word : listed) {
    before.push_back(n);
    n += count_bits(word);
  }
  place.resize(n);
  for (std::size_t at = 0; at < order.size(); ++at) {
    const std::int32_t i = order[at];
    if (i < 0) continue;
    const std::uint64_t lower = (std::uint64_t(1) << (i & 63)) - 1;
    place[before[i >> 6] + count_bits(listed[i >> 6] & lower)] = std::int32_t(at);
  }
}

const RadialBins::Sorted& RadialBins::sorted() const {
  std::call_once(once_, [this] {
    sorted_.start.assign(1, 0);
    for (int b = 0; b < n_bins; ++b) sorted_.start.push_back(sorted_.start.back() + bin_pixels[b]);
    sorted_.pixel.reset(new std::int32_t[pixels]);
    std::vector<std::int64_t> next(sorted_.start.begin(), sorted_.start.end() - 1);
    for (std::int64_t i = 0; i < pixels; ++i) sorted_.pixel[next[bin[i]]++] = std::int32_t(i);
  });
  return sorted_;
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
      shared(std::make_shared<RadialBins>(shape, radius, samples_per_bin)) {
  n_bins = shared->n_bins;
  take_mask(good_bits(mask, shape.pixels()).data());
}

RadialPlan::RadialPlan(const RadialPlan& other, const std::uint64_t* good)
    : shape(other.shape),
      asics(other.asics),
      n_bins(other.n_bins),
      samples_per_bin(other.samples_per_bin),
      shared(other.shared) {
  take_mask(good);
}

RadialPlan::~RadialPlan() {
  if (!samples_per_bin) order = {};  // as many as there are pixels, and never changed but made anew
  shared->keep(std::move(*this));
}

// Changes bin and bin_pixels where the mask differs from the one of before, of which few pixels usually do.
void RadialPlan::take_mask(const std::uint64_t* good) {
  const std::int64_t pixels = shared->pixels, words = (pixels + 63) / 64;
  const auto bad_now = [&](std::int64_t word) {
    const std::int64_t left = pixels - word * 64;
    return ~good[word] & (left < 64 ? (std::uint64_t(1) << left) - 1 : ~std::uint64_t(0));
  };
  static_cast<RadialLists&>(*this) = shared->take();
  // A look at every 17th word, no multiple of a row of a common detector, tells whether fewer pixels differ from the
  // mask of before than from one without a bad pixel.
  std::int64_t changes = 0, bad_ones = 0;
  for (std::int64_t word = 0; word < std::int64_t(bad.size()); word += 17) {
    bad_ones += count_bits(bad_now(word));
    changes += count_bits(bad_now(word) ^ bad[word]);
  }
  if (bad.empty() || changes > bad_ones) {
    bin = shared->bin;
    bin_pixels = shared->bin_pixels;
    bad.assign(words, 0);
  }
  const std::uint16_t* all = shared->bin.data();
  for (std::int64_t word = 0; word < words; ++word) {
    const std::uint64_t now = bad_now(word);
    for (std::uint64_t changed = now ^ std::exchange(bad[word], now); changed; changed &= changed - 1) {
      const int bit = __builtin_ctzll(changed), is_bad = int(now >> bit & 1);
      const std::int64_t i = word * 64 + bit;
      bin[i] = std::uint16_t(is_bad * n_bins + (1 - is_bad) * all[i]);  // no branch, which would be guessed wrong
      bin_pixels[all[i]] += 1 - 2 * is_bad;
      bin_pixels[n_bins] += 2 * is_bad - 1;
    }
  }
  if (samples_per_bin)
    list_samples();
  else
    list_all_good();
}

void RadialPlan::list_all_good() {
  const auto listed = [this](int b) { return bin_pixels[b]; };
  groups = layout(n_bins, listed);
  order = list_evenly(groups, n_bins, listed, bin, bin_pixels);
}

void RadialPlan::list_samples() {
  order = shared->order;
  groups = shared->groups;
  std::vector<std::int32_t> lost(n_bins), pixels;
  for (std::size_t word = 0; word < bad.size(); ++word) {
    const std::uint64_t listed = shared->listed[word];
    for (std::uint64_t holes = bad[word] & listed; holes; holes &= holes - 1) {
      const std::uint64_t lower = (holes & -holes) - 1;
      order[shared->place[shared->before[word] + count_bits(listed & lower)]] = -1;
      ++lost[shared->bin[word * 64 + __builtin_ctzll(holes)]];
    }
  }
  for (int b = 0; b < n_bins; ++b) {
    if (!lost[b]) continue;
    groups[b / kLanes].full = 0;
    const int listed = std::min(shared->bin_pixels[b], samples_per_bin);
    if (too_many(lost[b], listed) && bin_pixels[b] > listed - lost[b]) list_anew(b, &pixels);
  }
}

void RadialPlan::list_anew(int b, std::vector<std::int32_t>* pixels) {
  const RadialBins::Sorted& all = shared->sorted();
  pixels->clear();
  for (std::int64_t at = all.start[b]; at < all.start[b + 1]; ++at) {
    const std::int32_t i = all.pixel[at];
    if (!(bad[i >> 6] >> (i & 63) & 1)) pixels->push_back(i);
  }
  const std::int64_t n = std::int64_t(pixels->size()), keep = std::min<std::int64_t>(n, samples_per_bin);
  for (std::int64_t k = 0, to = column(groups, b); k < groups[b / kLanes].deep; ++k, to += kLanes)
    order[to] = k < keep ? (*pixels)[(2 * k + 1) * n / (2 * keep)] : -1;
}

}  // namespace peakrt
