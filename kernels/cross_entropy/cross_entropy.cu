#include <cfloat>

#include "kernels/cross_entropy/cross_entropy_kernel.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 512;
// Packs of a row that a thread keeps in registers: rows of up to 32,768 16-bit logits are read
// once. What lies behind is read again, from the second-level cache.
constexpr int kKept = 8;

// max and Σ e^{x − max}. The maximum starts at a finite value, so that −∞ is an ordinary logit.
struct Softmax {
  float max = -FLT_MAX;
  float sum = 0;

  template <class T>
  __device__ void merge(const Softmax& other) {
    const float larger = fmaxf(max, other.max);
    sum = sum * exponential<T>(max - larger) + other.sum * exponential<T>(other.max - larger);
    max = larger;
  }

  template <class T, int N>
  __device__ void add(const float (&x)[N]) {
    float larger = max;
#pragma unroll
    for (int i = 0; i < N; ++i) larger = fmaxf(larger, x[i]);
    sum *= exponential<T>(max - larger);
    max = larger;
#pragma unroll
    for (int i = 0; i < N; ++i) sum += exponential<T>(x[i] - larger);
  }
};

// One row a block. kPack 1 serves rows that do not start at a multiple of 16 bytes.
template <class T, int kPack>
__global__ void __launch_bounds__(kBlock, 2) cross_entropy_kernel(CrossEntropy p) {
  __shared__ Softmax shared[kBlock / 32];
  const int64_t row = blockIdx.x;
  auto* logits = static_cast<T*>(p.logits) + row * p.V;
  const int64_t target = p.targets[row];
  const bool inside = target >= 0 && target < p.V;
  const float own = inside ? to_float(logits[target]) : 0.0f;
  const int packs = static_cast<int>(p.V / kPack);

  if (target == p.ignored) {
    if (threadIdx.x == 0) p.losses[row] = 0;
    if (p.with_gradient) {
      const float zeros[kPack] = {};
      for (int i = threadIdx.x; i < packs; i += kBlock) store(logits + i * kPack, zeros);
    }
    return;
  }

  Pack<T, kPack> kept[kKept];
  Softmax softmax;
  float x[kPack];
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    const int i = k * kBlock + threadIdx.x;
    if (i < packs) kept[k] = *reinterpret_cast<const Pack<T, kPack>*>(logits + i * kPack);
  }
#pragma unroll
  for (int k = 0; k < kKept; ++k) {
    if (k * kBlock + threadIdx.x >= packs) continue;
    unpack(kept[k], x);
    softmax.add<T>(x);
  }
#pragma unroll 4
  for (int i = kKept * kBlock + threadIdx.x; i < packs; i += kBlock) {
    load(logits + i * kPack, x);
    softmax.add<T>(x);
  }

#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    Softmax other;
    other.max = __shfl_xor_sync(0xffffffffu, softmax.max, offset);
    other.sum = __shfl_xor_sync(0xffffffffu, softmax.sum, offset);
    softmax.merge<T>(other);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = softmax;
  __syncthreads();  // also: `own` is read before anyone overwrites it
  softmax = shared[0];
#pragma unroll
  for (int i = 1; i < kBlock / 32; ++i) softmax.merge<T>(shared[i]);

  if (threadIdx.x == 0) {
    p.losses[row] = inside ? logf(softmax.sum) + (softmax.max - own) : nanf("");
  }
  if (!p.with_gradient) return;

  const float scale = 1 / softmax.sum;
  const auto finish = [&](int i) {
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      x[j] = exponential<T>(x[j] - softmax.max) * scale;
      if (i * int64_t{kPack} + j == target) x[j] -= 1;
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

}  // namespace

void cross_entropy(const CrossEntropy& p) {
  if (p.rows == 0) return;
  const auto rows = static_cast<unsigned>(p.rows);
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    if (p.V % kPack == 0 && aligned(p.logits, 16)) {
      cross_entropy_kernel<T, kPack><<<rows, kBlock, 0, p.stream>>>(p);
    } else {
      cross_entropy_kernel<T, 1><<<rows, kBlock, 0, p.stream>>>(p);
    }
  });
  check_launch("cross_entropy");
}

}  // namespace oasis::cuda
