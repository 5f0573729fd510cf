// The thresholds of sparsemax and 1.5-entmax for a warp's rows, from one pass over the products.
//
// Only products above a lower bound of the threshold matter: above max − 1 in units of e to begin
// with (the largest product alone contributes 1), and above the root over any part of the row.
// Each lane keeps those that it meets in lists of its own in shared memory. When one fills up,
// steps of Newton's method over the lists lift the bound, and what fell below it is dropped. A list
// that stays long (a row of nearly equal weights) is spilled: only Σ 1, Σ e and Σ e² are kept,
// which is all that the root needs as long as every product in it stays above the threshold. Where
// that turns out wrong the row is not exact, and its threshold a guess to start further passes
// from.
#pragma once

#include "kernels/attention/sparse_attention.cuh"

namespace oasis::cuda {

__device__ inline float sqrt_fast(float x) {
  float y;
  asm("sqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Σ w and Σ p over the products above a threshold.
template <SparseNormalizer kNormalizer>
struct RootSums {
  static constexpr bool kSquares = kNormalizer == SparseNormalizer::kEntmax15;

  float weight = 0;
  float mass = 0;

  __device__ void add(float e) {
    const float above = fmaxf(e, 0);
    if constexpr (kSquares) {
      weight += above;
      mass = fmaf(above, above, mass);
    } else {
      weight += e > 0 ? 1.0f : 0.0f;
      mass += above;
    }
  }

  // `count` products of which Σ e and Σ e² are given.
  __device__ void add(float count, float first, float second) {
    weight += kSquares ? first : count;
    mass += kSquares ? second : first;
  }

  // Over the four lanes that share a row.
  __device__ void add_up() {
#pragma unroll
    for (int lane = 1; lane <= 2; lane *= 2) {
      weight += __shfl_xor_sync(kFullWarp, weight, lane);
      mass += __shfl_xor_sync(kFullWarp, mass, lane);
    }
  }

  // Newton's step towards Σ p = 1 from `threshold`; from any start it ends at or below the root
  // (normalizer/row.h).
  __device__ float step(float threshold) const {
    if constexpr (kSquares) {
      const float norm = sqrt_fast(mass);
      return threshold + __fdividef((norm - 1) * norm, weight);
    } else {
      return threshold + __fdividef(mass - 1, weight);
    }
  }
};

constexpr int kMostNewtonSteps = 64;

// Whether Newton's method still rises by more than rounding.
__device__ inline bool rises(float threshold, float next) {
  return next - threshold > 2.4e-7f * fabsf(threshold);
}

__device__ inline float load_shared(std::uint32_t address) {
  float value;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
  return value;
}

__device__ inline void store_shared(std::uint32_t address, float value) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(value) : "memory");
}

// For the kRows rows of each lane, which it shares with three others.
template <SparseNormalizer kNormalizer, int kRows, int kThreads>
class Candidates {
 public:
  static constexpr int kCapacity = 40;
  static constexpr int kSpillFields = 5;
  static constexpr int kBytes = kRows * (kCapacity + kSpillFields) * kThreads * 4;

  float shift[kRows];      // the largest product
  float threshold[kRows];  // after solve()

  // `memory` is the block's; other lanes' lists are not touched.
  __device__ Candidates(std::uint32_t memory, const Weights& weights)
      : lists_(memory + threadIdx.x * 4),
        spills_(lists_ + kRows * kListBytes),
        unit_(weights.unit),
        per_unit_(weights.per_unit) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      shift[r] = -INFINITY;
      largest_[r] = -INFINITY;
      bound_[r] = -INFINITY;
      clear_list(r);
    }
  }

  // Products of 32 columns: [piece][n][half·2 + i] belongs to the lane's row 2·piece + half.
  // `refresh`: compare notes with the other lanes first. Returns whether the lane kept any.
  __device__ bool add(const float (&products)[kRows / 2][4][4], bool refresh) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        largest_[r] = max_or_nan(largest_[r], products[r / 2][n][r % 2 * 2]);
        largest_[r] = max_or_nan(largest_[r], products[r / 2][n][r % 2 * 2 + 1]);
      }
    }
    if (refresh) share_largest();
    bool kept = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const std::uint32_t end = end_[r];
