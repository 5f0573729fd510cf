// From int32 sums to outputs, rounded as integer_linear.h says, and pieces that the three products
// share.
#pragma once

#include "kernels/cuda/vector.cuh"
#include "kernels/integer_linear/integer_product_kernel.h"

namespace oasis::cuda {

// What two neighbouring columns multiply and add.
struct ColumnPair {
  float scale[2];
  float bias[2];
  int shift[2];  // zero · sum of the weights
};

// Of columns [n, n + 2); zeros beyond the last.
__device__ inline ColumnPair column_pair(const IntegerProduct& p, int n) {
  ColumnPair c{};
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (n + i >= p.N) continue;
    if (p.bias != nullptr) c.bias[i] = __ldg(p.bias + n + i);
    if (p.grouped) continue;
    c.scale[i] = __ldg(p.w_scale + (p.w_by_column ? n + i : 0));
    if (p.zero != 0) c.shift[i] = p.zero * __ldg(p.sums + n + i);
  }
  return c;
}

__device__ inline float row_scale(const IntegerProduct& p, int m) {
  return m < p.M ? __ldg(p.x_scale + (p.x_by_row ? m : 0)) : 0.0f;
}

__device__ inline float output_of(int sum, float x_scale, const ColumnPair& c, int i) {
  return __fmaf_rn(__int2float_rn(sum - c.shift[i]), __fmul_rn(x_scale, c.scale[i]), c.bias[i]);
}

// Of groups: of a sum of scaled sums.
__device__ inline float output_of(float total, float x_scale, const ColumnPair& c, int i) {
  return __fmaf_rn(total, x_scale, c.bias[i]);
}

// total + group g's sum, scaled.
__device__ inline float add_group(const IntegerProduct& p, float total, int sum, int g, int n) {
  if (n >= p.N) return total;
  const long long index = static_cast<long long>(g) * p.N + n;
  if (p.zero != 0) sum -= p.zero * __ldg(p.sums + index);
  return __fmaf_rn(__int2float_rn(sum), __ldg(p.w_scale + index), total);
}

template <class T>
__device__ void store_pair(const IntegerProduct& p, int m, int n, float left, float right) {
  if (m >= p.M || n >= p.N) return;
  T* to = static_cast<T*>(p.y) + static_cast<long long>(m) * p.N + n;
  if (p.N % 2 == 0) {
    const float both[2] = {left, right};
    store(to, both);
  } else {
    to[0] = from_float<T>(left);
    if (n + 1 < p.N) to[1] = from_float<T>(right);
  }
}

// Eight nibbles in order to eight codes times 16, which need no sign extension.
__device__ inline void expand_nibbles(std::uint32_t nibbles, std::uint32_t& first,
                                      std::uint32_t& second) {
  const std::uint32_t even = (nibbles << 4) & 0xf0f0f0f0u;
  const std::uint32_t odd = nibbles & 0xf0f0f0f0u;
  first = __byte_perm(even, odd, 0x5140);
  second = __byte_perm(even, odd, 0x7362);
}
constexpr int kNibbleShift = 4;  // of sums of such products, exact

// call(T{}) of the type of y.
template <class Call>
void with_output_type(const IntegerProduct& p, const Call& call) {
  if (p.type == ElementType::kFloat32) return call(float{});
  return call(__nv_bfloat16{});
}

}  // namespace oasis::cuda
