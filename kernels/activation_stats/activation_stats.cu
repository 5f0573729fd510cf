#include "kernels/activation_stats/activation_stats_kernel.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kStats = 5;  // max|x|, mean, M2, M3, M4

// Values of a token that a thread keeps in registers; what lies behind them is read again.
constexpr int kKept = 32;

// A warp has a token of its own up to this width, a block above.
constexpr int64_t kWidestWarpToken = 32 * kKept;

// max with NaN winning, as in torch.max.
__device__ double max_or_nan(double a, double b) {
  return isnan(a) || a > b ? a : b;
}

struct Moments {
  double m2 = 0, m3 = 0, m4 = 0;

  __device__ void add(double delta) {
    const double square = delta * delta;
    m2 += square;
    m3 += square * delta;
    m4 += square * square;
  }
};

// Sums and maxima over the threads that share a token or a sequence.
template <int kThreads>
struct Team {
  __device__ double sum(double x) {
    if constexpr (kThreads == 32) return warp_sum(x);
    __syncthreads();  // whoever still reads `shared`
    return block_sum<kThreads>(x, shared);
  }

  __device__ double max(double x) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
      x = max_or_nan(x, __shfl_xor_sync(0xffffffffu, x, offset));
    }
    if constexpr (kThreads == 32) return x;
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[0];
    for (int i = 1; i < kThreads / 32; ++i) x = max_or_nan(x, shared[i]);
    return x;
  }

  double* shared;  // kThreads/32 values; unused by warps
};

template <class T, int kPack, int kThreads>
__global__ void __launch_bounds__(kBlock) token_stats_kernel(ActivationStats p) {
  __shared__ double shared[kBlock / 32];
  Team<kThreads> team{shared};
  const int64_t token = blockIdx.x * int64_t{kBlock / kThreads} + threadIdx.x / kThreads;
  if (token >= p.B * p.T) return;  // a whole warp, or nobody
  const auto* x = static_cast<const T*>(p.x) + token * p.D;
  const int lane = threadIdx.x % kThreads;
  const int packs = static_cast<int>(p.D / kPack);
  float kept[kKept / kPack][kPack];
  // Calls `use` on every pack of this thread.
  const auto walk = [&](auto&& use) {
#pragma unroll
    for (int k = 0; k < kKept / kPack; ++k) {
      if (k * kThreads + lane < packs) use(kept[k]);
    }
    for (int i = kKept / kPack * kThreads + lane; i < packs; i += kThreads) {
      float values[kPack];
      load(x + i * kPack, values);
      use(values);
    }
  };
#pragma unroll
  for (int k = 0; k < kKept / kPack; ++k) {
    const int i = k * kThreads + lane;
    if (i < packs) load(x + i * kPack, kept[k]);
  }
  double sum = 0;
  float largest = 0;
  walk([&](const float(&values)[kPack]) {
#pragma unroll
    for (int j = 0; j < kPack; ++j) {
      const float magnitude = fabsf(values[j]);
      largest = isnan(magnitude) || magnitude > largest ? magnitude : largest;
      sum += static_cast<double>(values[j]);
    }
  });
  const double mean = team.sum(sum) / static_cast<double>(p.D);
  Moments moments;
  walk([&](const float(&values)[kPack]) {
#pragma unroll
    for (int j = 0; j < kPack; ++j) moments.add(static_cast<double>(values[j]) - mean);
  });
  const double stats[kStats] = {team.max(largest), mean, team.sum(moments.m2), team.sum(moments.m3),
                                team.sum(moments.m4)};
  if (lane == 0) {
    for (int i = 0; i < kStats; ++i) p.per_token[token * kStats + i] = stats[i];
  }
}

// The merge of activation_stats.h, a sequence a block.
__global__ void __launch_bounds__(kBlock) sequence_stats_kernel(ActivationStats p) {
  __shared__ double shared[kBlock / 32];
  Team<kBlock> team{shared};
  const double* tokens = p.per_token + blockIdx.x * p.T * kStats;
  const auto size = static_cast<double>(p.D);
  double largest = 0, sum = 0;
  for (int64_t t = threadIdx.x; t < p.T; t += kBlock) {
    largest = max_or_nan(tokens[t * kStats], largest);
    sum += tokens[t * kStats + 1];
  }
  const double mean = team.sum(sum) / static_cast<double>(p.T);
  Moments whole;
  for (int64_t t = threadIdx.x; t < p.T; t += kBlock) {
    const double* token = tokens + t * kStats;
    const double delta = token[1] - mean, square = delta * delta;
    whole.m2 += token[2] + size * square;
    whole.m3 += token[3] + 3 * delta * token[2] + size * square * delta;
    whole.m4 += token[4] + 4 * delta * token[3] + 6 * square * token[2] + size * square * square;
  }
  const double stats[kStats] = {team.max(largest), mean, team.sum(whole.m2), team.sum(whole.m3),
                                team.sum(whole.m4)};
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStats; ++i) p.per_sequence[blockIdx.x * kStats + i] = stats[i];
  }
}

template <class T, int kPack>
void launch_tokens(const ActivationStats& p) {
  const int64_t tokens = p.B * p.T;
  if (p.D <= kWidestWarpToken) {
    constexpr int kTokens = kBlock / 32;
    const auto blocks = static_cast<unsigned>((tokens + kTokens - 1) / kTokens);
    token_stats_kernel<T, kPack, 32><<<blocks, kBlock, 0, p.stream>>>(p);
  } else {
    token_stats_kernel<T, kPack, kBlock><<<static_cast<unsigned>(tokens), kBlock, 0, p.stream>>>(p);
  }
}

}  // namespace

void activation_stats(const ActivationStats& p) {
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    if (p.D % kPack == 0 && aligned(p.x, 16)) {
      launch_tokens<T, kPack>(p);
    } else {
      launch_tokens<T, 1>(p);
    }
  });
  check_launch("activation_stats of tokens");
  sequence_stats_kernel<<<static_cast<unsigned>(p.B), kBlock, 0, p.stream>>>(p);
  check_launch("activation_stats of sequences");
}

}  // namespace oasis::cuda
