// Partial gradients of many values from a block of routers that read them: every router's dR and u
// are read once, kept in registers, and added to one value after the other.
#include "kernels/depth_route/launch_shape.h"
#include "kernels/depth_route/vector.cuh"

namespace oasis::cuda {
namespace {

constexpr int kThreads = 256;

// α and the factor of u of one reader, value and token.
struct Factors {
  float weight, towards_u;
};

// The factors of a thread block's tokens, in shared memory.
struct SharedFactors {
  Factors* of_readers;  // [tokens][values][kDepthBlock]
  float* of_value;      // [tokens][values]

  __device__ SharedFactors(void* shared, const DepthGatherBlock& b)
      : of_readers(static_cast<Factors*>(shared)),
        of_value(reinterpret_cast<float*>(of_readers + blockDim.y * b.values * kDepthBlock)) {}

  static int bytes(int tokens, int values) {
    return tokens * values * static_cast<int>(kDepthBlock * sizeof(Factors) + sizeof(float));
  }

  // A column of [M, n] holds one value's factors: neighbouring threads read neighbouring columns.
  __device__ void load(const DepthGatherBlock& b, int64_t first) {
    const int thread = static_cast<int>(threadIdx.y * blockDim.x + threadIdx.x);
    const int threads = static_cast<int>(blockDim.x * blockDim.y);
    const int entries = static_cast<int>(blockDim.y) * b.values;
    for (int i = thread; i < entries; i += threads) {
      const int64_t m = first + i / b.values;
      const DepthBlockValue& value = b.value[i % b.values];
      float towards_value = 0;
      for (int r = 0; r < kDepthBlock; ++r) {
        const DepthReader& reader = b.reader[r];
        Factors factors{0, 0};
        if (value.source[r] >= 0 && m < b.tokens) {
          const int64_t at = m * reader.stride + value.source[r];
          factors = {__ldg(reader.weights + at), __ldg(reader.towards_u + at)};
          if (reader.towards_y != nullptr) towards_value += __ldg(reader.towards_y + at);
        }
        of_readers[i * kDepthBlock + r] = factors;
      }
      of_value[i] = towards_value;
    }
  }
};

// Thread x has one vector of a row, thread y one token.
template <typename T, bool kFloatDirection>
__global__ void __launch_bounds__(kThreads, 2)
    depth_gather_block_kernel(const __grid_constant__ DepthGatherBlock b) {
  constexpr int kElements = kVectorSize<T>;
  extern __shared__ float4 shared[];
  const int vectors = b.hidden_size / kElements;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.y;
  const int64_t m = first + threadIdx.y;
  const int in_row = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const bool active = m < b.tokens && in_row < vectors;
  const int64_t index = m * vectors + in_row;

  float grad[kDepthBlock][kElements] = {}, u[kDepthBlock][kElements] = {};
  if (active) {
#pragma unroll
    for (int r = 0; r < kDepthBlock; ++r) {
      const DepthReader& reader = b.reader[r];
      to_floats<T>(load_or_zero(reader.grad_routed, index), grad[r]);
      load_direction<T, kFloatDirection>(reader.direction, reader.shared_direction ? in_row : index,
                                         u[r]);
    }
  }
  SharedFactors factors(shared, b);
  factors.load(b, first);
  __syncthreads();
  if (!active) return;

  uint4 addend = load_or_zero(b.value[0].addend, index);
  for (int i = 0; i < b.values; ++i) {
    const DepthBlockValue& value = b.value[i];
    float sum[kElements];
    to_floats<T>(addend, sum);
    if (i + 1 < b.values) addend = load_or_zero(b.value[i + 1].addend, index);
    const int row = static_cast<int>(threadIdx.y) * b.values + i;
#pragma unroll
    for (int r = 0; r < kDepthBlock; ++r) {
      if (value.source[r] < 0) continue;
      const Factors f = factors.of_readers[row * kDepthBlock + r];
#pragma unroll
      for (int e = 0; e < kElements; ++e) sum[e] += f.weight * grad[r][e] + f.towards_u * u[r][e];
    }
    if (value.value != nullptr) {
      add_scaled<T>(factors.of_value[row], load_or_zero(value.value, index), sum);
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
  kernel<<<blocks, dim3(columns, tokens), SharedFactors::bytes(tokens, b.values), stream>>>(b);
  check_launch("depth_gather_block");
}

}  // namespace

void depth_gather_block(const DepthGatherBlock& block, cudaStream_t stream) {
  if (block.tokens == 0) return;
  switch (block.element) {
    case DepthElement::kFloat32:
      return launch<float>(block, stream);
    case DepthElement::kBfloat16:
      return launch<__nv_bfloat16>(block, stream);
    case DepthElement::kFloat16:
      return launch<__half>(block, stream);
  }
}

}  // namespace oasis::cuda
