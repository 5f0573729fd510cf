#include <algorithm>
#include <bit>

#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/rope/rope_kernel.h"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;

// A group of `lanes` threads (a power of two) shares a head; each lane has the same pack of
// neighbours in both halves of it. Lanes behind the last pack only take part in the sums.
template <int kPack>
struct Lane {
  __device__ Lane(int64_t d, int lanes)
      : half(static_cast<int>(d / 2)),
        column(static_cast<int>(threadIdx.x) % lanes * kPack),
        works(column < half) {}

  __device__ float sum(float x, int lanes) const {
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      x += __shfl_xor_sync(0xffffffffu, x, offset);
    }
    return x;
  }

  template <class T>
  __device__ void load_both(const T* row, float (&low)[kPack], float (&high)[kPack]) const {
    if (!works) return;
    load(row + column, low);
    load(row + half + column, high);
  }

  template <class T>
  __device__ void store_both(T* row, const float (&low)[kPack], const float (&high)[kPack]) const {
    if (!works) return;
    store(row + column, low);
    store(row + half + column, high);
  }

  int half, column;
  bool works;
};

template <class T>
__device__ T* row_of(const Heads& heads, int64_t b, int64_t h, int64_t t) {
  return static_cast<T*>(heads.data) + b * heads.batch + h * heads.head + t * heads.position;
}

template <int kPack>
__device__ void rotate(float (&low)[kPack], float (&high)[kPack], const float (&cosine)[kPack],
                       const float (&sine)[kPack], float direction) {
#pragma unroll
  for (int i = 0; i < kPack; ++i) {
    const float turn = direction * sine[i];
    const float turned = low[i] * cosine[i] - high[i] * turn;
    high[i] = high[i] * cosine[i] + low[i] * turn;
    low[i] = turned;
  }
}

template <int kPack>
__device__ float squares(const float (&low)[kPack], const float (&high)[kPack]) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kPack; ++i) sum += low[i] * low[i] + high[i] * high[i];
  return sum;
}

// A head a group. Heads of a position follow each other: they find its angles in the first-level
// cache.
template <class T, int kPack, bool kNorm>
__global__ void __launch_bounds__(kBlock, kNorm ? 4 : 5) rope_kernel(Rope p, int lanes) {
  const Lane<kPack> lane(p.d, lanes);
  const unsigned index = blockIdx.x * (kBlock / lanes) + threadIdx.x / lanes;
  const auto heads = static_cast<unsigned>(p.H), length = static_cast<unsigned>(p.T);
  const bool exists = index < p.B * p.T * p.H;
  const unsigned position = exists ? index / heads : 0, h = exists ? index % heads : 0;
  const unsigned b = position / length, t = position % length;
  Pack<T, kPack> low_pack{}, high_pack{};
  float cosine[kPack] = {}, sine[kPack] = {};
  if (lane.works) {
    const T* row = row_of<const T>(p.x, b, h, t) + lane.column;
    low_pack = load_pack<kPack>(row);
    high_pack = load_pack<kPack>(row + lane.half);
    const int64_t row_of_angles = p.first == nullptr ? t : min(p.first[b] + int64_t{t}, p.rows - 1);
    load(p.cosine + row_of_angles * lane.half + lane.column, cosine);
    load(p.sine + row_of_angles * lane.half + lane.column, sine);
  }
  float low[kPack], high[kPack];
  unpack(low_pack, low);
  unpack(high_pack, high);
  if constexpr (kNorm) {
    float gain_low[kPack] = {}, gain_high[kPack] = {};
    lane.load_both(p.gain, gain_low, gain_high);
    const float mean = lane.sum(squares(low, high), lanes) / static_cast<float>(p.d);
    const float r = rsqrtf(mean + p.eps);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      low[i] *= r * gain_low[i];
      high[i] *= r * gain_high[i];
    }
  }
  rotate(low, high, cosine, sine, p.direction);
  if (exists) lane.store_both(row_of<T>(p.y, b, h, t), low, high);
}

