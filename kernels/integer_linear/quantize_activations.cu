#include <algorithm>

#include "kernels/cuda/early_launch.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/integer_linear/quantize_activations_kernel.h"

namespace oasis::cuda {
namespace {

constexpr const char* kWhat = "oasis::quantize: activations";
constexpr int kBlock = 256;
constexpr int kPack = 8;         // values that a thread takes at once
constexpr int kStaticPacks = 2;  // that a thread has under way
constexpr int kRowPacks = 4;     // of a row
constexpr unsigned kAllLanes = 0xffffffffu;

// Added to a number of less than 2^22, it leaves the nearest integer, half to even, in the low
// bits.
constexpr float kRounder = 12582912.0f;

// x/scale rounded, by a multiplication: that is off by less than 6e-5 up to 512, beyond which codes
// are cut off, so it matters near halves alone. `sure` stays true where it does not, and becomes
// false for NaN too.
__device__ float rounded_quotient(float x, float inverse, bool& sure) {
  const float nearly = __fmul_rn(x, inverse);
  const float rounded = __fsub_rn(__fadd_rn(nearly, kRounder), kRounder);
  sure = sure && fabsf(__fsub_rn(nearly, rounded)) < 0.49994f;
  return rounded;
}

struct Codes {
  float scale, inverse, zero, lowest, highest, shift;

  __device__ Codes(float s, float z, float low, float high, float less)
      : scale(s), inverse(1.0f / s), zero(z), lowest(low - z), highest(high - z), shift(less) {}

  // In the low eight bits.
  __device__ std::uint32_t code(float rounded) const {
    const float clamped = fminf(fmaxf(rounded, lowest), highest);
    return __float_as_uint(__fadd_rn(clamped, kRounder + zero - shift));
  }
  __device__ std::uint32_t exact_code(float x) const {
    const float rounded = rintf(__fdiv_rn(x, scale));
    return code(rounded != rounded ? 0.0f : rounded);
  }
  __device__ static std::uint32_t four(const std::uint32_t (&c)[kPack], int i) {
    return __byte_perm(__byte_perm(c[i], c[i + 1], 0x0040), __byte_perm(c[i + 2], c[i + 3], 0x0040),
                       0x5410);
  }

