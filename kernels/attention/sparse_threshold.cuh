// The thresholds of sparsemax and 1.5-entmax for a warp's rows, from one pass over the products.
//
// Only products above a lower bound of the threshold matter: above max − 1 in units of e to begin
// with (the largest product alone contributes 1), and above the root over any part of the row.
// Each lane keeps those that it meets in lists of its own in shared memory. When one fills up, a
// step of Newton's method over the lists lifts the bound, and what fell below it is dropped. A list
// that stays full (a row of nearly equal weights) is spilled into the three sums that the root
// needs, as if every product in it stayed above the threshold. Where that turns out wrong the row
// is not exact, and its threshold only a lower bound to start further passes from.
#pragma once

#include "kernels/attention/sparse_attention.cuh"

namespace oasis::cuda {

// Σ over products above a threshold of 1, e and e².
struct RootSums {
  float count = 0;
  float first = 0;
  float second = 0;

  __device__ void add(float e) {
    const float above = fmaxf(e, 0);
    count += e > 0 ? 1.0f : 0.0f;
    first += above;
    second += above * above;
  }

  // Over the four lanes that share a row.
  __device__ void add_up() {
#pragma unroll
    for (int lane = 1; lane <= 2; lane *= 2) {
      count += __shfl_xor_sync(kFullWarp, count, lane);
      first += __shfl_xor_sync(kFullWarp, first, lane);
      second += __shfl_xor_sync(kFullWarp, second, lane);
    }
  }
};

// Newton's step from below towards Σ e = 1 or Σ e² = 1 (normalizer/row.h).
template <SparseNormalizer kNormalizer>
__device__ float newton_step(float threshold, const RootSums& sums) {
  if constexpr (kNormalizer == SparseNormalizer::kSparsemax) {
    return threshold + (sums.first - 1) / sums.count;
  } else {
    const float norm = sqrtf(sums.second);
    return threshold + (norm - 1) * norm / sums.first;
  }
}

// Σ w of the row, from the sums at its threshold.
template <SparseNormalizer kNormalizer>
__device__ float weight_sum(const RootSums& sums) {
  return kNormalizer == SparseNormalizer::kSparsemax ? sums.count : sums.first;
}

constexpr int kMostNewtonSteps = 64;

template <SparseNormalizer kNormalizer, int kHeadSize>
class Candidates {
 public:
  static constexpr int kRows = 2 * Geometry<kHeadSize>::kPieces;  // of a lane
  static constexpr int kThreads = Geometry<kHeadSize>::kThreads;
  static constexpr int kCapacity = 32;
  // What add() may append to each list.
  static constexpr int kRoom = 8;
  static constexpr int kSpillFields = 5;
  static constexpr int kBytes = kRows * (kCapacity + kSpillFields) * kThreads * 4;

  float shift[kRows];      // the largest product
  float threshold[kRows];  // after solve()
  float weights[kRows];    // Σ w, after solve()

