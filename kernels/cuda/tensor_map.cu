#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_map.h"

namespace oasis::cuda {
namespace {

decltype(&cuTensorMapEncodeTiled) find_encoder() {
  constexpr const char* kWhat = "cuTensorMapEncodeTiled";
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  check(cudaGetDriverEntryPointByVersion(kWhat, &function, 12000, cudaEnableDefault, &found),
        kWhat);
  if (found != cudaDriverEntryPointSuccess) {
    throw std::runtime_error(std::string(kWhat) + " needs a driver for CUDA 12 or newer");
  }
  return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
}

}  // namespace

bool has_copy_engine() {
  constexpr const char* kWhat = "compute capability";
  int device = 0;
  int major = 0;
  check(cudaGetDevice(&device), kWhat);
  check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), kWhat);
  return major >= 9;
}

CUtensorMap encode_tensor_map(const char* what, CUtensorMapDataType type, int rank,
                              const void* data, const std::uint64_t* sizes,
                              const std::uint64_t* strides, const std::uint32_t* box) {
  static const auto encode = find_encoder();
  constexpr int kMostDimensions = 5;
  cuuint64_t dimensions[kMostDimensions], bytes[kMostDimensions];
  cuuint32_t extents[kMostDimensions], steps[kMostDimensions];
  for (int i = 0; i < rank; ++i) {
    dimensions[i] = sizes[i];
    extents[i] = box[i];
    steps[i] = 1;
    if (i + 1 < rank) bytes[i] = strides[i];
  }
  CUtensorMap map{};
  const CUresult status =
      encode(&map, type, static_cast<cuuint32_t>(rank), const_cast<void*>(data), dimensions, bytes,
             extents, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw std::runtime_error(std::string(what) + ": tensor map: error " + std::to_string(status));
  }
  return map;
}

}  // namespace oasis::cuda
