#include "kernels/integer_linear/integer_linear_cuda.h"

#include <ATen/ops/empty.h>

#include <limits>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/integer_linear/integer_product_kernel.h"
#include "kernels/integer_linear/quantize_activations_kernel.h"
#include "kernels/integer_linear/weight_codes.h"

namespace oasis {
namespace {

int as_int(int64_t size) {
  TORCH_CHECK(size <= std::numeric_limits<int>::max(), "oasis::integer_linear: size ", size,
              " is too large for the CUDA kernels; split the rows");
  return static_cast<int>(size);
}

struct IntegerLinearOnDevice {
  static QuantizedActivations quantize(const at::Tensor& x,
                                       const std::optional<ActivationGrid>& grid, int64_t bits) {
    const c10::cuda::CUDAGuard guard(x.device());
    QuantizedActivations out;
    out.codes = empty_codes(x.size(0), x.size(1), x.options().dtype(at::kChar));
    out.scale = at::empty({grid ? 1 : x.size(0)}, x.options().dtype(at::kFloat));
    out.zero = grid ? grid->stored_zero() : 0;
    ActivationGrid used = grid.value_or(ActivationGrid{});
    if (!grid) used.highest = static_cast<float>((int64_t{1} << (bits - 1)) - 1);
    cuda::quantize_activations({.type = cuda::element_type(x),
                                .rows = as_int(x.size(0)),
                                .columns = as_int(x.size(1)),
                                .x = x.const_data_ptr(),
                                .grid = used,
                                .dynamic = !grid.has_value(),
                                .codes = out.codes.mutable_data_ptr<int8_t>(),
                                .stride = as_int(out.codes.stride(0)),
                                .scale = out.scale.mutable_data_ptr<float>(),
                                .stream = cuda::stream_of(x)});
    return out;
  }

  static at::Tensor product(const QuantizedActivations& x, const IntegerWeight& weight,
                            const at::Tensor& bias, at::ScalarType type) {
    const c10::cuda::CUDAGuard guard(x.codes.device());
    const int64_t M = x.codes.size(0), N = weight.codes.size(0);
    auto y = at::empty({M, N}, x.codes.options().dtype(type));
    if (y.numel() == 0) return y;
    cuda::IntegerProduct p{.M = as_int(M),
                           .N = as_int(N),
                           .K = as_int(weight.inputs),
                           .x = x.codes.const_data_ptr<int8_t>(),
                           .x_stride = as_int(x.codes.stride(0)),
                           .zero = as_int(x.zero),
                           .x_scale = x.scale.const_data_ptr<float>(),
                           .x_by_row = x.scale.numel() > 1,
                           .w = weight.codes.const_data_ptr(),
                           .w_stride = as_int(weight.codes.stride(0)),
                           .packed = weight.packed(),
                           .w_scale = weight.scale.const_data_ptr<float>(),
                           .w_by_column = weight.scale.numel() > 1,
                           .grouped = weight.grouped(),
                           .sums = weight.sums.const_data_ptr<int32_t>(),
                           .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
                           .type = cuda::element_type(y),
                           .y = y.mutable_data_ptr(),
                           .stream = cuda::stream_of(y)};
    static const bool warpgroups = cuda::has_warpgroup_product();
    if (M <= cuda::kFewRows) {
      cuda::few_rows_product(p);
    } else if (!warpgroups) {
      cuda::tiled_product(p);
    } else if (p.packed) {
      const auto codes = at::empty({N, 2 * int64_t{p.w_stride}}, x.codes.options());
      cuda::unpack_nibbles(p.w, p.N, p.w_stride, codes.mutable_data_ptr<int8_t>(), p.stream);
      p.w = codes.const_data_ptr();
      p.w_stride *= 2;
      p.packed = false;
      cuda::warpgroup_product(p);
    } else {
      cuda::warpgroup_product(p);
    }
    return y;
  }
};

const IntegerLinearCuda kIntegerLinearOnDevice = {IntegerLinearOnDevice::quantize,
                                                  IntegerLinearOnDevice::product};
[[maybe_unused]] const bool kIntegerLinearRegistered =
    (integer_linear_cuda = &kIntegerLinearOnDevice, true);

}  // namespace
}  // namespace oasis