#pragma unroll
      for (int n = 0; n < 4; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float product = products[r / 2][n][r % 2 * 2 + i];
          if (product > bound_[r]) {
            store_shared(end_[r], product);
            end_[r] += kSlotBytes;
          }
        }
      }
      kept = kept || end_[r] != end;
    }
    return kept;
  }

  // Whether a list may not hold what the next tile adds.
  __device__ bool nearly_full() const {
    bool full = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      full = full || holds_more_than(r, kCapacity - kMostPerTile);
    }
    return full;
  }

  // Drops what lies below the root over the products so far. For whole warps.
  __device__ void make_room() {
    share_largest();
    const int blocks = used_blocks();
    RootSums<kNormalizer> sums[kRows];
    float root[kRows];
    bool exact[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) root[r] = fmaxf((bound_[r] - shift[r]) * unit_, -1);
#pragma unroll 1
    for (int i = 0; i < kMostLifts; ++i) {
      sum_up<Spilled::kFromBelow>(blocks, root, sums, exact);
      bool moved = false;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const float next = fmaxf(root[r], sums[r].step(root[r]));
        moved = moved || next - root[r] > kWorthALift;
        root[r] = next;
      }
      if (!__any_sync(kFullWarp, moved)) break;
    }
    bool long_list[kRows];
    bool any_long = false;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      bound_[r] =
          fmaxf(bound_[r], shift[r] + (root[r] - 1e-6f) * per_unit_ - 2.4e-7f * fabsf(shift[r]));
      end_[r] = list(r);
      for (int block = 0; block < blocks; ++block) {
        const std::uint32_t slots = list(r) + block * kLoop * kSlotBytes;
        float products[kLoop];
#pragma unroll
        for (int i = 0; i < kLoop; ++i) products[i] = load_shared(slots + i * kSlotBytes);
#pragma unroll
        for (int i = 0; i < kLoop; ++i) store_shared(slots + i * kSlotBytes, -INFINITY);
#pragma unroll
        for (int i = 0; i < kLoop; ++i) {
          if (products[i] > bound_[r]) {
            store_shared(end_[r], products[i]);
            end_[r] += kSlotBytes;
          }
        }
      }
      long_list[r] = holds_more_than(r, kLongList);
      any_long = any_long || long_list[r];
    }
    if (!__any_sync(kFullWarp, any_long)) return;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (long_list[r]) spill_list(r);
    }
  }

  // Afterwards `exact` says which thresholds are; true if all of the lane's rows.
  __device__ bool solve(bool (&exact)[kRows]) {
    share_largest();
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      // A NaN or an infinity spoils its whole row.
      if (!(fabsf(shift[r]) < INFINITY)) shift[r] = NAN;
      threshold[r] = fmaxf((bound_[r] - shift[r]) * unit_, -1);
    }
    const int blocks = used_blocks();
    RootSums<kNormalizer> sums[kRows];
    for (int i = 0; i < kMostNewtonSteps; ++i) {
      sum_up<Spilled::kGuessed>(blocks, threshold, sums, exact);
      bool moved = false;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        // A guess stays below the largest product.
        const float next = fminf(sums[r].step(threshold[r]), -1e-6f);
        if (!rises(threshold[r], next)) continue;
        threshold[r] = next;
        moved = true;
      }
      if (!__any_sync(kFullWarp, moved)) break;
    }
    bool all = true;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      exact[r] = exact[r] || isnan(shift[r]);
      all = all && exact[r];
    }
    return all;
  }

 private:
  static constexpr int kMostPerTile = kTileRows / 4;  // products of a lane and row
  static constexpr int kLongList = 20;                // is spilled, not searched again and again
  static constexpr int kMostLifts = 8;                // of the bound, in one go
  static constexpr float kWorthALift = 0.01f;         // in units of e
  static constexpr int kLoop = 8;                     // slots that loops take at a time
  static constexpr std::uint32_t kSlotBytes = kThreads * 4;  // from one slot of a lane to the next
  static constexpr std::uint32_t kListBytes = kCapacity * kSlotBytes;

  // How spilled products count of which not all lie above a threshold: so that Newton's method ends
  // below the root over all products, or close to it.
  enum class Spilled { kFromBelow, kGuessed };

  enum SpillField { kCount, kFirst, kSecond, kShift, kSmallest };

  struct Spill {
    float count = 0;
    float first = 0;
    float second = 0;

    // Of the same products, e measured from a point `rise` higher.
    __device__ Spill raised(float rise) const {
      return {count, first - count * rise, second - rise * (2 * first - count * rise)};
    }

    // Of those with e > 0, were e spread evenly around its mean.
    __device__ Spill above_zero() const {
      const float mean = first / count;
      const float spread = sqrt_fast(3 * fmaxf(second / count - mean * mean, 0));
      if (mean >= spread) return *this;
      const float largest = fmaxf(mean + spread, 0);
      const float share = count * largest / (2 * spread);
      return {share, share * largest / 2, share * largest * largest / 3};
    }
  };

  __device__ std::uint32_t list(int row) const {
    return lists_ + row * kListBytes;
  }
  __device__ bool holds_more_than(int row, int products) const {
    return end_[row] > list(row) + products * kSlotBytes;
  }

  __device__ std::uint32_t spill(int row, SpillField field) const {
    return spills_ + (row * kSpillFields + field) * kSlotBytes;
  }
  __device__ bool has_spilled(int row) const {
    return spilled_ >> row & 1;
  }
  __device__ Spill load_spill(int row) const {
    return {load_shared(spill(row, kCount)), load_shared(spill(row, kFirst)),
            load_shared(spill(row, kSecond))};
  }

  // Unused slots hold −inf.
  __device__ void clear_list(int row) {
    end_[row] = list(row);
#pragma unroll
    for (int i = 0; i < kCapacity; ++i) store_shared(list(row) + i * kSlotBytes, -INFINITY);
  }

  // For the longest list of the warp.
  __device__ int used_blocks() const {
    std::uint32_t bytes = 0;
#pragma unroll
    for (int r = 0; r < kRows; ++r) bytes = max(bytes, end_[r] - list(r));
    return (__reduce_max_sync(kFullWarp, bytes / kSlotBytes) + kLoop - 1) / kLoop;
  }

  __device__ void share_largest() {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float largest = largest_[r];
      largest = max_or_nan(largest, __shfl_xor_sync(kFullWarp, largest, 1));
      largest = max_or_nan(largest, __shfl_xor_sync(kFullWarp, largest, 2));
      shift[r] = largest;
      bound_[r] = fmaxf(bound_[r], largest - 1.0001f * per_unit_ - 2.4e-7f * fabsf(largest));
    }
  }

  // The rows' sums above `from`. `exact` is false for rows with spilled products at or below it.
  template <Spilled kSpilled>
  __device__ void sum_up(int blocks, const float (&from)[kRows],
                         RootSums<kNormalizer> (&sums)[kRows], bool (&exact)[kRows]) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) sums[r] = {};
    for (int block = 0; block < blocks; ++block) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        const std::uint32_t slots = list(r) + block * kLoop * kSlotBytes;
