#include "kernels/gated_mlp/gated_product_cuda.h"

#include "kernels/cuda/tensor_argument.h"
#include "kernels/gated_mlp/gated_product_kernel.h"

namespace oasis {
namespace {

struct GatedProductOnDevice {
  static cuda::Matrix matrix(const at::Tensor& x) {
    TORCH_CHECK(x.dim() == 2 && (x.size(1) == 1 || x.stride(1) == 1),
                "oasis::gated_product: needs a matrix with unit stride");
    return {x.data_ptr(), x.stride(0)};
  }

  static cuda::GatedProduct problem(const at::Tensor& gate, const at::Tensor& up) {
    cuda::GatedProduct p{};
    p.type = cuda::element_type(gate);
    p.rows = gate.size(0);
    p.I = gate.size(1);
    p.gate = matrix(gate);
    p.up = matrix(up);
    p.stream = cuda::stream_of(gate);
    return p;
  }

  static void forward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& out) {
    const c10::cuda::CUDAGuard guard(gate.device());
    auto p = problem(gate, up);
    p.out = matrix(out);
    cuda::gated_product_forward(p);
  }

  static void backward(const at::Tensor& grad, const at::Tensor& gate, const at::Tensor& up,
                       const at::Tensor& grad_gate, const at::Tensor& grad_up) {
    const c10::cuda::CUDAGuard guard(gate.device());
    auto p = problem(gate, up);
    p.grad = matrix(grad);
    p.grad_gate = matrix(grad_gate);
    p.grad_up = matrix(grad_up);
    cuda::gated_product_backward(p);
  }
};

const GatedProductCuda kGatedProductOnDevice = {GatedProductOnDevice::forward,
                                                GatedProductOnDevice::backward};
[[maybe_unused]] const bool kGatedProductRegistered =
    (gated_product_cuda = &kGatedProductOnDevice, true);

}  // namespace
}  // namespace oasis
