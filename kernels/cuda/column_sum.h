// The second half of a sum over rows: blocks leave partial sums, one row each. Free of Torch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace oasis::cuda {

// partial [rows, columns] -> sums [columns], in the order of the rows.
void column_sum(const float* partial, float* sums, int64_t rows, int64_t columns,
                cudaStream_t stream);

}  // namespace oasis::cuda
