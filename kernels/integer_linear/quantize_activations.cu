#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/integer_linear/quantize_activations_kernel.h"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kPack = 8;         // values that a thread takes at once
constexpr int kPacksInHand = 4;  // of a row that a thread keeps in registers
constexpr unsigned kAllLanes = 0xffffffffu;

// Rounds x/scale as a division would, mostly by a multiplication: that is off by less than 1e-4
// where codes are not cut off, so only near halves does it matter.
struct Rounding {
  float scale, inverse;

  __device__ explicit Rounding(float s) : scale(s), inverse(1.0f / s) {}
  __device__ float operator()(float x) const {
    const float nearly = __fmul_rn(x, inverse);
    const float rounded = rintf(nearly);
    if (fabsf(nearly - rounded) < 0.4995f) return rounded;
    return rintf(__fdiv_rn(x, scale));
  }
};

struct Codes {
  Rounding rounding;
  float zero, lowest, highest, shift;

  __device__ std::uint32_t operator()(float x) const {
    const float exact = __fadd_rn(rounding(x), zero);
    const float code = exact != exact ? zero : exact;  // NaN
    const float clamped = fminf(fmaxf(code, lowest), highest);
    return static_cast<std::uint32_t>(__float2int_rn(clamped - shift)) & 0xff;
  }

  __device__ void store(std::int8_t* to, const float (&values)[kPack]) const {
    std::uint32_t words[kPack / 4] = {};
#pragma unroll
    for (int i = 0; i < kPack; ++i) words[i / 4] |= (*this)(values[i]) << i % 4 * 8;
    *reinterpret_cast<uint2*>(to) = {words[0], words[1]};
  }
};

// Values [first, first + kPack) of a row; zeros beyond its end. `aligned`: rows begin at multiples
// of a pack.
template <class T>
__device__ void load_values(const T* row, int first, int columns, bool is_aligned,
                            float (&values)[kPack]) {
  if (is_aligned) {
    constexpr int kPiece = 16 / sizeof(T);
#pragma unroll
    for (int i = 0; i < kPack; i += kPiece) {
      float piece[kPiece];
      load(row + first + i, piece);
#pragma unroll
      for (int j = 0; j < kPiece; ++j) values[i + j] = piece[j];
    }
  } else {
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      values[i] = first + i < columns ? to_float(row[first + i]) : 0.0f;
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock) static_kernel(QuantizeActivations p, bool is_aligned) {
  const int packs = (p.columns + kPack - 1) / kPack;  // of a row, whose codes fill whole packs
  const Codes codes{Rounding(p.grid.scale), p.grid.zero, 0, p.grid.highest, p.grid.shift};
  const long long total = static_cast<long long>(packs) * p.rows;
  const long long thread = blockIdx.x * static_cast<long long>(kBlock) + threadIdx.x;
  if (thread == 0) *p.scale = p.grid.scale;
  for (long long i = thread; i < total; i += gridDim.x * static_cast<long long>(kBlock)) {
    const long long row = i / packs;
    const int first = static_cast<int>(i - row * packs) * kPack;
    float values[kPack];
    load_values(static_cast<const T*>(p.x) + row * p.columns, first, p.columns, is_aligned, values);
    codes.store(p.codes + row * p.stride + first, values);
  }
}

__device__ unsigned larger(unsigned largest, float x) {
  return max(largest, __float_as_uint(fabsf(x)));  // NaN is largest
}

// kThreads threads, a warp or a block, to a row.
template <class T, int kThreads>
__global__ void __launch_bounds__(kBlock) dynamic_kernel(QuantizeActivations p, bool is_aligned) {
  __shared__ unsigned shared[kBlock / 32];
  const int row = blockIdx.x * (kBlock / kThreads) + threadIdx.x / kThreads;
  if (row >= p.rows) return;  // a whole warp, or none
  const int lane = threadIdx.x % kThreads;
  const auto* x = static_cast<const T*>(p.x) + static_cast<long long>(row) * p.columns;
  float values[kPacksInHand][kPack];
  unsigned largest = 0;
#pragma unroll
  for (int i = 0; i < kPacksInHand; ++i) {
    const int first = (i * kThreads + lane) * kPack;
    if (first < p.columns) load_values(x, first, p.columns, is_aligned, values[i]);
  }
#pragma unroll
  for (int i = 0; i < kPacksInHand; ++i) {
    if ((i * kThreads + lane) * kPack >= p.columns) continue;
#pragma unroll
    for (int j = 0; j < kPack; ++j) largest = larger(largest, values[i][j]);
  }
  constexpr int kInHand = kPacksInHand * kThreads * kPack;
  for (int first = kInHand + lane * kPack; first < p.columns; first += kThreads * kPack) {
    float more[kPack];
    load_values(x, first, p.columns, is_aligned, more);
#pragma unroll
    for (int j = 0; j < kPack; ++j) largest = larger(largest, more[j]);
  }
  largest = __reduce_max_sync(kAllLanes, largest);
  if constexpr (kThreads == kBlock) {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = largest;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kBlock / 32; ++i) largest = max(largest, shared[i]);
  }
  const float exact = __fdiv_rn(__uint_as_float(largest), p.grid.highest);
  const float scale = exact < kSmallestRowScale ? kSmallestRowScale : exact;
  if (lane == 0) p.scale[row] = scale;
  const Codes codes{Rounding(scale), 0, -p.grid.highest - 1, p.grid.highest, 0};
  auto* to = p.codes + static_cast<long long>(row) * p.stride;
#pragma unroll
  for (int i = 0; i < kPacksInHand; ++i) {
    const int first = (i * kThreads + lane) * kPack;
    if (first < p.columns) codes.store(to + first, values[i]);
  }
  for (int first = kInHand + lane * kPack; first < p.columns; first += kThreads * kPack) {
    float more[kPack];
    load_values(x, first, p.columns, is_aligned, more);
    codes.store(to + first, more);
  }
}

template <class T>
void launch(const QuantizeActivations& p) {
  const bool is_aligned = p.columns % kPack == 0 && aligned(p.x, 16);
  if (!p.dynamic) {
    const long long packs = (p.columns + kPack - 1) / kPack * static_cast<long long>(p.rows);
    const long long most = 32LL * multiprocessors();
    const auto blocks = static_cast<unsigned>(std::clamp((packs + kBlock - 1) / kBlock, 1LL, most));
    static_kernel<T><<<blocks, kBlock, 0, p.stream>>>(p, is_aligned);
  } else if (p.columns <= 32 * kPack * kPacksInHand) {
    constexpr int kRows = kBlock / 32;
    dynamic_kernel<T, 32><<<(p.rows + kRows - 1) / kRows, kBlock, 0, p.stream>>>(p, is_aligned);
  } else {
    dynamic_kernel<T, kBlock><<<p.rows, kBlock, 0, p.stream>>>(p, is_aligned);
  }
}

}  // namespace

void quantize_activations(const QuantizeActivations& p) {
  if (p.rows == 0) return;
  dispatch_element(p.type, [&]<class T>() { launch<T>(p); });
  check_launch("oasis::quantize: activations");
}

}  // namespace oasis::cuda
