// What launchers ask about the current device. Free of Torch.
#pragma once

#include "kernels/cuda/launch.h"

namespace oasis::cuda {

inline int multiprocessors() {
  int device = 0, count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device),
        "cudaDeviceGetAttribute");
  return count;
}

}  // namespace oasis::cuda