  __device__ Candidates(float* memory, const Weights& weights)
      : list_(memory + threadIdx.x),
        spill_(list_ + kRows * kCapacity * kThreads),
        unit_(weights.unit),
        span_(1.0001f / weights.unit) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = -INFINITY;
      bound_[r] = -INFINITY;
      end_[r] = list_ + r * kCapacity * kThreads;
    }
  }

  // Products of 32 columns: [piece][n][half·2 + i] belongs to the lane's row 2·piece + half.
  __device__ void add(const float (&products)[kRows / 2][4][4]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float largest = max_or_nan(products[r / 2][0][r % 2 * 2], products[r / 2][0][r % 2 * 2 + 1]);
#pragma unroll
      for (int n = 1; n < 4; ++n) {
        largest = max_or_nan(largest, products[r / 2][n][r % 2 * 2]);
        largest = max_or_nan(largest, products[r / 2][n][r % 2 * 2 + 1]);
      }
      largest = max_or_nan(largest, __shfl_xor_sync(kFullWarp, largest, 1));
      largest = max_or_nan(largest, __shfl_xor_sync(kFullWarp, largest, 2));
      shift[r] = max_or_nan(shift[r], largest);
      bound_[r] = fmaxf(bound_[r], shift[r] - span_ - 2.4e-7f * fabsf(shift[r]));
    }
    bool full = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float product = products[r / 2][n][r % 2 * 2 + i];
          if (product > bound_[r]) {
            *end_[r] = product;
            end_[r] += kThreads;
          }
        }
      }
      full = full || end_[r] > list_ + (r * kCapacity + kCapacity - kRoom) * kThreads;
    }
    if (__any_sync(kFullWarp, full)) make_room();
  }

  // Returns whether all of the lane's thresholds are exact, which `exact` says row by row.
  __device__ bool solve(bool (&exact)[kRows]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      // A NaN or an infinity spoils its whole row.
      if (!(fabsf(shift[r]) < INFINITY)) shift[r] = NAN;
      threshold[r] = fmaxf((bound_[r] - shift[r]) * unit_, -1);
    }
    RootSums sums[kRows];
    for (int i = 0; i < kMostNewtonSteps; ++i) {
      sum_up(threshold, sums, exact);
      bool moved = false;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float next = newton_step<kNormalizer>(threshold[r], sums[r]);
        if (next > threshold[r]) {
          threshold[r] = next;
          moved = true;
        }
      }
      if (!__any_sync(kFullWarp, moved)) break;
    }
    bool all = true;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      weights[r] = weight_sum<kNormalizer>(sums[r]);
      if (isnan(shift[r])) exact[r] = true;
      all = all && exact[r];
    }
    return all;
  }

 private:
  enum SpillField { kCount, kFirst, kSecond, kShift, kSmallest };

  __device__ float& spill(int row, SpillField field) {
    return spill_[(row * kSpillFields + field) * kThreads];
  }
  __device__ bool has_spilled(int row) const { return spilled_ >> row & 1; }
  __device__ float* begin(int row) const { return list_ + row * kCapacity * kThreads; }

  __device__ int longest() const {
    int most = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      most = max(most, static_cast<int>(end_[r] - begin(r)) / kThreads);
    }
    return most;
  }

  // The rows' sums above `from`. Spilled products of a lane take part only if all of them lie
  // above; else `exact` is false for their row.
  __device__ void sum_up(const float (&from)[kRows], RootSums (&sums)[kRows],
                         bool (&exact)[kRows]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[r] = RootSums{};
    const int most = longest();
    for (int i = 0; i < most; ++i) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float* entry = begin(r) + i * kThreads;
        const float product = entry < end_[r] ? *entry : -INFINITY;
        sums[r].add(fmaf(product - shift[r], unit_, -from[r]));
      }
    }
    bool below[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      below[r] = false;
      if (!has_spilled(r)) continue;
      below[r] = !(fmaf(spill(r, kSmallest) - shift[r], unit_, -from[r]) > 0);
      if (below[r]) continue;
      const float count = spill(r, kCount);
      const float first = spill(r, kFirst);
      const float rise = fmaf(shift[r] - spill(r, kShift), unit_, from[r]);
      sums[r].count += count;
      sums[r].first += first - count * rise;
      sums[r].second += spill(r, kSecond) - rise * (2 * first - count * rise);
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sums[r].add_up();
      const unsigned quad = 0xfu << (threadIdx.x % 32 & ~3);
      exact[r] = (__ballot_sync(kFullWarp, below[r]) & quad) == 0;
    }
  }

  __device__ void make_room() {
    RootSums sums[kRows];
    float root[kRows];
    bool exact[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) root[r] = fmaxf((bound_[r] - shift[r]) * unit_, -1);
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      sum_up(root, sums, exact);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        root[r] = fmaxf(root[r], newton_step<kNormalizer>(root[r], sums[r]));
      }
    }
    float* kept[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const float lifted = shift[r] + (root[r] - 1e-6f) / unit_ - 2.4e-7f * fabsf(shift[r]);
      bound_[r] = fmaxf(bound_[r], lifted);
      kept[r] = begin(r);
    }
    const int most = longest();
    for (int i = 0; i < most; ++i) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float* entry = begin(r) + i * kThreads;
        if (entry >= end_[r]) continue;
        const float product = *entry;
        if (product > bound_[r]) {
          *kept[r] = product;
          kept[r] += kThreads;
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      end_[r] = kept[r];
      if (end_[r] - begin(r) > kCapacity / 2 * kThreads) spill_list(r);
    }
  }

  __device__ void spill_list(int row) {
    float count = 0;
    float first = 0;
    float second = 0;
    float smallest = INFINITY;
    if (has_spilled(row)) {
      count = spill(row, kCount);
      const float rise = (shift[row] - spill(row, kShift)) * unit_;
      first = spill(row, kFirst);
      second = spill(row, kSecond) - rise * (2 * first - count * rise);
      first -= count * rise;
      smallest = spill(row, kSmallest);
    }
    for (const float* entry = begin(row); entry < end_[row]; entry += kThreads) {
      const float e = (*entry - shift[row]) * unit_;
      count += 1;
      first += e;
      second += e * e;
      smallest = fminf(smallest, *entry);
    }
    spill(row, kCount) = count;
    spill(row, kFirst) = first;
    spill(row, kSecond) = second;
    spill(row, kShift) = shift[row];
    spill(row, kSmallest) = smallest;
    spilled_ |= 1u << row;
    end_[row] = begin(row);
  }

  float* list_;
  float* spill_;
  float unit_;
  float span_;  // 1 in units of products, and a little
  float bound_[kRows];
  float* end_[kRows];
  unsigned spilled_ = 0;
};

}  // namespace oasis::cuda
