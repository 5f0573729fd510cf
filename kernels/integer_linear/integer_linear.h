// Linear layers in integers: y = x·Wᵀ + b from codes of 8 bits or fewer, int32 sums, and scales in
// float32 at the end. Nothing here is recorded by autograd.
//
// Shapes: M rows (tokens), K inputs, N outputs, G = ⌈K/64⌉ groups along K (the last may be short).
//
// Codes of activations, bits b from 2 to 8, rounding half to even, in float32:
//   static, per tensor, asymmetric, for a range [lo, hi] widened to hold 0 (as fake_quantize.h):
//     scale = max((hi − lo)/(2^b − 1), 1e-12), zero = round(−lo/scale)   (in double, then rounded)
//     code  = clamp(round(x/scale) + zero, 0, 2^b − 1)
//     b = 8: code and zero are stored less 128, so that they fit int8.
//   dynamic, per row, symmetric (SmoothQuant, QuaRot):
//     scale = max(max|x|/(2^(b−1) − 1), 1e-12), zero = 0
//     code  = clamp(round(x/scale), −2^(b−1), 2^(b−1) − 1)
//   NaN has zero's code. A row of dynamic codes with NaN or infinity has a scale that makes its
//   outputs NaN.
// Codes of weights, symmetric, scale given by the caller per tensor [1], row [N] or group [N, G]:
//     code = clamp(round(w/scale), −2^(b−1), 2^(b−1) − 1)
//   as int8 [N, K], or at b ≤ 4 packed two a byte, uint8 [N, ⌈K/2⌉]: byte j holds the code of
//   k = 2j in its low four bits and that of 2j + 1 in its high ones, two's complement; zeros beyond
//   K.
//
// The product, to the last bit the same on every device, number of threads and path:
//   per tensor, row:  y = fma(float(Σ_k (q_k − zero)·w_k), s_x·s_w, b)
//   groups:           y = fma(t, s_x, b), t = fma(float(Σ_{k in g} (q_k − zero)·w_k), s_w(g), t)
//                     for g = 0, 1, …, from t = 0
// with exact sums in int32 (K up to 65,536), all else in float32, b = 0 without a bias, and y then
// rounded to the type asked for. Zero points enter by the sums of the weights' codes.
//
// Operators: oasis::quantize_static(Tensor x, float lo, float hi, int bits) -> (Tensor, Tensor,
// int)
//            oasis::quantize_dynamic(Tensor x, int bits) -> (Tensor, Tensor, int)
//            oasis::quantize_weight(Tensor weight, Tensor scale, int bits) -> Tensor
//            oasis::pack_nibbles(Tensor codes) -> Tensor
//            oasis::unpack_nibbles(Tensor packed, int inputs) -> Tensor
//            oasis::weight_sums(Tensor codes, int inputs, bool groups) -> Tensor
//            oasis::integer_linear(Tensor codes, Tensor scale, int zero, Tensor weight,
//                Tensor weight_scale, Tensor weight_sums, Tensor? bias, ScalarType type) -> Tensor
//
// A later step: codes written by what makes the activation (norm, gated product, attention), which
// saves reading it again.
#pragma once

#include <ATen/core/Tensor.h>

namespace oasis {

inline constexpr int64_t kWeightGroup = 64;
inline constexpr int64_t kMostIntegerInputs = 65536;

struct QuantizedActivations {
  at::Tensor codes;  // int8 [M, K]; rows begin at multiples of 16 bytes
  at::Tensor scale;  // float32 [1] or [M], on the codes' device
  int64_t zero = 0;  // as stored: code − zero is what scale multiplies
};

// x [.., K] of float32, bfloat16 or float16 on the CPU or a GPU, read as M = numel/K rows. Quantize
// once for all linear layers that read x.
QuantizedActivations quantize_static(const at::Tensor& x, double lo, double hi, int64_t bits);
QuantizedActivations quantize_dynamic(const at::Tensor& x, int64_t bits);

struct IntegerWeight {
  at::Tensor codes;  // int8 [N, K] or packed uint8 [N, ⌈K/2⌉]; rows begin at multiples of 16 bytes
  at::Tensor scale;    // float32 [1], [N] or [N, G] (the last stored group by group)
  at::Tensor sums;     // int32 [N], Σ_k of the codes, or [N, G], of each group (stored likewise)
  int64_t inputs = 0;  // K

  bool packed() const { return codes.scalar_type() == at::kByte; }
  bool grouped() const { return scale.dim() == 2; }
};

// Codes int8 [N, K] of a float weight [N, K] on a grid given by its scale [1], [N] or [N, G].
at::Tensor quantize_weight(const at::Tensor& weight, const at::Tensor& scale, int64_t bits);

// int8 [N, K] of −8 to 7 to uint8 [N, ⌈K/2⌉], and back.
at::Tensor pack_nibbles(const at::Tensor& codes);
at::Tensor unpack_nibbles(const at::Tensor& packed, int64_t inputs);

// Int32 [N], or [N, G] with groups.
at::Tensor weight_sums(const at::Tensor& codes, int64_t inputs, bool groups);

// What a checkpoint holds, made ready: codes as above, int8 or packed, with any strides.
IntegerWeight make_integer_weight(const at::Tensor& codes, const at::Tensor& scale, int64_t inputs);

// y [M, N] of float32 or bfloat16; bias [N] of any floating type, or undefined.
at::Tensor integer_linear(const QuantizedActivations& x, const IntegerWeight& weight,
                          const at::Tensor& bias, at::ScalarType type);

}  // namespace oasis
