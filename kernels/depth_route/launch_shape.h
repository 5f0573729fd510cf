// How many threads, blocks and rows in shared memory a depth routing kernel gets.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/depth_route/depth_route_kernel.h"

namespace oasis::cuda {

inline int element_size(DepthElement element) {
  return element == DepthElement::kFloat32 ? 4 : 2;
}

struct DepthLaunch {
  int threads;
  int blocks;
  int resident;  // sources kept in shared memory
  int shared_bytes;
};

inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "depth_route");
  check(cudaDeviceGetAttribute(&value, attribute, device), "depth_route");
  return value;
}

inline int depth_threads(int hidden_size, DepthElement element) {
  const int vectors = hidden_size * element_size(element) / 16;
  return (vectors + 31) / 32 * 32;
}

// `extra` vectors per thread besides the sources; `quantities` sums per source over the block.
template <typename Kernel>
DepthLaunch depth_launch(Kernel kernel, const DepthRouteProblem& p, int extra, int quantities) {
  DepthLaunch launch{};
  launch.threads = depth_threads(p.hidden_size, p.element);
  const int row = launch.threads * 16;
  const int sums = 2 * (launch.threads / 32) * quantities * p.sources * 4;
  const int limit = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  const int room = (limit - sums) / row - extra;
  launch.resident = room < p.sources ? room : p.sources;
  launch.shared_bytes = (extra + launch.resident) * row + sums;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, limit),
        "depth_route");
  int per_multiprocessor = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, launch.threads,
                                                      launch.shared_bytes),
        "depth_route");
  const int64_t resident_blocks =
      int64_t{per_multiprocessor} * device_attribute(cudaDevAttrMultiProcessorCount);
  launch.blocks = static_cast<int>(p.tokens < resident_blocks ? p.tokens : resident_blocks);
  return launch;
}

}  // namespace oasis::cuda
