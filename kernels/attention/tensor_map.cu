#include "kernels/attention/tensor_map.h"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr const char* kWhat = "oasis::attention: tensor map";

bool has_copy_engine() {
  int device = 0;
  int major = 0;
  check(cudaGetDevice(&device), kWhat);
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), kWhat);
  return major >= 9;
}

decltype(&cuTensorMapEncodeTiled) find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                         cudaEnableDefault, &found),
        kWhat);
  if (found != cudaDriverEntryPointSuccess) {
    throw std::runtime_error(std::string(kWhat) + "s need a driver for CUDA 12 or newer");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

CUtensorMap make_tensor_map(const HeadTensor& tensor, const SparseAttention& problem, int heads) {
  CUtensorMap map{};
  if (!has_copy_engine()) return map;
  static const auto encode = find_encoder();
  const auto type = problem.type == HalfType::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const cuuint64_t sizes[4] = {
      static_cast<cuuint64_t>(problem.head_size), static_cast<cuuint64_t>(problem.length),
      static_cast<cuuint64_t>(heads), static_cast<cuuint64_t>(problem.batch)};
  // Of the second dimension on, in bytes. Those of dimensions of size 1 do not matter.
  const long long strides[3] = {tensor.row_stride, tensor.head_stride, tensor.batch_stride};
  cuuint64_t bytes[3];
  for (int i = 0; i < 3; ++i) bytes[i] = sizes[i + 1] > 1 ? strides[i] * 2 : 16;
  const cuuint32_t box[4] = {64, kTileRows, 1, 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const CUresult status =
      encode(&map, type, 4, tensor.data, sizes, bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw std::runtime_error(std::string(kWhat) + ": error " + std::to_string(status));
  }
  return map;
}

}  // namespace oasis::cuda