#pragma unroll
        for (int i = 0; i < kLoop; ++i) {
          sums[r].add(fmaf(load_shared(slots + i * kSlotBytes) - shift[r], unit_, -from[r]));
        }
      }
    }
    bool below[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      below[r] = false;
      if (!has_spilled(r)) continue;
      below[r] = !(fmaf(load_shared(spill(r, kSmallest)) - shift[r], unit_, -from[r]) > 0);
      auto spilled =
          load_spill(r).raised(fmaf(shift[r] - load_shared(spill(r, kShift)), unit_, from[r]));
      // The root over any part of a row is a lower bound. Under sparsemax so is the line through
      // products that lie below; under entmax their squares would lift it.
      if (below[r] && kSpilled == Spilled::kGuessed) spilled = spilled.above_zero();
      if (below[r] && kSpilled == Spilled::kFromBelow && RootSums<kNormalizer>::kSquares) continue;
      sums[r].add(spilled.count, spilled.first, spilled.second);
    }
    const unsigned quad = 0xfu << (threadIdx.x % 32 & ~3);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      sums[r].add_up();
      exact[r] = (__ballot_sync(kFullWarp, below[r]) & quad) == 0;
    }
  }

  __device__ void spill_list(int row) {
    Spill sums;
    float smallest = INFINITY;
    if (has_spilled(row)) {
      sums = load_spill(row).raised((shift[row] - load_shared(spill(row, kShift))) * unit_);
      smallest = load_shared(spill(row, kSmallest));
    }
#pragma unroll
    for (int i = 0; i < kCapacity; ++i) {
      const float product = load_shared(list(row) + i * kSlotBytes);
      const bool used = product > -INFINITY;
      const float e = used ? (product - shift[row]) * unit_ : 0.0f;
      sums.count += used ? 1.0f : 0.0f;
      sums.first += e;
      sums.second = fmaf(e, e, sums.second);
      smallest = used ? fminf(smallest, product) : smallest;
    }
    store_shared(spill(row, kCount), sums.count);
    store_shared(spill(row, kFirst), sums.first);
    store_shared(spill(row, kSecond), sums.second);
    store_shared(spill(row, kShift), shift[row]);
    store_shared(spill(row, kSmallest), smallest);
    spilled_ |= 1u << row;
    clear_list(row);
  }

  std::uint32_t lists_;
  std::uint32_t spills_;
  float unit_;
  float per_unit_;
  float largest_[kRows];  // of the lane's own products
  float bound_[kRows];
  std::uint32_t end_[kRows];
  unsigned spilled_ = 0;
};

}  // namespace oasis::cuda
