#include "kernels/integer_linear/weight_codes.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/round.h>
#include <ATen/ops/stack.h>

#include "kernels/integer_linear/integer_linear.h"

namespace oasis {
namespace {

int64_t groups_of(int64_t inputs) {
  return (inputs + kWeightGroup - 1) / kWeightGroup;
}

void check_scale(const char* name, const at::Tensor& scale, int64_t N, int64_t K) {
  const bool vector = scale.dim() == 1 && (scale.size(0) == 1 || scale.size(0) == N);
  const bool groups = scale.dim() == 2 && scale.size(0) == N && scale.size(1) == groups_of(K);
  TORCH_CHECK(scale.scalar_type() == at::kFloat && (vector || groups), name,
              ": a weight's scale must be float32 [1], [N] or [N, groups of 64] = [", N, ", ",
              groups_of(K), "], got ", scale.scalar_type(), " ", scale.sizes());
}

}  // namespace

at::Tensor empty_codes(int64_t rows, int64_t columns, const at::TensorOptions& options) {
  const int64_t stride = (columns + kRowAlignment - 1) / kRowAlignment * kRowAlignment;
  return at::empty({rows, stride}, options).narrow(1, 0, columns);
}

at::Tensor with_padded_rows(const at::Tensor& codes) {
  const auto address = reinterpret_cast<uintptr_t>(codes.const_data_ptr());
  if ((codes.stride(1) == 1 || codes.size(1) == 1) && codes.stride(0) % kRowAlignment == 0 &&
      codes.stride(0) >= codes.size(1) && address % kRowAlignment == 0) {
    return codes;
  }
  const auto padded = empty_codes(codes.size(0), codes.size(1), codes.options());
  padded.copy_(codes);
  return padded;
}

at::Tensor by_group(const at::Tensor& x) {
  return x.dim() == 2 ? x.t().contiguous().t() : x.contiguous();
}

void check_weight(const char* name, const at::Tensor& codes, const at::Tensor& scale,
                  int64_t inputs) {
  const auto type = codes.scalar_type();
  const int64_t columns = type == at::kByte ? (inputs + 1) / 2 : inputs;
  TORCH_CHECK(inputs >= 1 && inputs <= kMostIntegerInputs, name,
              ": integer sums hold between 1 and ", kMostIntegerInputs, " inputs, got ", inputs);
  TORCH_CHECK(
      (type == at::kChar || type == at::kByte) && codes.dim() == 2 && codes.size(1) == columns,
      name, ": a weight of ", inputs, " inputs must be int8 [N, ", inputs,
      "] or, packed, uint8 [N, ", (inputs + 1) / 2, "], got ", type, " ", codes.sizes());
  check_scale(name, scale, codes.size(0), inputs);
}

at::Tensor quantize_weight(const at::Tensor& weight, const at::Tensor& scale, int64_t bits) {
  const char* const name = "oasis::quantize_weight";
  TORCH_CHECK(weight.dim() == 2 && at::isFloatingType(weight.scalar_type()), name,
              ": the weight must be [N, K] of a floating type, got ", weight.scalar_type(), " ",
              weight.sizes());
  TORCH_CHECK(bits >= 2 && bits <= 8, name, ": bits must lie between 2 and 8, got ", bits);
  const int64_t N = weight.size(0), K = weight.size(1);
  check_scale(name, scale, N, K);
  const auto step = scale.dim() == 2     ? scale.repeat_interleave(kWeightGroup, 1).narrow(1, 0, K)
                    : scale.size(0) == 1 ? scale
                                         : scale.unsqueeze(1);
  const int64_t highest = (int64_t{1} << (bits - 1)) - 1;
  const auto exact = at::round(weight.detach().to(at::kFloat) / step);
  return at::clamp(exact, -highest - 1, highest).to(at::kChar);
}

at::Tensor pack_nibbles(const at::Tensor& codes) {
  const char* const name = "oasis::pack_nibbles";
  TORCH_CHECK(codes.dim() == 2 && codes.scalar_type() == at::kChar, name,
              ": codes must be int8 [N, K], got ", codes.scalar_type(), " ", codes.sizes());
  TORCH_CHECK(
      codes.numel() == 0 || (codes.min().item<int64_t>() >= -8 && codes.max().item<int64_t>() <= 7),
      name, ": codes must lie between -8 and 7");
  const int64_t N = codes.size(0), K = codes.size(1);
  const auto pairs = at::constant_pad_nd(codes, {0, K % 2}).view({N, (K + 1) / 2, 2});
  const auto bytes = at::bitwise_and(pairs, 15).to(at::kByte);
  return at::bitwise_or(bytes.select(2, 0), at::bitwise_left_shift(bytes.select(2, 1), 4));
}

at::Tensor unpack_nibbles(const at::Tensor& packed, int64_t inputs) {
  TORCH_CHECK(
      packed.dim() == 2 && packed.scalar_type() == at::kByte && packed.size(1) == (inputs + 1) / 2,
      "oasis::unpack_nibbles: ", inputs, " inputs are packed in uint8 [N, ", (inputs + 1) / 2,
      "], got ", packed.scalar_type(), " ", packed.sizes());
  const auto nibbles =
      at::stack({at::bitwise_and(packed, 15), at::bitwise_right_shift(packed, 4)}, 2);
  const auto codes = at::bitwise_xor(nibbles.to(at::kChar), 8) - 8;
  return codes.view({packed.size(0), -1}).narrow(1, 0, inputs).contiguous();
}

at::Tensor weight_sums(const at::Tensor& weight, int64_t inputs, bool groups) {
  const auto codes = weight.scalar_type() == at::kByte ? unpack_nibbles(weight, inputs) : weight;
  TORCH_CHECK(codes.dim() == 2 && codes.scalar_type() == at::kChar && codes.size(1) == inputs,
              "oasis::weight_sums: codes must be int8 [N, ", inputs, "] or packed, got ",
              codes.scalar_type(), " ", codes.sizes());
  if (!groups) return codes.sum(at::IntArrayRef{1}, false, at::kInt);
  const int64_t G = groups_of(inputs);
  return by_group(at::constant_pad_nd(codes, {0, G * kWeightGroup - inputs})
                      .view({codes.size(0), G, kWeightGroup})
                      .sum(at::IntArrayRef{2}, false, at::kInt));
}

IntegerWeight make_integer_weight(const at::Tensor& codes, const at::Tensor& scale,
                                  int64_t inputs) {
  check_weight("oasis::make_integer_weight", codes, scale, inputs);
  return {with_padded_rows(codes), by_group(scale), weight_sums(codes, inputs, scale.dim() == 2),
          inputs};
}

}  // namespace oasis
