// How the copy engine of compute capability 9.0 finds boxes of a tensor. Free of Torch.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace oasis::cuda {

// Whether the current device has such an engine.
bool has_copy_engine();

// Dimensions from the innermost out; strides in bytes, of the second dimension on, multiples of 16.
// Boxes of 128 bytes in the innermost dimension become rows whose 16-byte chunks are permuted
// (warpgroup.cuh); zeros stand beyond the tensor. `what` begins an error's message.
CUtensorMap encode_tensor_map(const char* what, CUtensorMapDataType type, int rank,
                              const void* data, const std::uint64_t* sizes,
                              const std::uint64_t* strides, const std::uint32_t* box);

}  // namespace oasis::cuda
