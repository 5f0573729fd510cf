#include "kernels/attention/softmax1_cuda.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <cstdint>
#include <limits>

#include "kernels/attention/softmax1_kernel.h"
#include "kernels/cuda/tensor_argument.h"

namespace oasis {
namespace {

struct Softmax1OnDevice {
  static cuda::HeadRows heads(const at::Tensor& x) {
    const auto whole_packs = [&](int dimension) {
      return x.size(dimension) == 1 || x.stride(dimension) % 8 == 0;
    };
    TORCH_CHECK(x.element_size() == 2 && x.size(3) % 8 == 0 && x.stride(3) == 1 && whole_packs(0) &&
                    whole_packs(1) && whole_packs(2) &&
                    reinterpret_cast<std::uintptr_t>(x.const_data_ptr()) % 16 == 0,
                "oasis::attention: rows of 16-bit elements must start at multiples of 16 bytes");
    TORCH_CHECK(x.numel() / x.size(3) < std::numeric_limits<int32_t>::max(),
                "oasis::attention: too many rows: ", x.sizes());
    return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)};
  }

  static std::tuple<at::Tensor, at::Tensor, at::Tensor> forward(const at::Tensor& out,
                                                                const at::Tensor& lse) {
    const c10::cuda::CUDAGuard guard(out.device());
    const int64_t B = out.size(0), H = out.size(1), T = out.size(2), d = out.size(3);
    const auto context = out.transpose(1, 2).is_contiguous()
                             ? out
                             : at::empty({B, T, H, d}, out.options()).transpose(1, 2);
    auto null_posterior = at::empty_like(lse);
    auto lse1 = at::empty_like(lse);
    cuda::softmax1_forward({.type = cuda::element_type(out),
                            .B = B,
                            .H = H,
                            .T = T,
                            .d = d,
                            .out = heads(out),
                            .context = heads(context),
                            .lse = lse.const_data_ptr<float>(),
                            .null_posterior = null_posterior.mutable_data_ptr<float>(),
                            .lse1 = lse1.mutable_data_ptr<float>(),
                            .stream = cuda::stream_of(out)});
    return {context, null_posterior, lse1};
  }

  static cuda::Softmax1Backward problem(const at::Tensor& grad_context,
                                        const at::Tensor& replaced) {
    cuda::Softmax1Backward p{};
    p.type = cuda::element_type(grad_context);
    p.B = grad_context.size(0);
    p.H = grad_context.size(1);
    p.T = grad_context.size(2);
    p.d = grad_context.size(3);
    p.grad_context = heads(grad_context);
    p.replaced = replaced.mutable_data_ptr<float>();
    p.stream = cuda::stream_of(grad_context);
    return p;
  }

  static std::tuple<at::Tensor, at::Tensor> backward(const at::Tensor& context,
                                                     const at::Tensor& null_posterior,
                                                     const at::Tensor& grad_context,
                                                     const at::Tensor& grad_null) {
    const c10::cuda::CUDAGuard guard(context.device());
    auto replaced = at::empty_like(null_posterior);
    auto out = at::empty_like(grad_context);
    auto p = problem(grad_context, replaced);
    p.context = heads(context);
    p.out = heads(out);
    p.null_posterior = null_posterior.const_data_ptr<float>();
    p.grad_null = grad_null.const_data_ptr<float>();
    cuda::softmax1_backward(p);
    return {out, replaced};
  }

  static void restore(const at::Tensor& grad_context, const at::Tensor& replaced) {
    const c10::cuda::CUDAGuard guard(grad_context.device());
    cuda::softmax1_restore(problem(grad_context, replaced));
  }
};

const Softmax1Cuda kSoftmax1OnDevice = {Softmax1OnDevice::forward, Softmax1OnDevice::backward,
                                        Softmax1OnDevice::restore};
[[maybe_unused]] const bool kSoftmax1Registered = (softmax1_cuda = &kSoftmax1OnDevice, true);

}  // namespace
}  // namespace oasis
