#include <cmath>
#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/sample_token/philox.h"
#include "kernels/sample_token/sample_token_kernel.h"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 512;
constexpr int kWarps = kBlock / 32;
constexpr int kBins = 256;

// Orders as the number does, NaN aside; the larger comes first.
__device__ inline std::uint32_t key_of(float x) {
  const auto bits = __float_as_uint(x + 0.0f);  // −0 as 0
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

struct Candidate {
  float score;
  int token;  // < 0: none
};

__device__ inline Candidate better(const Candidate& a, const Candidate& b) {
  if (a.token < 0 || b.token < 0) return a.token < 0 ? b : a;
  if (a.score != b.score) return a.score > b.score ? a : b;
  return a.token < b.token ? a : b;
}

// Of a block; every thread receives it.
__device__ Candidate best_of(Candidate mine) {
  __shared__ Candidate of_warp[kWarps];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const Candidate other = {__shfl_xor_sync(0xffffffffu, mine.score, offset),
                             __shfl_xor_sync(0xffffffffu, mine.token, offset)};
    mine = better(mine, other);
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = mine;
  __syncthreads();
  Candidate best = of_warp[0];
  for (int i = 1; i < kWarps; ++i) best = better(best, of_warp[i]);
  return best;
}

// The largest key whose values, with all larger ones, weigh `wanted` or more; the values are those
// with a key of at least `least`. Eight bits of it at a time, from the sums of weights by the next
// eight bits. Weights are whole numbers, so that their sums do not depend on the order.
template <class Weight>
__device__ std::uint32_t threshold(const float* row, int n, float inverse, std::uint32_t least,
                                   unsigned long long wanted, Weight weight) {
  __shared__ unsigned long long bins[kBins];
  __shared__ std::uint32_t shared_prefix;
  __shared__ unsigned long long shared_wanted;
  std::uint32_t prefix = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    for (int i = threadIdx.x; i < kBins; i += kBlock) bins[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += kBlock) {
      const float x = row[i] * inverse;
      const auto key = key_of(x);
      const bool counts = key >= least && (shift == 24 || key >> (shift + 8) == prefix);
      if (counts) atomicAdd(&bins[key >> shift & (kBins - 1)], weight(x));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bin = kBins - 1;
      for (; bin > 0 && bins[bin] < wanted; --bin) wanted -= bins[bin];
      shared_prefix = prefix << 8 | static_cast<std::uint32_t>(bin);
      shared_wanted = wanted;
    }
    __syncthreads();
    prefix = shared_prefix;
    wanted = shared_wanted;
  }
  return prefix;
}

// A row a block.
__global__ void __launch_bounds__(kBlock) sample_token_kernel(const SampleToken p) {
  const int b = blockIdx.x, n = static_cast<int>(p.V);
  const float* row = p.logits + b * p.V;
  Candidate mine = {0, -1};
  bool is_number = true;
  for (int i = threadIdx.x; i < n; i += kBlock) {
    const float x = row[i];
    is_number = is_number && !isnan(x);
    if (mine.token < 0 || x > mine.score) mine = {x, i};
  }
  const bool all_numbers = __syncthreads_and(is_number) != 0;
  const Candidate likeliest = best_of(mine);
  if (!all_numbers || p.temperature == 0) {
    if (threadIdx.x == 0) p.tokens[b] = all_numbers ? likeliest.token : -1;
    return;
  }

  const float inverse = 1 / p.temperature;
  std::uint32_t least = 0;
  if (p.top_k > 0 && p.top_k < p.V) {
    least = threshold(row, n, inverse, 0, static_cast<unsigned long long>(p.top_k),
                      [](float) { return 1ull; });
  }
  if (p.top_p < 1) {
    // e^(x − largest) in units of 2^-40: the sum of 2^23 of them fits in 64 bits.
    const float largest = likeliest.score * inverse;
    const auto mass = [=](float x) {
      const float e = x == largest ? 1.0f : expf(x - largest);  // infinities are equal, too
      return static_cast<unsigned long long>(e * 0x1p40f);
    };
    __shared__ unsigned long long total;
    __syncthreads();
    if (threadIdx.x == 0) total = 0;
    __syncthreads();
    unsigned long long own = 0;
    for (int i = threadIdx.x; i < n; i += kBlock) {
      const float x = row[i] * inverse;
      if (key_of(x) >= least) own += mass(x);
    }
    atomicAdd(&total, own);
    __syncthreads();
    const auto wanted = static_cast<unsigned long long>(ceil(p.top_p * static_cast<double>(total)));
    const auto from = threshold(row, n, inverse, least, wanted > 0 ? wanted : 1, mass);
    least = max(least, from);
  }

  Candidate drawn = {0, -1};
  const auto stream = static_cast<std::uint64_t>(p.streams[b]);
  const auto position = static_cast<std::uint32_t>(p.positions[b]);
  for (int i = threadIdx.x; i < n; i += kBlock) {
    const float x = row[i] * inverse;
    if (key_of(x) < least) continue;
    const float u = token_uniform(p.seed, stream, position, static_cast<std::uint32_t>(i));
    drawn = better(drawn, {x - logf(-logf(u)), i});
  }
  drawn = best_of(drawn);
  if (threadIdx.x == 0) p.tokens[b] = drawn.token;
}

}  // namespace

void sample_token(const SampleToken& p) {
  if (p.B == 0) return;
  sample_token_kernel<<<static_cast<unsigned>(p.B), kBlock, 0, p.stream>>>(p);
  check_launch("sample_token");
}

}  // namespace oasis::cuda
