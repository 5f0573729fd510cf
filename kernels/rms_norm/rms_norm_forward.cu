#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/rms_norm/rms_norm_layout.cuh"

namespace oasis::cuda {
namespace {

// Blocks on a multiprocessor: enough that their loads keep the memory busy.
template <class L>
constexpr int kBlocks = L::kRegisters <= 12   ? 3
                        : L::kRegisters <= 16 ? 2
                                              : 1;

// All of a row is on its way, weights included, before anything waits for it.
template <class L>
__global__ void __launch_bounds__(kRowBlock, kBlocks<L>) rms_norm_forward_kernel(RmsNormForward p) {
  using T = typename L::Element;
  __shared__ float shared[kRowBlock / 32];
  const int64_t row = blockIdx.x * int64_t{L::kRows} + threadIdx.x / L::kThreads;
  if (row >= p.rows) return;  // a whole warp, or nobody
  RowShare<L> x, branch{};
  x.load(static_cast<const T*>(p.x) + row * p.D, p.D);
  if (p.branch != nullptr) branch.load(static_cast<const T*>(p.branch) + row * p.D, p.D);
  float w[L::kPacks][L::kPack];
#pragma unroll
  for (int i = 0; i < L::kPacks; ++i) {
    if (L::column(i) < p.D) load(p.weight + L::column(i), w[i]);
  }

  float h[L::kPacks][L::kPack];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < L::kPacks; ++i) {
    unpack(x.packs[i], h[i]);
    if (p.branch != nullptr) {
      float b[L::kPack];
      unpack(branch.packs[i], b);
#pragma unroll
      for (int j = 0; j < L::kPack; ++j) h[i][j] = rounded<T>(h[i][j] + b[j]);
      if (L::column(i) < p.D) store(static_cast<T*>(p.h) + row * p.D + L::column(i), h[i]);
    }
#pragma unroll
    for (int j = 0; j < L::kPack; ++j) squares += h[i][j] * h[i][j];
  }
  if constexpr (L::kThreads == 32) {
    squares = warp_sum(squares);
  } else {
    squares = block_sum<kRowBlock>(squares, shared);
  }
  const float r = rsqrtf(squares / static_cast<float>(p.D) + p.eps);
  if (threadIdx.x % L::kThreads == 0) p.inverse_rms[row] = r;
#pragma unroll
  for (int i = 0; i < L::kPacks; ++i) {
    if (L::column(i) >= p.D) continue;
#pragma unroll
    for (int j = 0; j < L::kPack; ++j) h[i][j] *= w[i][j] * r;
    store(static_cast<T*>(p.y) + row * p.D + L::column(i), h[i]);
  }
}

}  // namespace

void rms_norm_forward(const RmsNormForward& p) {
  if (p.rows == 0) return;
  const bool vectorized = aligned(p.x, 16) && aligned(p.branch, 16) && aligned(p.weight, 16) &&
                          aligned(p.h, 16) && aligned(p.y, 16);
  dispatch_layout(p.type, p.D, vectorized, [&]<class L>() {
    const auto blocks = static_cast<unsigned>((p.rows + L::kRows - 1) / L::kRows);
    rms_norm_forward_kernel<L><<<blocks, kRowBlock, 0, p.stream>>>(p);
  });
  check_launch("rms_norm_forward");
}

}  // namespace oasis::cuda
