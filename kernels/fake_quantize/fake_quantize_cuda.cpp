#include "kernels/fake_quantize/fake_quantize_cuda.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/fake_quantize/fake_quantize_kernel.h"

namespace oasis {
namespace {

struct FakeQuantizeOnDevice {
  static unsigned* bits(const at::Tensor& largest) {
    return reinterpret_cast<unsigned*>(largest.mutable_data_ptr<int32_t>());
  }

  static at::Tensor largest_magnitude(const at::Tensor& x) {
    const c10::cuda::CUDAGuard guard(x.device());
    auto largest = at::zeros({1}, x.options().dtype(at::kInt));
    cuda::largest_magnitude({.type = cuda::element_type(x),
                             .count = x.numel(),
                             .x = x.const_data_ptr(),
                             .largest = bits(largest),
                             .stream = cuda::stream_of(x)});
    return largest;
  }

  static at::Tensor run(const at::Tensor& x, const at::Tensor& grad, const FakeQuantizeGrid& grid,
                        const at::Tensor& largest) {
    const c10::cuda::CUDAGuard guard(x.device());
    auto out = at::empty_like(x);
    cuda::fake_quantize({.type = cuda::element_type(x),
                         .count = x.numel(),
                         .x = x.const_data_ptr(),
                         .grad = grad.defined() ? grad.const_data_ptr() : nullptr,
                         .out = out.mutable_data_ptr(),
                         .scale = static_cast<float>(grid.scale),
                         .zero = static_cast<float>(grid.zero),
                         .lowest = static_cast<float>(grid.lowest),
                         .highest = static_cast<float>(grid.highest),
                         .largest = largest.defined() ? bits(largest) : nullptr,
                         .stream = cuda::stream_of(x)});
    return out;
  }
};

const FakeQuantizeCuda kFakeQuantizeOnDevice = {FakeQuantizeOnDevice::largest_magnitude,
                                                FakeQuantizeOnDevice::run};
[[maybe_unused]] const bool kFakeQuantizeRegistered =
    (fake_quantize_cuda = &kFakeQuantizeOnDevice, true);

}  // namespace
}  // namespace oasis
