#include "kernels/activation_stats/activation_stats_cuda.h"

#include <ATen/ops/empty.h>

#include "kernels/activation_stats/activation_stats.h"
#include "kernels/activation_stats/activation_stats_kernel.h"
#include "kernels/cuda/tensor_argument.h"

namespace oasis {
namespace {

std::tuple<at::Tensor, at::Tensor> run_on_device(const at::Tensor& x) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t B = x.size(0), T = x.size(1);
  const auto options = x.options().dtype(at::kDouble);
  auto per_sequence = at::empty({B, kActivationStats}, options);
  auto per_token = at::empty({B, T, kActivationStats}, options);
  cuda::activation_stats({.type = cuda::element_type(x),
                          .B = B,
                          .T = T,
                          .D = x.size(2),
                          .x = x.const_data_ptr(),
                          .per_sequence = per_sequence.mutable_data_ptr<double>(),
                          .per_token = per_token.mutable_data_ptr<double>(),
                          .stream = cuda::stream_of(x)});
  return {per_sequence, per_token};
}

const ActivationStatsCuda kActivationStatsOnDevice = {run_on_device};
[[maybe_unused]] const bool kActivationStatsRegistered =
    (activation_stats_cuda = &kActivationStatsOnDevice, true);

}  // namespace
}  // namespace oasis
