// How a block holds the rows of one token: thread t has vector t of every row. Rows are copied
// asynchronously into shared memory, where each thread reads back only what it has copied itself,
// so no barrier is needed; a slot is refilled for the block's next token as soon as it was used.
// Rows for which there is no room are read from global memory when they are used; the second time
// they come from the second-level cache.
#pragma once

#include "kernels/depth_route/depth_route_kernel.h"
#include "kernels/depth_route/vector.cuh"
#include "kernels/depth_route/warp.cuh"

namespace oasis::cuda {

// Sources whose sums are reduced together.
constexpr int kSourceGroup = 4;

// Vectors per thread and row in front of the sources' slots: the direction takes one or two (T is a
// half type and the direction float32), dR one.
__host__ __device__ inline int direction_slots(bool direction_is_float, int element_size) {
  return direction_is_float && element_size == 2 ? 2 : 1;
}

template <typename T>
class TokenRows {
 public:
  static constexpr int kVector = kVectorSize<T>;

  // `slots` in shared memory: [extra + resident][blockDim.x] vectors.
  __device__ TokenRows(const DepthRouteProblem& p, uint4* slots, int extra, int resident)
      : problem_(p),
        own_(slots + threadIdx.x),
        extra_(extra),
        resident_(resident),
        vectors_(p.hidden_size / kVector),
        active_(static_cast<int>(threadIdx.x) < vectors_) {
    if (!active_) {
      for (int i = 0; i < extra + resident; ++i) own_[i * blockDim.x] = uint4{0, 0, 0, 0};
    }
  }

  __device__ bool active() const { return active_; }

  // Offset of this thread's vector of token m, in vectors.
  __device__ int64_t offset(int64_t m) const { return m * vectors_ + threadIdx.x; }

  // Starts the copy of a [M, D] tensor's row into an extra slot, or of a source's.
  __device__ void fetch_extra(int slot, const void* tensor, int64_t m) {
    if (active_) copy_async(own_ + slot * blockDim.x, at(tensor, offset(m)));
  }
  __device__ void fetch_source(int i, int64_t m) {
    if (active_ && i < resident_) {
      copy_async(own_ + (extra_ + i) * blockDim.x, at(problem_.values[i], offset(m)));
    }
  }
  __device__ void fetch_direction(int64_t m) {
    if (!active_) return;
    if (direction_slots(problem_.direction_is_float, sizeof(T)) == 2) {
      copy_async(own_, at(problem_.direction, 2 * offset(m)));
      copy_async(own_ + blockDim.x, at(problem_.direction, 2 * offset(m) + 1));
    } else {
      copy_async(own_, at(problem_.direction, offset(m)));
    }
  }

  __device__ uint4 extra(int slot) const { return own_[slot * blockDim.x]; }

  __device__ uint4 source(int i, int64_t m) const {
    if (i < resident_) return own_[(extra_ + i) * blockDim.x];
    return active_ ? load_streaming(at(problem_.values[i], offset(m))) : uint4{0, 0, 0, 0};
  }

  __device__ void direction(float (&u)[kVector]) const {
    if constexpr (sizeof(T) == 2) {
      if (problem_.direction_is_float) {
        float low[4], high[4];
        to_floats<float>(own_[0], low);
        to_floats<float>(own_[blockDim.x], high);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          u[i] = low[i];
          u[i + 4] = high[i];
        }
        return;
      }
    }
    to_floats<T>(own_[0], u);
  }

 private:
  static __device__ const uint4* at(const void* tensor, int64_t vector) {
    return static_cast<const uint4*>(tensor) + vector;
  }

  const DepthRouteProblem& problem_;
  uint4* own_;
  int extra_, resident_, vectors_;
  bool active_;
};

// Adds up per-source values over the block. Each warp leaves its sums in shared memory, and after
// one barrier every warp adds all of them up for itself. Two buffers in turn: a warp may begin the
// next token while another still reads.
class BlockSums {
 public:
  // `quantities` [n] values per source; shared memory for 2 × warps × quantities × n floats.
  __device__ BlockSums(float* shared, int sources, int quantities)
      : shared_(shared),
        sources_(sources),
        warps_(static_cast<int>(blockDim.x) / kWarpSize),
        row_(quantities * sources),
        parity_(0) {}

  // The warp's sums of `quantity` for the sources first … first + kSourceGroup − 1.
  __device__ void add(int quantity, int first, float (&values)[kSourceGroup]) {
    const float sum = warp_sums(values);
    constexpr int kLanes = kWarpSize / kSourceGroup;
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    const int i = first + lane / kLanes;
    if (lane % kLanes == 0 && i < sources_) {
      const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
      buffer()[warp * row_ + quantity * sources_ + i] = sum;
    }
  }

  // After __syncthreads().
  __device__ Row total(int quantity) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
    Row row{0, 0};
    const float* column = buffer() + quantity * sources_ + lane;
    for (int w = 0; w < warps_; ++w, column += row_) {
      if (lane < sources_) row.low += *column;
      if (lane + kWarpSize < sources_) row.high += column[kWarpSize];
    }
    return row;
  }

  __device__ void next() { parity_ ^= 1; }

 private:
  __device__ float* buffer() const { return shared_ + parity_ * warps_ * row_; }

  float* shared_;
  int sources_, warps_, row_, parity_;
};

// Entry i of a row of floats, 0 where there is none; `stride` elements lie between entries.
__device__ inline Row load_row(const float* first, int sources, int64_t stride) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  Row row{0, 0};
  if (first == nullptr) return row;
  if (lane < sources) row.low = first[lane * stride];
  if (lane + kWarpSize < sources) row.high = first[(lane + kWarpSize) * stride];
  return row;
}

__device__ inline void store_row(float* first, int sources, int64_t stride, Row row) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  if (lane < sources) first[lane * stride] = row.low;
  if (lane + kWarpSize < sources) first[(lane + kWarpSize) * stride] = row.high;
}

// Entries from n on replaced.
__device__ inline Row pad_row(Row row, int sources, float padding) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  return {lane < sources ? row.low : padding, lane + kWarpSize < sources ? row.high : padding};
}

constexpr float kLogitClamp = 50.0F;

// NaN stays.
__device__ inline float clamp_logit(float g) {
  return g < -kLogitClamp ? -kLogitClamp : (g > kLogitClamp ? kLogitClamp : g);
}

// null_i − mean null; 0 from n on.
__device__ inline Row centred_nulls(const DepthRouteProblem& p, int64_t m) {
  const Row nulls = load_row(p.nulls == nullptr ? nullptr : p.nulls + m, p.sources, p.tokens);
  const float mean = row_sum(nulls) / static_cast<float>(p.sources);
  return pad_row(map(nulls, [=](float x) { return x - mean; }), p.sources, 0.0F);
}

}  // namespace oasis::cuda
