#include "kernels/head_gate/head_gate_cuda.h"

#include <ATen/ops/clone.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <cstdint>
#include <limits>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/head_gate/head_gate_kernel.h"

namespace oasis {
namespace {

struct HeadGateOnDevice {
  static bool serves(const at::Tensor& x, const at::Tensor& context) {
    const auto whole_packs = [](int64_t size) {
      return size > 0 && size % 8 == 0 && size <= cuda::kHeadGateLargest;
    };
    return cuda::has_element_type(x) && whole_packs(x.size(2) / context.size(1)) &&
           whole_packs(context.size(3)) &&
           context.numel() / context.size(3) <= std::numeric_limits<int32_t>::max();
  }

  static bool aligned(const at::Tensor& x) {
    return reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0;
  }

  static at::Tensor readable(const at::Tensor& x) { return aligned(x) ? x : x.clone(); }

  static at::Tensor readable_heads(const at::Tensor& x) {
    bool as_it_is = aligned(x);
    for (int i = 0; i < 3; ++i) as_it_is = as_it_is && (x.size(i) == 1 || x.stride(i) % 8 == 0);
    return as_it_is ? x : x.clone(at::MemoryFormat::Contiguous);
  }

  // The sizes and what both directions read; not the gates.
  static cuda::HeadGate problem(const at::Tensor& x, const at::Tensor& weight,
                                const at::Tensor& context) {
    return {.type = cuda::element_type(x),
            .B = context.size(0),
            .T = context.size(2),
            .H = context.size(1),
            .slice = weight.size(1),
            .d = context.size(3),
            .x = x.const_data_ptr(),
            .weight = weight.const_data_ptr<float>(),
            .context = context.const_data_ptr(),
            .batch = context.stride(0),
            .head = context.stride(1),
            .position = context.stride(2),
            .gates = nullptr,
            .stream = cuda::stream_of(x)};
  }

  static std::tuple<at::Tensor, at::Tensor> forward(const at::Tensor& x_input,
                                                    const at::Tensor& weight_input,
                                                    const at::Tensor& bias,
                                                    const at::Tensor& context_input) {
    const c10::cuda::CUDAGuard guard(x_input.device());
    const auto x = readable(x_input), weight = readable(weight_input);
    const auto context = readable_heads(context_input);
    cuda::HeadGateForward p{};
    static_cast<cuda::HeadGate&>(p) = problem(x, weight, context);
    auto y = at::empty({p.B, p.T, p.H * p.d}, x.options());
    auto gates = at::empty({p.B, p.T, p.H}, weight.options());
    p.gates = gates.mutable_data_ptr<float>();
    p.bias = bias.const_data_ptr<float>();
    p.y = y.mutable_data_ptr();
    cuda::head_gate_forward(p);
    return {y, gates};
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> backward(
      const at::Tensor& grad_input, const at::Tensor& x_input, const at::Tensor& weight_input,
      const at::Tensor& context_input, const at::Tensor& gates) {
    const c10::cuda::CUDAGuard guard(x_input.device());
    const auto x = readable(x_input), weight = readable(weight_input), grad = readable(grad_input);
    const auto context = readable_heads(context_input);
    cuda::HeadGateBackward p{};
    static_cast<cuda::HeadGate&>(p) = problem(x, weight, context);
    const int64_t D = p.H * p.slice;
    auto grad_x = at::empty_like(x);
    auto grad_context = at::empty({p.B, p.T, p.H, p.d}, x.options());
    auto partial = at::empty({cuda::head_gate_partial_rows(p), D + p.H}, weight.options());
    auto sums = at::empty({D + p.H}, weight.options());
    p.gates = gates.mutable_data_ptr<float>();
    p.grad_y = grad.const_data_ptr();
    p.grad_x = grad_x.mutable_data_ptr();
    p.grad_context = grad_context.mutable_data_ptr();
    p.partial = partial.mutable_data_ptr<float>();
    p.sums = sums.mutable_data_ptr<float>();
    cuda::head_gate_backward(p);
    return {grad_x, sums.narrow(0, 0, D).view(weight.sizes()), sums.narrow(0, D, p.H),
            grad_context.transpose(1, 2)};
  }
};

const HeadGateCuda kHeadGateOnDevice = {HeadGateOnDevice::serves, HeadGateOnDevice::forward,
                                        HeadGateOnDevice::backward};
[[maybe_unused]] const bool kHeadGateRegistered = (head_gate_cuda = &kHeadGateOnDevice, true);

}  // namespace
}  // namespace oasis
