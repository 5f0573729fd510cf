#include "kernels/attention/tensor_map.h"
#include "kernels/cuda/tensor_map.h"

namespace oasis::cuda {

CUtensorMap make_tensor_map(const HeadTensor& tensor, const SparseAttention& problem, int heads) {
  if (!has_copy_engine()) return {};
  const auto type = problem.type == HalfType::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const std::uint64_t sizes[4] = {
      static_cast<std::uint64_t>(problem.head_size), static_cast<std::uint64_t>(problem.length),
      static_cast<std::uint64_t>(heads), static_cast<std::uint64_t>(problem.batch)};
  const long long strides[3] = {tensor.row_stride, tensor.head_stride, tensor.batch_stride};
  // Those of dimensions of size 1 do not matter.
  std::uint64_t bytes[3];
  for (int i = 0; i < 3; ++i) bytes[i] = sizes[i + 1] > 1 ? strides[i] * 2 : 16;
  const std::uint32_t box[4] = {64, kTileRows, 1, 1};
  return encode_tensor_map("oasis::attention", type, 4, tensor.data, sizes, bytes, box);
}

}  // namespace oasis::cuda
