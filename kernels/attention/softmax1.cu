#include "kernels/attention/softmax1_kernel.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;
constexpr int kBlocks = 6;  // on a multiprocessor, so that enough loads are on their way
constexpr int kPack = 8;

// Below this ‖dO‖², squares of a row's elements are lost to underflow.
constexpr float kTinySquare = 1e-30f;

// No element of a tiny row is that large.
constexpr float kNothingReplaced = 1.0f;

// A stand-in for a tiny dO is smaller than its row term by this much: below the rounding of the
// type, within its range.
template <class T>
constexpr float kStretch = std::is_same_v<T, __half> ? 0x1p12f : 0x1p20f;

// Tokens that follow each other in the order of rows. Rows are close together in memory head by
// head ([B, T, H, d] as a rule), their statistics [B, H, T] token by token: tiles of 8 tokens and
// all heads read whole sectors of both.
constexpr unsigned kTokens = 8;

struct Row {
  __device__ Row(unsigned index, unsigned H, unsigned T) {
    const unsigned tiles = (T + kTokens - 1) / kTokens;
    const unsigned tile = index / kTokens / H;
    h = index / kTokens % H;
    t = tile % tiles * kTokens + index % kTokens;
    b = tile / tiles;
    statistics = (int64_t{b} * H + h) * T + t;
  }

  template <class T>
  __device__ T* in(const HeadRows& rows) const {
    return static_cast<T*>(rows.data) + b * rows.batch + h * rows.head + t * rows.position;
  }

  unsigned h, t, b;
  int64_t statistics;
};

// `lanes` threads (a power of two) share a row, a pack each, the last ones maybe none.
template <class T>
__global__ void __launch_bounds__(kBlock, kBlocks)
    softmax1_forward_kernel(Softmax1Forward p, int lanes) {
  const Row row(blockIdx.x * (kBlock / lanes) + threadIdx.x / lanes, p.H, p.T);
  const int column = threadIdx.x % lanes * kPack;
  if (row.b >= p.B || row.t >= p.T || column >= p.d) return;
  const float lse = p.lse[row.statistics];
  float out[kPack];
  load(row.in<const T>(p.out) + column, out);
  const float scale = 1 / (1 + expf(-lse));
#pragma unroll
  for (int i = 0; i < kPack; ++i) out[i] *= scale;
  store(row.in<T>(p.context) + column, out);
  if (column == 0) {
    p.null_posterior[row.statistics] = 1 / (1 + expf(lse));
    p.lse1[row.statistics] = fmaxf(lse, 0.0f) + log1pf(expf(-fabsf(lse)));
  }
}

template <class T>
__global__ void __launch_bounds__(kBlock, kBlocks)
    softmax1_backward_kernel(Softmax1Backward p, int lanes) {
  const Row row(blockIdx.x * (kBlock / lanes) + threadIdx.x / lanes, p.H, p.T);
  const int column = threadIdx.x % lanes * kPack;
  const bool works = row.b < p.B && row.t < p.T && column < p.d;
  Pack<T, kPack> grad_pack{}, out_pack{};
  float null_posterior = 0, grad_null = 0;
  if (works) {  // all of it on its way before anything waits
    grad_pack = load_pack<kPack>(row.in<const T>(p.grad_context) + column);
    out_pack = load_pack<kPack>(row.in<const T>(p.context) + column);
    null_posterior = p.null_posterior[row.statistics];
    grad_null = p.grad_null[row.statistics];
  }
  const float term = null_posterior * grad_null;
  float grad[kPack], out[kPack];
  unpack(grad_pack, grad);
  unpack(out_pack, out);
  float square = 0;
#pragma unroll
  for (int i = 0; i < kPack; ++i) square += grad[i] * grad[i];
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    square += __shfl_xor_sync(0xffffffffu, square, offset);
  }
  if (!works) return;
  const bool stands_in = square < kTinySquare && term != 0;
  if (stands_in) {
#pragma unroll
    for (int i = 0; i < kPack; ++i) out[i] = 0;
    if (column == 0) {
      out[0] = kStretch<T>;
      row.in<T>(p.grad_context)[0] = from_float<T>(term / kStretch<T>);
    }
  } else {
    const float share = term == 0 ? 0.0f : term / square;
#pragma unroll
    for (int i = 0; i < kPack; ++i) out[i] += share * grad[i];
  }
  if (column == 0) p.replaced[row.statistics] = stands_in ? grad[0] : kNothingReplaced;
  store(row.in<T>(p.out) + column, out);
}

template <class T>
__global__ void __launch_bounds__(kBlock) softmax1_restore_kernel(Softmax1Backward p) {
  const int64_t statistics = blockIdx.x * int64_t{kBlock} + threadIdx.x;
  if (statistics >= p.B * p.H * p.T) return;
  const float old = p.replaced[statistics];
  if (old == kNothingReplaced) return;
  const int64_t t = statistics % p.T, h = statistics / p.T % p.H, b = statistics / p.T / p.H;
  const auto& rows = p.grad_context;
  static_cast<T*>(rows.data)[b * rows.batch + h * rows.head + t * rows.position] =
      from_float<T>(old);
}

int lanes_of(int64_t d) {
  int lanes = 1;
  while (lanes * kPack < d) lanes *= 2;
  return lanes;
}

template <class Function>
void dispatch_half(ElementType type, Function&& function) {
  if (type == ElementType::kFloat16) {
    function.template operator()<__half>();
  } else {
    function.template operator()<__nv_bfloat16>();
  }
}

unsigned blocks_for(int64_t threads) {
  return static_cast<unsigned>((threads + kBlock - 1) / kBlock);
}

int64_t rows_of(int64_t B, int64_t H, int64_t T) {
  return B * H * ((T + kTokens - 1) / kTokens * kTokens);
}

}  // namespace

void softmax1_forward(const Softmax1Forward& p) {
  const int lanes = lanes_of(p.d);
  dispatch_half(p.type, [&]<class T>() {
    softmax1_forward_kernel<T>
        <<<blocks_for(rows_of(p.B, p.H, p.T) * lanes), kBlock, 0, p.stream>>>(p, lanes);
  });
  check_launch("softmax1_forward");
}

void softmax1_backward(const Softmax1Backward& p) {
  const int lanes = lanes_of(p.d);
  dispatch_half(p.type, [&]<class T>() {
    softmax1_backward_kernel<T>
        <<<blocks_for(rows_of(p.B, p.H, p.T) * lanes), kBlock, 0, p.stream>>>(p, lanes);
  });
  check_launch("softmax1_backward");
}

void softmax1_restore(const Softmax1Backward& p) {
  dispatch_half(p.type, [&]<class T>() {
    softmax1_restore_kernel<T><<<blocks_for(p.B * p.H * p.T), kBlock, 0, p.stream>>>(p);
  });
  check_launch("softmax1_restore");
}

}  // namespace oasis::cuda
