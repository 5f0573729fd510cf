#include <algorithm>

#include "kernels/cuda/device.h"
#include "kernels/integer_linear/integer_epilogue.cuh"

namespace oasis::cuda {
namespace {

constexpr int kBlock = 256;

// Codes times 16 to codes, each byte by itself: an arithmetic shift by four.
__device__ std::uint32_t shifted(std::uint32_t codes) {
  const std::uint32_t nibbles = codes >> 4 & 0x0f0f0f0fu;
  const std::uint32_t negative = nibbles & 0x08080808u;
  return nibbles | negative * 30;  // 0x08 · 30 = 0xf0
}

__global__ void __launch_bounds__(kBlock)
    unpack_kernel(const uint2* packed, uint4* codes, long long count) {
  const long long step = gridDim.x * static_cast<long long>(kBlock);
  for (long long i = blockIdx.x * static_cast<long long>(kBlock) + threadIdx.x; i < count;
       i += step) {
    const uint2 nibbles = packed[i];
    uint4 out;
    expand_nibbles(nibbles.x, out.x, out.y);
    expand_nibbles(nibbles.y, out.z, out.w);
    codes[i] = {shifted(out.x), shifted(out.y), shifted(out.z), shifted(out.w)};
  }
}

}  // namespace

void unpack_nibbles(const void* packed, int N, int w_stride, std::int8_t* codes,
                    cudaStream_t stream) {
  const long long count = static_cast<long long>(N) * (w_stride / 8);
  if (count == 0) return;
  const auto blocks =
      static_cast<unsigned>(std::min((count + kBlock - 1) / kBlock, 32LL * multiprocessors()));
  unpack_kernel<<<blocks, kBlock, 0, stream>>>(static_cast<const uint2*>(packed),
                                               reinterpret_cast<uint4*>(codes), count);
  check_launch("oasis::integer_linear: unpack");
}

}  // namespace oasis::cuda
