#include "kernels/integer_linear/integer_linear.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include <cmath>
#include <optional>
#include <tuple>

#include "kernels/integer_linear/integer_linear_cuda.h"
#include "kernels/integer_linear/integer_product.h"
#include "kernels/integer_linear/quantize_activations.h"
#include "kernels/integer_linear/weight_codes.h"

namespace oasis {

const IntegerLinearCuda* integer_linear_cuda = nullptr;

namespace {

QuantizedActivations quantize(const char* name, const at::Tensor& input,
                              const std::optional<ActivationGrid>& grid, int64_t bits) {
  const auto type = input.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kHalf, name,
              ": x must be float32, bfloat16 or float16, not ", type);
  TORCH_CHECK(bits >= 2 && bits <= 8, name, ": bits must lie between 2 and 8, got ", bits);
  TORCH_CHECK(input.dim() >= 1 && input.size(-1) >= 1, name,
              ": x needs a last dimension of at least one input, got shape ", input.sizes());
  const auto x = input.detach().contiguous().view({-1, input.size(-1)});
  if (x.is_cuda()) {
    check_cuda_kernels(name);
    return integer_linear_cuda->quantize(x, grid, bits);
  }
  TORCH_CHECK(x.is_cpu(), name, ": x must be on the CPU or a CUDA device, not on ", x.device());
  const auto values = x.to(at::kFloat);
  QuantizedActivations out;
  out.codes = empty_codes(x.size(0), x.size(1), values.options().dtype(at::kChar));
  if (grid) {
    out.scale = at::full({1}, grid->scale, values.options());
    out.zero = grid->stored_zero();
    quantize_static_cpu(values, *grid, out.codes);
  } else {
    out.scale = at::empty({x.size(0)}, values.options());
    quantize_dynamic_cpu(values, bits, out.codes, out.scale);
  }
  return out;
}

void check_integer_linear(const QuantizedActivations& x, const IntegerWeight& weight,
                          const at::Tensor& bias, at::ScalarType type) {
  const char* const name = "oasis::integer_linear";
  TORCH_CHECK(x.codes.dim() == 2 && x.codes.scalar_type() == at::kChar, name,
              ": codes must be int8 [M, K], got ", x.codes.scalar_type(), " ", x.codes.sizes());
  const int64_t M = x.codes.size(0), K = x.codes.size(1);
  check_weight(name, weight.codes, weight.scale, weight.inputs);
  TORCH_CHECK(weight.inputs == K, name, ": codes have ", K, " inputs, the weight has ",
              weight.inputs);
  TORCH_CHECK(x.scale.scalar_type() == at::kFloat && x.scale.dim() == 1 &&
                  (x.scale.size(0) == 1 || x.scale.size(0) == M),
              name, ": scale must be float32 [1] or [M] = [", M, "], got ", x.scale.scalar_type(),
              " ", x.scale.sizes());
  TORCH_CHECK(x.zero >= -128 && x.zero <= 127, name,
              ": zero must lie between -128 and 127, as codes are stored, got ", x.zero);
  const int64_t N = weight.codes.size(0);
  const auto sums_shape = weight.grouped() ? weight.scale.sizes().vec() : std::vector<int64_t>{N};
  TORCH_CHECK(weight.sums.scalar_type() == at::kInt && weight.sums.sizes() == sums_shape, name,
              ": weight_sums must be int32 ", at::IntArrayRef(sums_shape),
              " (oasis::weight_sums), got ", weight.sums.scalar_type(), " ", weight.sums.sizes());
  TORCH_CHECK(!bias.defined() || (bias.dim() == 1 && bias.size(0) == N), name,
              ": bias must be [N] = [", N, "], got ", bias.sizes());
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16, name,
              ": the result is float32 or bfloat16, not ", type);
  for (const auto* tensor : {&x.scale, &weight.codes, &weight.scale, &weight.sums, &bias}) {
    TORCH_CHECK(!tensor->defined() || tensor->device() == x.codes.device(), name,
                ": all tensors must be on the codes' device, ", x.codes.device(), ", one is on ",
                tensor->device());
  }
}

}  // namespace

