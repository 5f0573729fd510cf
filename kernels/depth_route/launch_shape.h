// How many threads, blocks and rows in shared memory a depth routing kernel gets.
#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/depth_route/depth_route_kernel.h"

namespace oasis::cuda {

constexpr int kMaxDepthThreads = 256;
constexpr int kMaxDepthVectors = 4 * kMaxDepthThreads;  // 16-byte vectors in a row

// Registers per thread that leave room for twelve warps on a multiprocessor and more.
template <int kVectors>
inline constexpr int kDepthRegisters = kVectors == 1   ? 96
                                       : kVectors == 2 ? 128
                                                       : 168;

inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, value = 0;
  check(cudaGetDevice(&device), "depth_route");
  check(cudaDeviceGetAttribute(&value, attribute, device), "depth_route");
  return value;
}

// kVectors per thread; kSmall: at most 32 sources, each with a row in shared memory.
template <int kVectors, bool kSmall>
struct DepthShape {
  int threads;
  int resident;  // sources kept in shared memory
  int shared_bytes;
};

// `extra` rows in shared memory besides the sources'.
template <int kVectors>
DepthShape<kVectors, false> depth_shape(const DepthRouteProblem& p, int extra) {
  const int vectors = p.hidden_size * size_of(p.element) / 16;
  DepthShape<kVectors, false> shape{};
  shape.threads = (vectors + 32 * kVectors - 1) / (32 * kVectors) * 32;
  const int row = shape.threads * kVectors * 16;
  const int sums = 2 * (shape.threads / 32) * (p.normalize_keys ? 2 : 1) * p.sources * 4;
  const int room = (device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) - sums) / row - extra;
  shape.resident = room < p.sources ? room : p.sources;
  shape.shared_bytes = (extra + shape.resident) * row + sums;
  return shape;
}

// Every warp of a token repeats the work on its weights, but too few warps leave the memory idle.
// So: the fewest warps per token that still fill a multiprocessor, and no idle lanes.
constexpr int kEnoughWarps = 8;

template <int kVectors>
bool fits(const DepthRouteProblem& p, int extra) {
  const auto shape = depth_shape<kVectors>(p, extra);
  const int vectors = p.hidden_size * size_of(p.element) / 16;
  if (shape.threads * kVectors - vectors >= 32) return false;
  constexpr int kReserved = 1024;  // bytes per block
  const int blocks = device_attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) /
                     (shape.shared_bytes + kReserved);
  return blocks * shape.threads >= 32 * kEnoughWarps;
}

// Calls function(DepthShape).
template <typename Function>
auto with_depth_shape(const DepthRouteProblem& p, int extra, const Function& function) {
  const auto call = [&]<int kVectors>(DepthShape<kVectors, false> shape) {
    return p.sources <= 32 && shape.resident == p.sources
               ? function(
                     DepthShape<kVectors, true>{shape.threads, shape.resident, shape.shared_bytes})
               : function(shape);
  };
  const int vectors = p.hidden_size * size_of(p.element) / 16;
  if (vectors > 2 * kMaxDepthThreads) return call(depth_shape<4>(p, extra));
  if (fits<3>(p, extra)) return call(depth_shape<3>(p, extra));
  if (fits<2>(p, extra) || vectors > kMaxDepthThreads) return call(depth_shape<2>(p, extra));
  return call(depth_shape<1>(p, extra));
}

// As many blocks as the device holds at a time, at most one per token.
template <typename Kernel, typename Shape>
int resident_blocks(Kernel kernel, const Shape& shape, int64_t tokens) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)),
        "depth_route");
  int per_multiprocessor = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per_multiprocessor, kernel, shape.threads,
                                                      shape.shared_bytes),
        "depth_route");
  const int64_t blocks =
      int64_t{per_multiprocessor} * device_attribute(cudaDevAttrMultiProcessorCount);
  return static_cast<int>(tokens < blocks ? tokens : blocks);
}

}  // namespace oasis::cuda