// ∂n = Rᵀ ∂y;  ∂x = r·(gain∘∂n) − x·r³/d·Σ(gain∘∂n∘x);  ∂gain = Σ ∂n∘x·r
template <class T, int kPack>
__global__ void __launch_bounds__(kBlock) rope_norm_backward_kernel(RopeNormBackward p, int lanes) {
  __shared__ float shared[kBlock * 2 * kPack];
  const Lane<kPack> lane(p.d, lanes);
  float gain_low[kPack] = {}, gain_high[kPack] = {};
  float grad_gain_low[kPack] = {}, grad_gain_high[kPack] = {};
  lane.load_both(p.gain, gain_low, gain_high);
  const int groups = kBlock / lanes;
  // All groups of a block make the same number of rounds: lanes of a warp sum together.
  for (int64_t first = blockIdx.x * int64_t{groups}; first < p.B * p.T;
       first += gridDim.x * int64_t{groups}) {
    const int64_t position = first + threadIdx.x / lanes;
    const bool exists = position < p.B * p.T;
    const int64_t b = exists ? position / p.T : 0, t = exists ? position % p.T : 0;
    float cosine[kPack] = {}, sine[kPack] = {};
    if (lane.works) {
      load(p.cosine + t * lane.half + lane.column, cosine);
      load(p.sine + t * lane.half + lane.column, sine);
    }
#pragma unroll 2
    for (int64_t h = 0; h < p.H; ++h) {
      float low[kPack] = {}, high[kPack] = {}, grad_low[kPack] = {}, grad_high[kPack] = {};
      if (exists) {
        lane.load_both(row_of<const T>(p.x, b, h, t), low, high);
        lane.load_both(row_of<const T>(p.grad_y, b, h, t), grad_low, grad_high);
      }
      rotate(grad_low, grad_high, cosine, sine, -1.0f);
      const float mean = lane.sum(squares(low, high), lanes) / static_cast<float>(p.d);
      const float r = rsqrtf(mean + p.eps);
      float product = 0;
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        grad_gain_low[i] += grad_low[i] * low[i] * r;
        grad_gain_high[i] += grad_high[i] * high[i] * r;
        grad_low[i] *= gain_low[i];
        grad_high[i] *= gain_high[i];
        product += grad_low[i] * low[i] + grad_high[i] * high[i];
      }
      const float pull = lane.sum(product, lanes) * r * r * r / static_cast<float>(p.d);
#pragma unroll
      for (int i = 0; i < kPack; ++i) {
        grad_low[i] = r * grad_low[i] - pull * low[i];
        grad_high[i] = r * grad_high[i] - pull * high[i];
      }
      if (exists) lane.store_both(row_of<T>(p.grad_x, b, h, t), grad_low, grad_high);
    }
  }

  // shared [groups, d]
  if (lane.works) {
    float* row = shared + threadIdx.x / lanes * p.d;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      row[lane.column + i] = grad_gain_low[i];
      row[lane.half + lane.column + i] = grad_gain_high[i];
    }
  }
  __syncthreads();
  for (int64_t column = threadIdx.x; column < p.d; column += kBlock) {
    float sum = 0;
    for (int i = 0; i < groups; ++i) sum += shared[i * p.d + column];
    p.partial[blockIdx.x * p.d + column] = sum;
  }
}

int pack_of(ElementType type, bool vectorized) {
  return vectorized ? 16 / size_of(type) : 1;
}

int lanes_of(int64_t d, int pack) {
  return static_cast<int>(std::bit_ceil(static_cast<unsigned>(d / 2 / pack)));
}

}  // namespace

bool rope_serves(ElementType type, int64_t d, bool vectorized) {
  const int pack = pack_of(type, vectorized);
  return d % (2 * pack) == 0 && d > 0 && lanes_of(d, pack) <= 32;
}

bool rope_is_vectorized(ElementType type, const Heads& heads) {
  const int pack = 16 / size_of(type);
  return aligned(heads.data, 16) && heads.batch % pack == 0 && heads.head % pack == 0 &&
         heads.position % pack == 0;
}

void rope(const Rope& p) {
  if (p.B * p.H * p.T == 0) return;
  dispatch_element(p.type, [&]<class T>() {
    constexpr int kPack = 16 / sizeof(T);
    const bool vectorized = rope_is_vectorized(p.type, p.x) && rope_is_vectorized(p.type, p.y) &&
                            aligned(p.gain, 16) && rope_serves(p.type, p.d, true);
    const int lanes = lanes_of(p.d, pack_of(p.type, vectorized));
    const int groups = kBlock / lanes;
    const auto blocks = static_cast<unsigned>((p.B * p.T * p.H + groups - 1) / groups);
    if (vectorized && p.gain != nullptr) {
      rope_kernel<T, kPack, true><<<blocks, kBlock, 0, p.stream>>>(p, lanes);
    } else if (vectorized) {
      rope_kernel<T, kPack, false><<<blocks, kBlock, 0, p.stream>>>(p, lanes);
    } else if (p.gain != nullptr) {
      rope_kernel<T, 1, true><<<blocks, kBlock, 0, p.stream>>>(p, lanes);
    } else {
      rope_kernel<T, 1, false><<<blocks, kBlock, 0, p.stream>>>(p, lanes);
    }
  });
  check_launch("rope");
}

// As many blocks as are on the device at a time, at two positions a block or more.
int64_t rope_partial_rows(int64_t positions) {
  return std::min<int64_t>((positions + 1) / 2, 2 * multiprocessors());
}

void rope_norm_backward(const RopeNormBackward& p) {
  const int64_t blocks = rope_partial_rows(p.B * p.T);
  if (p.B * p.H * p.T > 0) {
    dispatch_element(p.type, [&]<class T>() {
      constexpr int kPack = 16 / sizeof(T);
      const bool vectorized = rope_is_vectorized(p.type, p.x) &&
                              rope_is_vectorized(p.type, p.grad_y) &&
                              rope_is_vectorized(p.type, p.grad_x) && aligned(p.gain, 16) &&
                              rope_serves(p.type, p.d, true);
      const int lanes = lanes_of(p.d, pack_of(p.type, vectorized));
      const auto grid = static_cast<unsigned>(blocks);
      if (vectorized) {
        rope_norm_backward_kernel<T, kPack><<<grid, kBlock, 0, p.stream>>>(p, lanes);
      } else {
        rope_norm_backward_kernel<T, 1><<<grid, kBlock, 0, p.stream>>>(p, lanes);
      }
    });
    check_launch("rope_norm_backward");
  }
  column_sum(p.partial, p.grad_gain, blocks, p.d, p.stream);
}

}  // namespace oasis::cuda
