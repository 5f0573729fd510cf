#include "kernels/integer_linear/integer_linear_reference.h"

#include <ATen/TensorAccessor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>

namespace oasis::reference {
namespace {

int64_t weight_code(const IntegerWeight& weight, int64_t n, int64_t k) {
  if (!weight.packed()) return weight.codes.accessor<int8_t, 2>()[n][k];
  const int nibble = (weight.codes.accessor<uint8_t, 2>()[n][k / 2] >> (k % 2 * 4)) & 15;
  return nibble < 8 ? nibble : nibble - 16;
}

}  // namespace

at::Tensor integer_linear(const QuantizedActivations& x, const IntegerWeight& weight,
                          const at::Tensor& bias, at::ScalarType type) {
  const int64_t M = x.codes.size(0), N = weight.codes.size(0), K = weight.inputs;
  const auto codes = x.codes.accessor<int8_t, 2>();
  const auto row_scale = x.scale.contiguous();
  const auto offsets = bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
  auto y = at::empty({M, N}, at::kFloat);
  auto out = y.accessor<float, 2>();
  for (int64_t m = 0; m < M; ++m) {
    const float s_x = row_scale.const_data_ptr<float>()[row_scale.numel() == 1 ? 0 : m];
    for (int64_t n = 0; n < N; ++n) {
      const auto product = [&](int64_t begin, int64_t end) {
        int64_t sum = 0;
        for (int64_t k = begin; k < end; ++k) {
          sum += (codes[m][k] - x.zero) * weight_code(weight, n, k);
        }
        return static_cast<float>(sum);
      };
      const float b = offsets.defined() ? offsets.const_data_ptr<float>()[n] : 0.0F;
      if (weight.grouped()) {
        const auto s_w = weight.scale.accessor<float, 2>();
        float t = 0;
        for (int64_t g = 0; g * kWeightGroup < K; ++g) {
          const float sum = product(g * kWeightGroup, std::min(K, (g + 1) * kWeightGroup));
          t = std::fma(sum, s_w[n][g], t);
        }
        out[m][n] = std::fma(t, s_x, b);
      } else {
        const auto s_w = weight.scale.accessor<float, 1>();
        out[m][n] = std::fma(product(0, K), s_x * s_w[weight.scale.numel() == 1 ? 0 : n], b);
      }
    }
  }
  return y.to(type);
}

}  // namespace oasis::reference
