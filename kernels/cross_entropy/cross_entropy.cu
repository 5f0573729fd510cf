#include <algorithm>
#include <cfloat>

#include "kernels/cross_entropy/cross_entropy_kernel.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 512;
constexpr int kBlocks = 2;  // on a multiprocessor
// Packs of a row that a thread keeps in registers: rows of up to 32,768 16-bit logits are read
// once. What lies behind is read again, from the second-level cache.
constexpr int kKept = 8;

// e^{x − reference}. Where the result is rounded to 16 bits: in two instructions, the reference's
// product taken out of the loop.
template <class T>
__device__ float exponential_from(float reference, float x) {
  if constexpr (sizeof(T) == 4) {
    return expf(x - reference);
  } else {
    constexpr float kLog2E = 1.4426950408889634f;
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(fmaf(x, kLog2E, -(reference * kLog2E))));
    return y;
  }
}

// max and Σ e^{x − max}. The maximum starts at a finite value, so that −∞ is an ordinary logit.
struct Softmax {
  float max = -FLT_MAX / 2;
  float sum = 0;

  template <class T>
  __device__ void raise(float larger) {
    sum *= exponential_from<T>(larger, max);
    max = larger;
  }

  template <class T, int N>
  __device__ void add(const float (&x)[N]) {
    float larger = max;
#pragma unroll
    for (int i = 0; i < N; ++i) larger = fmaxf(larger, x[i]);
    raise<T>(larger);
#pragma unroll
    for (int i = 0; i < N; ++i) sum += exponential_from<T>(max, x[i]);
  }

  // Over groups of `Width` neighbouring lanes; every lane receives the same bits.
  template <class T, int Width>
  __device__ void merge_lanes() {
    float larger = max;
#pragma unroll
    for (int offset = Width / 2; offset > 0; offset /= 2) {
      larger = fmaxf(larger, __shfl_xor_sync(0xffffffffu, larger, offset));
    }
    raise<T>(larger);
    sum = warp_sum<Width>(sum);
  }
};

// Blocks walk over the rows. kPack 1 serves rows that do not start at a multiple of 16 bytes.
template <class T, int kPack>
__global__ void __launch_bounds__(kBlock, kBlocks) cross_entropy_kernel(CrossEntropy p) {
  constexpr int kWarps = kBlock / 32;
  // Two sets take turns: a warp that runs ahead writes the other one.
  __shared__ Softmax shared[2][kWarps];
  int turn = 0;
  const int packs = static_cast<int>(p.V / kPack);

  for (int64_t row = blockIdx.x; row < p.rows; row += gridDim.x) {
    auto* logits = static_cast<T*>(p.logits) + row * p.V;
    Pack<T, kPack> kept[kKept];
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      const int i = k * kBlock + threadIdx.x;
      if (i < packs) kept[k] = load_pack<kPack>(logits + i * kPack);
    }
    const int64_t target = p.targets[row];
    const bool inside = target >= 0 && target < p.V;
    const int own_column = inside ? static_cast<int>(target) : -1;
    const float own = inside ? to_float(logits[own_column]) : 0.0f;
    float x[kPack];

    if (target == p.ignored) {
      if (threadIdx.x == 0) p.losses[row] = 0;
      if (p.with_gradient) {
#pragma unroll
        for (int j = 0; j < kPack; ++j) x[j] = 0;
        for (int i = threadIdx.x; i < packs; i += kBlock) store(logits + i * kPack, x);
      }
      continue;
    }

    const auto stay_packed = [&] {
#pragma unroll
      for (int k = 0; k < kKept; ++k) kept[k].stay_packed();
    };
    Softmax softmax;
    stay_packed();
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      if (k * kBlock + threadIdx.x >= packs) continue;
      unpack(kept[k], x);
#pragma unroll
      for (int j = 0; j < kPack; ++j) softmax.max = fmaxf(softmax.max, x[j]);
    }
    stay_packed();
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      if (k * kBlock + threadIdx.x >= packs) continue;
      unpack(kept[k], x);
#pragma unroll
      for (int j = 0; j < kPack; ++j) softmax.sum += exponential_from<T>(softmax.max, x[j]);
    }
    stay_packed();
#pragma unroll 4
    for (int i = kKept * kBlock + threadIdx.x; i < packs; i += kBlock) {
      load(logits + i * kPack, x);
      softmax.add<T>(x);
    }
    softmax.merge_lanes<T, 32>();
    if (threadIdx.x % 32 == 0) shared[turn][threadIdx.x / 32] = softmax;
    __syncthreads();  // also: `own` is read before anyone overwrites it
    softmax = shared[turn][threadIdx.x % kWarps];
    softmax.merge_lanes<T, kWarps>();
    turn ^= 1;

    const float log_sum = logf(softmax.sum);
    if (threadIdx.x == 0) p.losses[row] = inside ? log_sum + (softmax.max - own) : nanf("");
    if (!p.with_gradient) continue;

    const auto finish = [&](int i) {
      if constexpr (sizeof(T) == 4) {
        const float scale = 1 / softmax.sum;
#pragma unroll
        for (int j = 0; j < kPack; ++j) x[j] = exponential_from<T>(softmax.max, x[j]) * scale;
      } else {
#pragma unroll
        for (int j = 0; j < kPack; ++j) x[j] = exponential_from<T>(softmax.max + log_sum, x[j]);
      }
      const int place = own_column - i * kPack;
      if (place >= 0 && place < kPack) {
#pragma unroll
        for (int j = 0; j < kPack; ++j) x[j] -= j == place ? 1.0f : 0.0f;
      }
      store(logits + i * kPack, x);
    };
#pragma unroll
    for (int k = 0; k < kKept; ++k) {
      const int i = k * kBlock + threadIdx.x;
      if (i >= packs) continue;
      unpack(kept[k], x);
      finish(i);
    }
#pragma unroll 4
    for (int i = kKept * kBlock + threadIdx.x; i < packs; i += kBlock) {
      load(logits + i * kPack, x);
      finish(i);
    }
  }
}

}  // namespace

void cross_entropy(const CrossEntropy& p) {
  if (p.rows == 0) return;
  const auto blocks = static_cast<unsigned>(std::min<int64_t>(p.rows, kBlocks * multiprocessors()));
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    if (p.V % kPack == 0 && aligned(p.logits, 16)) {
      cross_entropy_kernel<T, kPack><<<blocks, kBlock, 0, p.stream>>>(p);
    } else {
      cross_entropy_kernel<T, 1><<<blocks, kBlock, 0, p.stream>>>(p);
    }
  });
  check_launch("cross_entropy");
}

}  // namespace oasis::cuda
