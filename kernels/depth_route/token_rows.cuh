// How a block holds the rows of one token: every warp has a part of each row, kVectors vectors per
// lane. Rows are copied asynchronously into shared memory, where each thread reads back only what
// it has copied itself, so no barrier is needed; a slot is refilled for the block's next token as
// soon as it was used. Rows for which there is no room are read from global memory when they are
// used; the second time they come from the second-level cache.
#pragma once

#include <type_traits>

#include "kernels/depth_route/depth_route_kernel.h"
#include "kernels/depth_route/vector.cuh"
#include "kernels/depth_route/warp.cuh"

namespace oasis::cuda {

// Rows in front of the sources' in shared memory: the direction takes one or two (T is a half type
// and the direction float32), dR one.
__host__ __device__ inline int direction_slots(bool direction_is_float, int element_size) {
  return direction_is_float && element_size == 2 ? 2 : 1;
}

// Calls function(first, constant count) for groups of at most kMost (a power of two) sources that
// cover 0 … sources − 1: what is done for a group together keeps more loads in flight.
template <int kMost, typename Function>
__device__ inline void for_source_groups(int sources, const Function& function) {
  int first = 0;
  for (; first + kMost <= sources; first += kMost) {
    function(first, std::integral_constant<int, kMost>());
  }
  if constexpr (kMost == 4) {
    if (first + 2 <= sources) {
      function(first, std::integral_constant<int, 2>());
      first += 2;
    }
  }
  if (first < sources) function(first, std::integral_constant<int, 1>());
}

// kSmall: every source has a slot.
template <typename T, int kVectors, bool kSmall>
class TokenRows {
 public:
  static constexpr int kElements = kVectorSize<T>;

  // `slots` in shared memory: [extra + resident][blockDim.x · kVectors] vectors.
  __device__ TokenRows(const DepthRouteProblem& p, uint4* slots, int extra, int resident)
      : problem_(p),
        vectors_(p.hidden_size / kElements),
        slot_(static_cast<int>(blockDim.x) * kVectors),
        resident_(resident),
        first_((static_cast<int>(threadIdx.x) / kWarpSize * kVectors * kWarpSize) +
               static_cast<int>(threadIdx.x) % kWarpSize),
        own_(slots + first_),
        sources_(own_ + extra * slot_) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (active(v)) continue;
      for (int i = 0; i < extra + resident; ++i)
        own_[i * slot_ + v * kWarpSize] = uint4{0, 0, 0, 0};
    }
  }

  // Number of this thread's vector v in its row, and whether the row is that long.
  __device__ int in_row(int v) const {
    return first_ + v * kWarpSize;
  }
  __device__ bool active(int v) const {
    return in_row(v) < vectors_;
  }
  // Offset of this thread's first vector of token m, in vectors; kWarpSize to the next.
  __device__ int64_t offset(int64_t m) const {
    return m * vectors_ + first_;
  }

  // Starts the copy of a [M, D] tensor's row into an extra slot, or of a source's.
  __device__ void fetch_extra(int slot, const void* tensor, int64_t m) {
    copy(own_ + slot * slot_, at(tensor, offset(m)), 1);
  }
  __device__ void fetch_source(int i, int64_t offset) {
    if (kSmall || i < resident_) copy(sources_ + i * slot_, at(problem_.values[i], offset), 1);
  }
  // The two halves of a vector's float32 elements go to the same place of two slots.
  __device__ void fetch_direction(int64_t m) {
    if (two_part_direction()) {
      copy(own_, at(problem_.direction, 2 * offset(m)), 2);
      copy(own_ + slot_, at(problem_.direction, 2 * offset(m) + 1), 2);
    } else {
      copy(own_, at(problem_.direction, offset(m)), 1);
    }
  }

  __device__ uint4 extra(int slot, int v) const {
    return own_[slot * slot_ + v * kWarpSize];
  }

  // `offset` of the token.
  __device__ void source(int i, int64_t offset, uint4 (&raw)[kVectors]) const {
    if (kSmall || i < resident_) {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) raw[v] = sources_[i * slot_ + v * kWarpSize];
    } else {
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        raw[v] = active(v) ? load_streaming(at(problem_.values[i], offset + v * kWarpSize))
                           : uint4{0, 0, 0, 0};
      }
    }
  }

  __device__ void direction(int v, float (&u)[kElements]) const {
    if constexpr (sizeof(T) == 2) {
      if (two_part_direction()) return to_floats_of_two(extra(0, v), extra(1, v), u);
    }
    to_floats<T>(extra(0, v), u);
  }

 private:
  static __device__ const uint4* at(const void* tensor, int64_t vector) {
    return static_cast<const uint4*>(tensor) + vector;
  }

  __device__ bool two_part_direction() const {
    return direction_slots(problem_.direction_is_float, sizeof(T)) == 2;
  }

  __device__ void copy(uint4* to, const uint4* from, int stride) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (active(v)) copy_async(to + v * kWarpSize, from + v * kWarpSize * stride);
    }
  }

  const DepthRouteProblem& problem_;
  int vectors_, slot_, resident_, first_;
  uint4 *own_, *sources_;
};

