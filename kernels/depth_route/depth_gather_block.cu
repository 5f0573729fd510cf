// Partial gradients of many values from a block of routers that read them: every router's dR and u
// are read once, kept in registers, and added to one value after the other.
#include <type_traits>

#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kThreads = 256;

// What a value's gradient takes from one reader at a token: the factors of dR, u and the value.
struct Factors {
  float weight, towards_u, towards_y;
};

// Of a thread block's tokens, in shared memory: [tokens][values][kDepthBlock]. A column of [M, n]
// holds one value's factors: neighbouring threads read neighbouring columns.
__device__ inline void load_factors(Factors* shared, const DepthGatherBlock& b, int64_t first) {
  const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
  const int threads = static_cast<int>(blockDim.x * blockDim.y);
  const int entries = static_cast<int>(blockDim.y) * b.values;
  for (int i = thread; i < entries * kDepthBlock; i += threads) {
    const int r = i / entries, entry = i % entries;
    const int64_t m = first + entry / b.values;
    const DepthReader& reader = b.reader[r];
    const int source = b.value[entry % b.values].source[r];
    Factors factors{0, 0, 0};
    if (source >= 0 && m < b.tokens) {
      const int64_t at = m * reader.stride + source;
      factors = {__ldg(reader.weights + at), __ldg(reader.towards_u + at), 0};
      if (reader.towards_y != nullptr) factors.towards_y = __ldg(reader.towards_y + at);
    }
    shared[entry * kDepthBlock + r] = factors;
  }
}

// What one reader adds to the values of a token, a vector of it. It stays as it lies in memory:
// unpacked it would take twice the registers, and too few warps would share a multiprocessor.
template <typename T, bool kFloatDirection>
struct ReaderVector {
  static constexpr int kParts = kFloatDirection && sizeof(T) == 2 ? 2 : 1;
  uint4 grad, direction[kParts];

  __device__ void load(const DepthReader& reader, int64_t index, int in_row) {
    grad = load_or_zero(reader.grad_routed, index);
    const int64_t u = (reader.shared_direction ? in_row : index) * kParts;
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      direction[k] = __ldg(static_cast<const uint4*>(reader.direction) + u + k);
    }
  }

  // sum += factors · (dR, u)
  __device__ void add(const Factors& factors, float (&sum)[kVectorSize<T>]) {
    stay_packed(grad);
    add_scaled<T>(factors.weight, grad, sum);
#pragma unroll
    for (int k = 0; k < kParts; ++k) {
      stay_packed(direction[k]);
      using Element = std::conditional_t<kParts == 2, float, T>;
      add_scaled<Element>(factors.towards_u, direction[k], sum + k * kVectorSize<Element>);
    }
  }

 private:
  // The compiler would unpack once, ahead of the values.
  __device__ static void stay_packed(uint4& v) {
    asm volatile("" : "+r"(v.x), "+r"(v.y), "+r"(v.z), "+r"(v.w));
  }
};

// Thread x has one vector of a row, thread y one token.
template <typename T, bool kFloatDirection>
__global__ void __launch_bounds__(kThreads, kFloatDirection ? 2 : 3)
    depth_gather_block_kernel(const __grid_constant__ DepthGatherBlock b) {
  constexpr int kElements = kVectorSize<T>;
  extern __shared__ Factors factors[];
  const int vectors = b.hidden_size / kElements;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y;
  const int64_t m = first + threadIdx.y;
  const int in_row = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const bool active = m < b.tokens && in_row < vectors;
  const int64_t index = m * vectors + in_row;

  ReaderVector<T, kFloatDirection> readers[kDepthBlock] = {};
  if (active) {
#pragma unroll
    for (int r = 0; r < kDepthBlock; ++r) readers[r].load(b.reader[r], index, in_row);
  }
  load_factors(factors, b, first);
  __syncthreads();
  if (!active) return;

  uint4 addend = load_or_zero(b.value[0].addend, index);
  for (int i = 0; i < b.values; ++i) {
    const DepthBlockValue& value = b.value[i];
    float sum[kElements];
    to_floats<T>(addend, sum);
    if (i + 1 < b.values) addend = load_or_zero(b.value[i + 1].addend, index);
    const Factors* of_readers = factors + (threadIdx.y * b.values + i) * kDepthBlock;
    float towards_value = 0;
#pragma unroll
    for (int r = 0; r < kDepthBlock; ++r) {
      if (value.source[r] < 0) continue;
      readers[r].add(of_readers[r], sum);
      towards_value += of_readers[r].towards_y;
    }
    if (value.value != nullptr) {
      add_scaled<T>(towards_value, load_or_zero(value.value, index), sum);
    }
    static_cast<uint4*>(value.gradient)[index] = from_floats<T>(sum);
  }
}

template <typename T>
void launch(const DepthGatherBlock& b, cudaStream_t stream) {
  const int vectors = b.hidden_size / kVectorSize<T>;
  const int row = (vectors + 31) / 32 * 32;
  const int columns = row < kThreads ? row : kThreads;
  const int tokens = kThreads / columns;
  const dim3 blocks(static_cast<unsigned>((b.tokens + tokens - 1) / tokens),
                    static_cast<unsigned>((vectors + columns - 1) / columns));
  const auto kernel = b.direction_is_float ? depth_gather_block_kernel<T, true>
                                           : depth_gather_block_kernel<T, false>;
  const int shared = tokens * b.values * kDepthBlock * static_cast<int>(sizeof(Factors));
  kernel<<<blocks, dim3(columns, tokens), shared, stream>>>(b);
  check_launch("depth_gather_block");
}

}  // namespace

void depth_gather_block(const DepthGatherBlock& block, cudaStream_t stream) {
  if (block.tokens == 0) return;
  dispatch_element(block.element, [&]<class T>() { launch<T>(block, stream); });
}

}  // namespace oasis::cuda