void check_cuda_kernels(const char* name) {
  TORCH_CHECK(integer_linear_cuda != nullptr, name,
              ": integers on a GPU need the CUDA kernels; build with a CUDA toolkit, or run on the "
              "CPU");
}

QuantizedActivations quantize_static(const at::Tensor& x, double lo, double hi, int64_t bits) {
  TORCH_CHECK(std::isfinite(lo) && std::isfinite(hi) && lo <= hi,
              "oasis::quantize_static: the range must be finite with lo <= hi, got [", lo, ", ", hi,
              "]");
  return quantize("oasis::quantize_static", x, activation_grid(lo, hi, bits), bits);
}

QuantizedActivations quantize_dynamic(const at::Tensor& x, int64_t bits) {
  return quantize("oasis::quantize_dynamic", x, std::nullopt, bits);
}

at::Tensor integer_linear(const QuantizedActivations& x_input, const IntegerWeight& weight_input,
                          const at::Tensor& bias_input, at::ScalarType type) {
  check_integer_linear(x_input, weight_input, bias_input, type);
  const QuantizedActivations x{with_padded_rows(x_input.codes), x_input.scale.contiguous(),
                               x_input.zero};
  const IntegerWeight weight{with_padded_rows(weight_input.codes), by_group(weight_input.scale),
                             by_group(weight_input.sums), weight_input.inputs};
  const auto bias =
      bias_input.defined() ? bias_input.detach().to(at::kFloat).contiguous() : at::Tensor();
  if (x.codes.is_cuda()) {
    check_cuda_kernels("oasis::integer_linear");
    return integer_linear_cuda->product(x, weight, bias, type);
  }
  return integer_product(x, weight, bias).to(type);
}

namespace {

std::tuple<at::Tensor, at::Tensor, int64_t> as_tuple(const QuantizedActivations& x) {
  return {x.codes, x.scale, x.zero};
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  const auto key = c10::DispatchKey::CompositeImplicitAutograd;
  library.def("quantize_static(Tensor x, float lo, float hi, int bits) -> (Tensor, Tensor, int)",
              torch::dispatch(key, [](const at::Tensor& x, double lo, double hi, int64_t bits) {
                return as_tuple(quantize_static(x, lo, hi, bits));
              }));
  library.def("quantize_dynamic(Tensor x, int bits) -> (Tensor, Tensor, int)",
              torch::dispatch(key, [](const at::Tensor& x, int64_t bits) {
                return as_tuple(quantize_dynamic(x, bits));
              }));
  library.def("quantize_weight(Tensor weight, Tensor scale, int bits) -> Tensor",
              torch::dispatch(key, quantize_weight));
  library.def("pack_nibbles(Tensor codes) -> Tensor", torch::dispatch(key, pack_nibbles));
  library.def("unpack_nibbles(Tensor packed, int inputs) -> Tensor",
              torch::dispatch(key, unpack_nibbles));
  library.def("weight_sums(Tensor codes, int inputs, bool groups) -> Tensor",
              torch::dispatch(key, weight_sums));
  library.def(
      "integer_linear(Tensor codes, Tensor scale, int zero, Tensor weight, Tensor weight_scale, "
      "Tensor weight_sums, Tensor? bias, ScalarType type) -> Tensor",
      torch::dispatch(key, [](const at::Tensor& codes, const at::Tensor& scale, int64_t zero,
                              const at::Tensor& weight, const at::Tensor& weight_scale,
                              const at::Tensor& sums, const std::optional<at::Tensor>& bias,
                              at::ScalarType type) {
        return integer_linear({codes, scale, zero}, {weight, weight_scale, sums, codes.size(-1)},
                              bias.value_or(at::Tensor()), type);
      }));
}

}  // namespace oasis