  __device__ uint2 operator()(const float (&values)[kPack]) const {
    std::uint32_t codes[kPack];
    bool sure = true;
#pragma unroll
    for (int i = 0; i < kPack; ++i) codes[i] = code(rounded_quotient(values[i], inverse, sure));
    if (!sure) {
#pragma unroll
      for (int i = 0; i < kPack; ++i) codes[i] = exact_code(values[i]);
    }
    return {four(codes, 0), four(codes, 4)};
  }
};

// Values [first, first + kPack) of a row; zeros beyond its end. `aligned`: rows begin at multiples
// of a pack.
template <class T>
__device__ void load_values(const T* row, long long first, long long columns, bool is_aligned,
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

// A thread takes kStaticPacks packs, a block apart, of what counts as one long row (kFlat) or of
// row blockIdx.y.
template <class T, bool kFlat>
__global__ void __launch_bounds__(kBlock) static_kernel(QuantizeActivations p, bool is_aligned) {
  let_later_kernels_start();
  wait_for_earlier_kernels();
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *p.scale = p.grid.scale;
  const Codes codes(p.grid.scale, p.grid.zero, 0, p.grid.highest, p.grid.shift);
  const long long count = kFlat ? static_cast<long long>(p.rows) * p.columns : p.columns;
  const long long begin =
      (blockIdx.x * static_cast<long long>(kBlock * kStaticPacks) + threadIdx.x) * kPack;
  for (int row = blockIdx.y; row < (kFlat ? 1 : p.rows); row += gridDim.y) {
    const auto* x = static_cast<const T*>(p.x) + static_cast<long long>(row) * p.columns;
    auto* to = p.codes + static_cast<long long>(row) * p.stride;
    float values[kStaticPacks][kPack];
#pragma unroll
    for (int i = 0; i < kStaticPacks; ++i) {
      const long long first = begin + i * kBlock * kPack;
      if (first < count) load_values(x, first, count, kFlat || is_aligned, values[i]);
    }
#pragma unroll
    for (int i = 0; i < kStaticPacks; ++i) {
      const long long first = begin + i * kBlock * kPack;
      if (first < count) *reinterpret_cast<uint2*>(to + first) = codes(values[i]);
    }
  }
}

__device__ unsigned larger(unsigned largest, float x) {
  return max(largest, __float_as_uint(fabsf(x)));  // NaN is largest
}

template <int kThreads>
constexpr int row_block() {
  return kThreads == 32 ? kBlock : kThreads;
}

// kThreads threads to a row: a warp of a block of several, or a block.
template <class T, int kThreads>
__global__ void __launch_bounds__(row_block<kThreads>())
    dynamic_kernel(QuantizeActivations p, bool is_aligned) {
  __shared__ unsigned shared[kThreads / 32];
  let_later_kernels_start();
  wait_for_earlier_kernels();
  const int row = blockIdx.x * (row_block<kThreads>() / kThreads) + threadIdx.x / kThreads;
  if (row >= p.rows) return;  // a whole warp, or none
  const int lane = threadIdx.x % kThreads;
  const auto* x = static_cast<const T*>(p.x) + static_cast<long long>(row) * p.columns;
  float values[kRowPacks][kPack];
  unsigned largest = 0;
#pragma unroll
  for (int i = 0; i < kRowPacks; ++i) {
    const int first = (i * kThreads + lane) * kPack;
    if (first < p.columns) load_values(x, first, p.columns, is_aligned, values[i]);
  }
#pragma unroll
  for (int i = 0; i < kRowPacks; ++i) {
    if ((i * kThreads + lane) * kPack >= p.columns) continue;
#pragma unroll
    for (int j = 0; j < kPack; ++j) largest = larger(largest, values[i][j]);
  }
  constexpr int kInHand = kRowPacks * kThreads * kPack;
  for (int first = kInHand + lane * kPack; first < p.columns; first += kThreads * kPack) {
    float more[kPack];
    load_values(x, first, p.columns, is_aligned, more);
#pragma unroll
    for (int j = 0; j < kPack; ++j) largest = larger(largest, more[j]);
  }
  largest = __reduce_max_sync(kAllLanes, largest);
  if constexpr (kThreads > 32) {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = largest;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kThreads / 32; ++i) largest = max(largest, shared[i]);
  }
  const float exact = __fdiv_rn(__uint_as_float(largest), p.grid.highest);
  const float scale = exact < kSmallestRowScale ? kSmallestRowScale : exact;
  if (lane == 0) p.scale[row] = scale;
  const Codes codes(scale, 0, -p.grid.highest - 1, p.grid.highest, 0);
  auto* to = p.codes + static_cast<long long>(row) * p.stride;
#pragma unroll
  for (int i = 0; i < kRowPacks; ++i) {
    const int first = (i * kThreads + lane) * kPack;
    if (first < p.columns) *reinterpret_cast<uint2*>(to + first) = codes(values[i]);
  }
  for (int first = kInHand + lane * kPack; first < p.columns; first += kThreads * kPack) {
    float more[kPack];
    load_values(x, first, p.columns, is_aligned, more);
    *reinterpret_cast<uint2*>(to + first) = codes(more);
  }
}

template <class T>
void launch(const QuantizeActivations& p) {
  const bool is_aligned = p.columns % kPack == 0 && aligned(p.x, 16);
  const auto start = [&](auto kernel, dim3 grid, int block = kBlock) {
    launch_early(kernel, {.grid = grid, .block = dim3(block)}, p.stream, kWhat, p, is_aligned);
  };
  if (!p.dynamic) {
    constexpr long long kBlockValues = kBlock * kStaticPacks * kPack;
    const auto blocks = [](long long values) {
      return static_cast<unsigned>((values + kBlockValues - 1) / kBlockValues);
    };
    if (is_aligned && p.stride == p.columns) {
      start(static_kernel<T, true>, dim3(blocks(static_cast<long long>(p.rows) * p.columns)));
    } else {
      start(static_kernel<T, false>, dim3(blocks(p.columns), std::min(p.rows, 65535)));
    }
  } else if (p.columns <= 32 * kPack * kRowPacks) {
    constexpr int kRows = row_block<32>() / 32;
    start(dynamic_kernel<T, 32>, dim3((p.rows + kRows - 1) / kRows));
  } else if (p.columns <= 128 * kPack * kRowPacks) {
    start(dynamic_kernel<T, 128>, dim3(p.rows), 128);
  } else {
    start(dynamic_kernel<T, 512>, dim3(p.rows), 512);
  }
}

}  // namespace

void quantize_activations(const QuantizeActivations& p) {
  if (p.rows == 0) return;
  dispatch_element(p.type, [&]<class T>() { launch<T>(p); });
}

}  // namespace oasis::cuda