// Adds up per-source values over the block. Each warp leaves its sums in shared memory, and after
// one barrier every warp adds all of them up for itself. Two buffers in turn: a warp may begin the
// next token while another still reads.
template <int kParts>
class BlockSums {
 public:
  // `quantities` [n] values per source; shared memory for 2 × warps × quantities × n floats.
  __device__ BlockSums(float* shared, int sources, int quantities)
      : shared_(shared),
        lane_(static_cast<int>(threadIdx.x) % kWarpSize),
        sources_(sources),
        warps_(static_cast<int>(blockDim.x) / kWarpSize),
        row_(quantities * sources) {}

  // The warp's sums of `quantity` for the sources first … first + kCount − 1.
  template <int kCount>
  __device__ void add(int quantity, int first, float (&values)[kCount]) {
    const float sum = warp_sums(values);
    constexpr int kLanes = kWarpSize / kCount;
    const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
    float* to = shared_ + warp * row_ + quantity * sources_ + first;
    if (lane_ % kLanes == 0) to[lane_ / kLanes] = sum;
  }

  // After __syncthreads().
  __device__ Row<kParts> total(int quantity) const {
    Row<kParts> row;
    const float* column = shared_ + quantity * sources_ + lane_;
    for (int w = 0; w < warps_; ++w, column += row_) {
#pragma unroll
      for (int k = 0; k < kParts; ++k) {
        if (lane_ + k * kWarpSize < sources_) row.part[k] += column[k * kWarpSize];
      }
    }
    return row;
  }

  __device__ void next() {
    shared_ += parity_ == 0 ? warps_ * row_ : -warps_ * row_;
    parity_ ^= 1;
  }

 private:
  float* shared_;
  int lane_, sources_, warps_, row_, parity_ = 0;
};

// Where a thread's entries lie in rows of n floats.
template <int kParts>
struct RowEntries {
  int lane, sources;

  __device__ explicit RowEntries(int n)
      : lane(static_cast<int>(threadIdx.x) % kWarpSize), sources(n) {}

  __device__ bool has(int k) const { return lane + k * kWarpSize < sources; }

  // 0 where there is none; `stride` elements lie between entries.
  __device__ Row<kParts> load(const float* first, int64_t stride) const {
    Row<kParts> row;
    if (first == nullptr) return row;
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      if (has(k)) row.part[k] = __ldg(first + (lane + k * kWarpSize) * stride);
    }
    return row;
  }

  __device__ void store(float* first, int64_t stride, Row<kParts> row) const {
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      if (has(k)) first[(lane + k * kWarpSize) * stride] = row.part[k];
    }
  }

  // Entries from n on replaced.
  __device__ Row<kParts> pad(Row<kParts> row, float padding) const {
#pragma unroll
    for (int k = 0; k < kParts; ++k) row.part[k] = has(k) ? row.part[k] : padding;
    return row;
  }
};

// What the logit bias is multiplied by, source by source.
template <int kParts>
__device__ inline Row<kParts> bias_factors(const RowEntries<kParts>& entries,
                                           const DepthRouteProblem& p) {
  Row<kParts> row;
#pragma unroll
  for (int k = 0; k < kParts; ++k) {
    const int i = entries.lane + k * kWarpSize;
    row.part[k] = p.bias_is_line ? static_cast<float>(p.line_first + i * p.line_step) : 1.0F;
  }
  return row;
}

constexpr float kLogitClamp = 50.0F;

// NaN stays.
__device__ inline float clamp_logit(float g) {
  return g < -kLogitClamp ? -kLogitClamp : (g > kLogitClamp ? kLogitClamp : g);
}

// Entries minus their mean; 0 from n on, where `row` is 0 as well.
template <int kParts>
__device__ inline Row<kParts> centred(const RowEntries<kParts>& entries, Row<kParts> row) {
  const float mean = row_sum(row) / static_cast<float>(entries.sources);
  return entries.pad(map(row, [=](float x) { return x - mean; }), 0.0F);
}

}  // namespace oasis::cuda
