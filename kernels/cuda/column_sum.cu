#include "kernels/cuda/column_sum.h"
#include "kernels/cuda/launch.h"

namespace oasis::cuda {
namespace {

constexpr int kColumns = 32;
constexpr int kLanes = 32;  // threads that share a column

__global__ void column_sum_kernel(const float* partial, float* sums, int64_t rows,
                                  int64_t columns) {
  __shared__ float shared[kLanes][kColumns];
  const int64_t column = blockIdx.x * int64_t{kColumns} + threadIdx.x;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = threadIdx.y; row < rows; row += kLanes) {
      sum += partial[row * columns + column];
    }
  }
  shared[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int i = 1; i < kLanes; ++i) sum += shared[i][threadIdx.x];
  sums[column] = sum;
}

}  // namespace

void column_sum(const float* partial, float* sums, int64_t rows, int64_t columns,
                cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((columns + kColumns - 1) / kColumns);
  column_sum_kernel<<<blocks, dim3(kColumns, kLanes), 0, stream>>>(partial, sums, rows, columns);
  check_launch("column_sum");
}

}  // namespace oasis::cuda
