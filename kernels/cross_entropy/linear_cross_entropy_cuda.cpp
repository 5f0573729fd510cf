#include "kernels/cross_entropy/linear_cross_entropy_cuda.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "kernels/cross_entropy/cross_entropy_kernel.h"
#include "kernels/cross_entropy/linear_cross_entropy.h"
#include "kernels/cuda/tensor_argument.h"

namespace oasis {
namespace {

// Logits that exist at a time: 4,096 rows of a vocabulary of 32,000 in 16 bits. Fewer rows make the
// three matrix products slower, more make nothing faster.
constexpr int64_t kLogitBytes = int64_t{1} << 28;
constexpr int64_t kRowMultiple = 128;  // of the library's tiles

// Chunks of nearly equal size.
int64_t chunk_rows(int64_t M, int64_t bytes_in_row) {
  const auto round_up = [](int64_t rows) {
    return (rows + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
  };
  const int64_t most =
      std::max(kLogitBytes / bytes_in_row / kRowMultiple * kRowMultiple, kRowMultiple);
  const int64_t chunks = std::max<int64_t>((M + most - 1) / most, 1);
  return std::min(round_up((M + chunks - 1) / chunks), most);
}

struct LinearCrossEntropyOnDevice {
  static bool serves(const at::Tensor& hidden, const at::Tensor& weight) {
    return cuda::has_element_type(hidden) && hidden.numel() > 0 && weight.numel() > 0;
  }

  static LinearCrossEntropyCuda::Result run(const at::Tensor& hidden, const at::Tensor& weight,
                                            const at::Tensor& targets, bool with_gradient) {
    const c10::cuda::CUDAGuard guard(hidden.device());
    const int64_t M = hidden.size(0), V = weight.size(0);
    const auto wide = hidden.options().dtype(at::kFloat);
    LinearCrossEntropyCuda::Result result;
    result.losses = at::empty({M}, wide);
    if (with_gradient) {
      result.grad_hidden = at::empty_like(hidden);
      result.grad_weight = at::empty(weight.sizes(), wide);
    }
    const int64_t chunk = chunk_rows(M, V * hidden.element_size());
    auto buffer = at::empty({std::min(chunk, M), V}, hidden.options());
    for (int64_t begin = 0; begin < M; begin += chunk) {
      const int64_t rows = std::min(chunk, M - begin);
      const auto h = hidden.narrow(0, begin, rows);
      auto logits = buffer.narrow(0, 0, rows);
      at::mm_out(logits, h, weight.t());
      cuda::cross_entropy({.type = cuda::element_type(hidden),
                           .rows = rows,
                           .V = V,
                           .logits = logits.mutable_data_ptr(),
                           .targets = targets.const_data_ptr<int64_t>() + begin,
                           .ignored = kIgnoredTarget,
                           .with_gradient = with_gradient,
                           .losses = result.losses.mutable_data_ptr<float>() + begin,
                           .stream = cuda::stream_of(hidden)});
      if (!with_gradient) continue;
      auto grad_hidden = result.grad_hidden.narrow(0, begin, rows);
      at::mm_out(grad_hidden, logits, weight);
      // Added up inside the matrix product, in float32; the first one starts from nothing.
      at::addmm_out(result.grad_weight, result.grad_weight, logits.t(), h, at::kFloat,
                    /*beta=*/begin == 0 ? 0 : 1, /*alpha=*/1);
    }
    return result;
  }
};

const LinearCrossEntropyCuda kLinearCrossEntropyOnDevice = {LinearCrossEntropyOnDevice::serves,
                                                            LinearCrossEntropyOnDevice::run};
[[maybe_unused]] const bool kLinearCrossEntropyRegistered =
    (linear_cross_entropy_cuda = &kLinearCrossEntropyOnDevice, true);

}  // namespace
}  // namespace oasis
