#include "kernels/rope/rope_cuda.h"

#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <cstdint>
#include <limits>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/rope/rope_kernel.h"

namespace oasis {
namespace {

struct RopeOnDevice {
  static cuda::Heads heads(const at::Tensor& x) {
    return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
  }

  static bool serves(const at::Tensor& x) {
    if (!cuda::has_element_type(x) ||
        x.size(0) * x.size(1) * x.size(2) > std::numeric_limits<int32_t>::max()) {
      return false;
    }
    const auto type = cuda::element_type(x);
    return cuda::rope_serves(type, x.size(3), /*vectorized=*/true) ||
           cuda::rope_serves(type, x.size(3), /*vectorized=*/false);
  }

  // As it is where the kernels can read it: whole packs, or a head small enough to go without.
  static at::Tensor readable(const at::Tensor& x) {
    const auto type = cuda::element_type(x);
    const bool as_it_is = x.stride(3) == 1 && (cuda::rope_is_vectorized(type, heads(x)) ||
                                               cuda::rope_serves(type, x.size(3), false));
    return as_it_is ? x : x.clone(at::MemoryFormat::Contiguous);
  }

  static at::Tensor readable_gain(const at::Tensor& gain) {
    if (!gain.defined()) return gain;
    return reinterpret_cast<std::uintptr_t>(gain.const_data_ptr()) % 16 == 0 ? gain : gain.clone();
  }

  static at::Tensor rotate(const at::Tensor& x_input, const at::Tensor& cosine,
                           const at::Tensor& sine, int direction, const at::Tensor& gain_input,
                           double eps, const at::Tensor& first) {
    const c10::cuda::CUDAGuard guard(x_input.device());
    const auto x = readable(x_input), gain = readable_gain(gain_input);
    auto y = at::empty_like(x);
    cuda::rope({.type = cuda::element_type(x),
                .B = x.size(0),
                .H = x.size(1),
                .T = x.size(2),
                .d = x.size(3),
                .x = heads(x),
                .y = heads(y),
                .cosine = cosine.const_data_ptr<float>(),
                .sine = sine.const_data_ptr<float>(),
                .first = first.defined() ? first.const_data_ptr<int64_t>() : nullptr,
                .rows = cosine.size(0),
                .direction = static_cast<float>(direction),
                .gain = gain.defined() ? gain.const_data_ptr<float>() : nullptr,
                .eps = static_cast<float>(eps),
                .stream = cuda::stream_of(x)});
    return y;
  }

  static std::tuple<at::Tensor, at::Tensor> norm_backward(
      const at::Tensor& grad_y_input, const at::Tensor& x_input, const at::Tensor& cosine,
      const at::Tensor& sine, const at::Tensor& gain_input, double eps) {
    const c10::cuda::CUDAGuard guard(x_input.device());
    const auto x = readable(x_input), grad_y = readable(grad_y_input);
    const auto gain = readable_gain(gain_input);
    const int64_t B = x.size(0), T = x.size(2), d = x.size(3);
    auto grad_x = at::empty_like(x);
    auto grad_gain = at::empty_like(gain);
    auto partial = at::empty({cuda::rope_partial_rows(B * T), d}, gain.options());
    cuda::rope_norm_backward({.type = cuda::element_type(x),
                              .B = B,
                              .H = x.size(1),
                              .T = T,
                              .d = d,
                              .x = heads(x),
                              .grad_y = heads(grad_y),
                              .grad_x = heads(grad_x),
                              .cosine = cosine.const_data_ptr<float>(),
                              .sine = sine.const_data_ptr<float>(),
                              .gain = gain.const_data_ptr<float>(),
                              .eps = static_cast<float>(eps),
                              .partial = partial.mutable_data_ptr<float>(),
                              .grad_gain = grad_gain.mutable_data_ptr<float>(),
                              .stream = cuda::stream_of(x)});
    return {grad_x, grad_gain};
  }
};

const RopeCuda kRopeOnDevice = {RopeOnDevice::serves, RopeOnDevice::rotate,
                                RopeOnDevice::norm_backward};
[[maybe_unused]] const bool kRopeRegistered = (rope_cuda = &kRopeOnDevice, true);

}  // namespace
}  // namespace oasis
