#include "kernels/rms_norm/rms_norm_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/rms_norm/rms_norm_kernel.h"

namespace oasis {
namespace {

struct RmsNormOnDevice {
  static bool serves(const at::Tensor& x) {
    return cuda::has_element_type(x) && x.size(-1) > 0 && x.size(-1) <= cuda::kRmsNormLargestWidth;
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(
      const at::Tensor& x, const std::optional<at::Tensor>& branch, const at::Tensor& weight,
      double eps) {
    const c10::cuda::CUDAGuard guard(x.device());
    at::Tensor h;
    if (branch.has_value()) h = at::empty_like(x);
    auto y = at::empty_like(x);
    auto inverse_rms = at::empty({x.size(0)}, weight.options());
    cuda::rms_norm_forward({.type = cuda::element_type(x),
                            .rows = x.size(0),
                            .D = x.size(1),
                            .x = x.const_data_ptr(),
                            .branch = branch.has_value() ? branch->const_data_ptr() : nullptr,
                            .weight = weight.const_data_ptr<float>(),
                            .eps = static_cast<float>(eps),
                            .h = h.defined() ? h.mutable_data_ptr() : nullptr,
                            .y = y.mutable_data_ptr(),
                            .inverse_rms = inverse_rms.mutable_data_ptr<float>(),
                            .stream = cuda::stream_of(x)});
    return {h, y, inverse_rms};
  }

  static std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& grad_y,
                                                     const at::Tensor& grad_h, const at::Tensor& h,
                                                     const at::Tensor& weight,
                                                     const at::Tensor& inverse_rms) {
    const c10::cuda::CUDAGuard guard(h.device());
    const int64_t rows = h.size(0), D = h.size(1);
    auto grad_x = at::empty_like(h);
    auto grad_weight = at::empty_like(weight);
    auto partial = at::empty({cuda::rms_norm_partial_rows(rows, D), D}, weight.options());
    cuda::rms_norm_backward({.type = cuda::element_type(h),
                             .rows = rows,
                             .D = D,
                             .grad_y = grad_y.const_data_ptr(),
                             .grad_h = grad_h.defined() ? grad_h.const_data_ptr() : nullptr,
                             .h = h.const_data_ptr(),
                             .weight = weight.const_data_ptr<float>(),
                             .inverse_rms = inverse_rms.const_data_ptr<float>(),
                             .grad_x = grad_x.mutable_data_ptr(),
                             .partial = partial.mutable_data_ptr<float>(),
                             .grad_weight = grad_weight.mutable_data_ptr<float>(),
                             .stream = cuda::stream_of(h)});
    return {grad_x, grad_weight};
  }
};

const RmsNormCuda kRmsNormOnDevice = {RmsNormOnDevice::serves, RmsNormOnDevice::forward,
                                      RmsNormOnDevice::backward};
[[maybe_unused]] const bool kRmsNormRegistered = (rms_norm_cuda = &kRmsNormOnDevice, true);

}  // namespace
}  // namespace oasis
