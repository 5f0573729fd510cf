#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/rms_norm/rms_norm_layout.cuh"

namespace oasis::cuda {
namespace {

template <class L>
__global__ void __launch_bounds__(kRowBlock) rms_norm_forward_kernel(RmsNormForward p) {
  using T = typename L::Element;
  __shared__ float shared[kRowBlock / 32];
  const int lane = threadIdx.x % L::kThreads;
  const int64_t row = blockIdx.x * int64_t{L::kRows} + threadIdx.x / L::kThreads;
  if (row >= p.rows) return;  // a whole warp, or nobody
  const auto* x = static_cast<const T*>(p.x) + row * p.D;
  const auto* branch = static_cast<const T*>(p.branch) + row * p.D;
  auto* h_out = static_cast<T*>(p.h) + row * p.D;
  auto* y = static_cast<T*>(p.y) + row * p.D;

  float h[L::kPacks][L::kPack];
  float squares = 0;
#pragma unroll
  for (int i = 0; i < L::kPacks; ++i) {
    const int column = (i * L::kThreads + lane) * L::kPack;
    if (column < p.D) load(x + column, h[i]);
  }
  if (p.branch != nullptr) {
#pragma unroll
    for (int i = 0; i < L::kPacks; ++i) {
      const int column = (i * L::kThreads + lane) * L::kPack;
      if (column >= p.D) continue;
      float b[L::kPack];
      load(branch + column, b);
#pragma unroll
      for (int j = 0; j < L::kPack; ++j) h[i][j] = rounded<T>(h[i][j] + b[j]);
      store(h_out + column, h[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < L::kPacks; ++i) {
    if ((i * L::kThreads + lane) * L::kPack >= p.D) continue;
#pragma unroll
    for (int j = 0; j < L::kPack; ++j) squares += h[i][j] * h[i][j];
  }
  if constexpr (L::kThreads == 32) {
    squares = warp_sum(squares);
  } else {
    squares = block_sum<kRowBlock>(squares, shared);
  }
  const float r = rsqrtf(squares / static_cast<float>(p.D) + p.eps);
  if (lane == 0) p.inverse_rms[row] = r;
#pragma unroll
  for (int i = 0; i < L::kPacks; ++i) {
    const int column = (i * L::kThreads + lane) * L::kPack;
    if (column >= p.D) continue;
    float w[L::kPack];
    load(p.weight + column, w);
#pragma unroll
    for (int j = 0; j < L::kPack; ++j) w[j] *= h[i][j] * r;
    store(y + column, w);
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
