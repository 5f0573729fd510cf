// What every CUDA launcher shares. Free of Torch, for .cu files as well.
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace oasis::cuda {

// Throws std::runtime_error when the runtime refuses: "what: <CUDA's message>".
inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
  }
}

// After a launch: a wrong configuration is reported here, not at some later call.
inline void check_launch(const char* what) {
  check(cudaGetLastError(), what);
}

}  // namespace oasis::cuda
