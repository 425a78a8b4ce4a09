#include "peakrt/radial_plan.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <stdexcept>

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

// Position of set bit number `rank` of each byte.
struct SelectInByte {
  std::uint8_t position[256][8] = {};

  constexpr SelectInByte() {
    for (int byte = 0; byte < 256; ++byte)
      for (int bit = 0, rank = 0; bit < 8; ++bit)
        if (byte >> bit & 1) position[byte][rank++] = std::uint8_t(bit);
  }
};

// 64 pixels, and how many of them are good: a bit each.
class GoodBits {
 public:
  explicit GoodBits(std::uint64_t bits) : bits_(bits) {
    std::uint64_t sums = bits - (bits >> 1 & 0x5555555555555555);
    sums = (sums & 0x3333333333333333) + (sums >> 2 & 0x3333333333333333);
    sums_ = ((sums + (sums >> 4)) & 0x0f0f0f0f0f0f0f0f) * kOnes;
  }

  int count() const { return int(sums_ >> 56); }

  // Position of the set bit that `rank` set bits precede; without branches, which would be guessed wrong.
  int select(int rank) const {
    constexpr std::uint64_t kHigh = 0x8080808080808080;
    static constexpr SelectInByte kSelect;
    const std::uint64_t passed = ((std::uint64_t(rank) * kOnes | kHigh) - sums_) & kHigh;  // bytes that end too early
    const int shift = int((passed >> 7) * kOnes >> 56) * 8;
    return shift + kSelect.position[bits_ >> shift & 0xff][rank - int(sums_ << 8 >> shift & 0xff)];
  }

 private:
  static constexpr std::uint64_t kOnes = 0x0101010101010101;
  std::uint64_t bits_, sums_;  // byte i of sums: set bits in bytes 0 .. i
};

// One bit a pixel: 1 = bad. mask: 1 = good, 0 = bad.
std::vector<std::uint64_t> bad_bits(const std::uint8_t* mask, std::int64_t n) {
  std::vector<std::uint64_t> bits((n + 63) / 64);
  for (std::int64_t i = 0; i + 8 <= n; i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, mask + i, 8);
    // The product gathers the lowest bits of eight bytes in its highest byte.
    bits[i / 64] |= ((eight ^ 0x0101010101010101) * 0x0102040810204080 >> 56) << i % 64;
  }
  for (std::int64_t i = n / 8 * 8; i < n; ++i) bits[i / 64] |= std::uint64_t(!mask[i]) << i % 64;
  return bits;
}

std::int64_t count_bits(const std::vector<std::uint64_t>& bits) {
  std::int64_t n = 0;
  for (std::uint64_t word : bits) n += GoodBits(word).count();
  return n;
}

}  // namespace

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

RadialPlan::RadialPlan(Shape shape_, const std::uint8_t* mask, const float* radius, std::vector<Asic> asics_,
                       int samples_per_bin_)
    : shape(shape_),
      asics(std::move(asics_)),
      samples_per_bin(samples_per_bin_),
      shared(std::make_shared<RadialBins>(shape, radius)) {
  n_bins = shared->n_bins;
  list_in_one_pass(mask);
}

RadialPlan::RadialPlan(const RadialPlan& other, const std::uint8_t* mask)
    : shape(other.shape),
      asics(other.asics),
      n_bins(other.n_bins),
      samples_per_bin(other.samples_per_bin),
      shared(other.shared) {
  const std::vector<std::uint64_t> bad = bad_bits(mask, shared->pixels);
  // Where every pixel is listed, or most are bad, the order saves nothing.
  if (samples_per_bin && 2 * count_bits(bad) <= shared->pixels && shared->order().usable)
    list_from_order(bad);
  else
    list_in_one_pass(mask);
}

void RadialPlan::lay_out_groups() {
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
  order.assign(size, -1);
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
  lay_out_groups();

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

void RadialPlan::list_from_order(const std::vector<std::uint64_t>& bad) {
  const RadialBins::Order& all = shared->order();
  bin = shared->bin;
  bin_pixels.assign(n_bins + 1, 0);
  for (int b = 0; b < n_bins; ++b) bin_pixels[b] = std::int32_t(all.start[b + 1] - all.start[b]);
  std::vector<std::uint64_t> good(shared->pixels / 64 + 1, ~std::uint64_t(0));  // a bit for each position in the order
  for (std::size_t word = 0; word < bad.size(); ++word)
    for (std::uint64_t bits = bad[word]; bits; bits &= bits - 1) {
      const std::size_t i = word * 64 + __builtin_ctzll(bits);
      const std::int64_t at = all.start[bin[i]] + all.rank[i];
      good[at >> 6] &= ~(std::uint64_t(1) << (at & 63));
      --bin_pixels[bin[i]];
      ++bin_pixels[n_bins];
      bin[i] = std::uint16_t(n_bins);
    }
  lay_out_groups();
  for (int b = 0; b < n_bins; ++b) {
    const int keep = kept(*this, b);
    if (!keep) continue;
    std::int64_t at = all.start[b] >> 6, before = 0;  // the word at hand, and good pixels of the bin before it
    GoodBits word(good[at] & ~std::uint64_t(0) << (all.start[b] & 63));
    std::int64_t to = column(b);
    EvenRanks ranks(bin_pixels[b], keep);
    for (int k = 0; k < keep; ++k, ranks.advance(), to += kLanes) {
      while (ranks.rank() >= before + word.count()) {
        before += word.count();
        word = GoodBits(good[++at]);
      }
      order[to] = std::int32_t(at * 64 + word.select(int(ranks.rank() - before)));
    }
  }
  for (std::int32_t& position : order)
    if (position >= 0) position = all.pixel[position];
}

}  // namespace peakrt
