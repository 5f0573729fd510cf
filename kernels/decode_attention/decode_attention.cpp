#include "kernels/decode_attention/decode_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <torch/library.h>

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/decode_attention/decode_attention_cuda.h"
#include "kernels/dispatch.h"
#include "kernels/normalizer/row.h"
#include "kernels/parallel.h"
#include "kernels/vector_loops.h"

namespace oasis {

const DecodeAttentionCuda* decode_attention_cuda = nullptr;

namespace {

void check_cache(const at::Tensor& k, const at::Tensor& v, const at::Tensor& keys,
                 const at::Tensor& values, const at::Tensor& positions) {
  TORCH_CHECK(k.dim() == 4 && k.size(2) == 1 && k.numel() > 0 && v.sizes() == k.sizes(),
              "oasis::decode_attention: k and v must be [B,Hkv,1,d] and not empty, got shapes ",
              k.sizes(), " and ", v.sizes());
  TORCH_CHECK(
      keys.dim() == 4 && keys.size(0) == k.size(0) && keys.size(1) == k.size(1) &&
          keys.size(3) == k.size(3) && values.sizes() == keys.sizes() && keys.stride(3) == 1 &&
          keys.stride(2) == k.size(3) && values.strides() == keys.strides(),
      "oasis::decode_attention: keys and values must be [B,Hkv,C,d] with B, Hkv, d as in k ",
      k.sizes(), " and dense rows, got shapes ", keys.sizes(), " and ", values.sizes());
  for (const auto& other : {v, keys, values}) {
    TORCH_CHECK(other.scalar_type() == k.scalar_type() && other.device() == k.device(),
                "oasis::decode_attention: all must share one type and device, got ",
                other.scalar_type(), " on ", other.device(), " beside ", k.scalar_type(), " on ",
                k.device());
  }
  TORCH_CHECK(positions.dim() == 1 && positions.size(0) == k.size(0) &&
                  positions.scalar_type() == at::kLong && positions.device() == k.device(),
              "oasis::decode_attention: positions must be int64 [", k.size(0), "] on ", k.device(),
              ", got ", positions.scalar_type(), " ", positions.sizes(), " on ",
              positions.device());
  if (!positions.is_cpu()) return;
  const auto* p = positions.const_data_ptr<int64_t>();
  for (int64_t b = 0; b < positions.size(0); ++b) {
    const auto position = p[b * positions.stride(0)];
    TORCH_CHECK(position >= 0 && position < keys.size(2), "oasis::decode_attention: position ",
                position, " of sequence ", b, " is outside a cache of ", keys.size(2));
  }
}

void check_query(const at::Tensor& q, const at::Tensor& k, double scale) {
  TORCH_CHECK(q.dim() == 4 && q.size(0) == k.size(0) && q.size(2) == 1 && q.size(3) == k.size(3) &&
                  q.size(1) > 0 && q.size(1) % k.size(1) == 0,
              "oasis::decode_attention: q must be [B,H,1,d] with B and d as in k ", k.sizes(),
              " and H a multiple of its heads, got shape ", q.sizes());
  TORCH_CHECK(q.scalar_type() == k.scalar_type() && q.device() == k.device(),
              "oasis::decode_attention: q and k must share one type and device, got ",
              q.scalar_type(), " on ", q.device(), " and ", k.scalar_type(), " on ", k.device());
  TORCH_CHECK(at::isFloatingType(q.scalar_type()),
              "oasis::decode_attention: q must have a floating type, not ", q.scalar_type());
  TORCH_CHECK(std::isfinite(scale), "oasis::decode_attention: scale must be finite, got ", scale);
}

// [B,1,H,d] in memory, seen as [B,H,1,d].
at::Tensor empty_context(const at::Tensor& q) {
  return at::empty({q.size(0), 1, q.size(1), q.size(3)}, q.options()).transpose(1, 2);
}

// A head of a sequence at a time: its scores stay in the first-level cache, and the keys that the
// heads of a group share in the second.
std::tuple<at::Tensor, at::Tensor> attend_cpu(const at::Tensor& q_input, const at::Tensor& keys,
                                              const at::Tensor& values,
                                              const at::Tensor& positions_input,
                                              const NormalizerSpec& spec, double scale) {
  const auto q = q_input.stride(3) == 1 ? q_input : q_input.contiguous();
  const auto positions = positions_input.contiguous();
  const int64_t B = q.size(0), H = q.size(1), d = q.size(3), group = H / keys.size(1);
  auto context = empty_context(q);
  auto rho = at::empty({B, H, 1}, q.options());
  dispatch_floating(q.scalar_type(), "oasis::decode_attention", [&]<typename scalar_t>() {
    const auto* query = q.const_data_ptr<scalar_t>();
    const auto* key = keys.const_data_ptr<scalar_t>();
    const auto* value = values.const_data_ptr<scalar_t>();
    const auto* position = positions.const_data_ptr<int64_t>();
    auto* out = context.mutable_data_ptr<scalar_t>();
    auto* null = rho.mutable_data_ptr<scalar_t>();
    parallel_rows(B * H, 1, [&](int64_t begin, int64_t end) {
      std::vector<scalar_t> scores(static_cast<size_t>(keys.size(2)));
      for (int64_t row = begin; row < end; ++row) {
        const int64_t b = row / H, h = row % H, n = position[b] + 1;
        const int64_t first = b * keys.stride(0) + h / group * keys.stride(1);
        const scalar_t* x = query + b * q.stride(0) + h * q.stride(1);
        for (int64_t j = 0; j < n; ++j) {
          scores[static_cast<size_t>(j)] =
              static_cast<scalar_t>(scale) * dot(x, key + first + j * d, d);
        }
        null[row] = normalize_row(spec, scores.data(), scores.data(), n);
        scalar_t* sum = out + row * d;
        std::fill(sum, sum + d, scalar_t(0));
        for (int64_t j = 0; j < n; ++j) {
          axpy(scores[static_cast<size_t>(j)], value + first + j * d, sum, d);
        }
      }
    });
  });
  return {context, rho};
}

// Compositions of LibTorch operators, for what has no kernel.
std::tuple<at::Tensor, at::Tensor> attend_composed(const at::Tensor& q, const at::Tensor& keys,
                                                   const at::Tensor& values,
                                                   const at::Tensor& positions,
                                                   const NormalizerSpec& spec, double scale) {
  const auto type = q.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const int64_t B = q.size(0), Hkv = keys.size(1), group = q.size(1) / Hkv;
  const auto rows = q.to(type).reshape({B, Hkv, group, q.size(3)}) * scale;
  const auto scores = at::matmul(rows, keys.to(type).transpose(-1, -2));  // [B,Hkv,group,C]
  const auto hidden =
      (at::arange(keys.size(2), positions.options()) > positions.unsqueeze(1)).view({B, 1, 1, -1});
  const auto [probs, rho] =
      normalize(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), spec);
  // Where γ > 0 a clipped weight of e^-∞ is γ, not 0.
  const auto seen = probs.masked_fill(hidden, 0);
  // What lies beyond a position may be anything, and 0·NaN is NaN.
  const auto read = values.to(type).masked_fill(hidden.view({B, 1, -1, 1}), 0);
  const auto context = at::matmul(seen, read).view(q.sizes());
  auto out = empty_context(q);
  out.copy_(context);
  return {out, rho.reshape({B, q.size(1), 1})};
}

std::tuple<at::Tensor, at::Tensor> decode_attention_operator(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& keys,
    const at::Tensor& values, const at::Tensor& positions, std::string_view normalizer,
    double scale, double zeta, double gamma) {
  return decode_attention(q, k, v, keys, values, positions,
                          parse_normalizer(normalizer, zeta, gamma), scale);
}

}  // namespace

void append_to_cache(const at::Tensor& k, const at::Tensor& v, const at::Tensor& keys,
                     const at::Tensor& values, const at::Tensor& positions) {
  check_cache(k, v, keys, values, positions);
  const auto place = at::clamp(positions, std::nullopt, keys.size(2) - 1)
                         .view({-1, 1, 1, 1})
                         .expand({-1, k.size(1), 1, k.size(3)});
  keys.scatter_(2, place, k);
  values.scatter_(2, place, v);
}

std::tuple<at::Tensor, at::Tensor> decode_attention(const at::Tensor& q, const at::Tensor& k,
                                                    const at::Tensor& v, const at::Tensor& keys,
                                                    const at::Tensor& values,
                                                    const at::Tensor& positions,
                                                    const NormalizerSpec& spec, double scale) {
  check_query(q, k, scale);
  if (decode_attention_cuda != nullptr && q.is_cuda() && decode_attention_cuda->serves(q, keys)) {
    check_cache(k, v, keys, values, positions);
    return decode_attention_cuda->attend(q, k, v, keys, values, positions, spec, scale);
  }
  append_to_cache(k, v, keys, values, positions);
  const auto type = q.scalar_type();
  const bool loops = q.is_cpu() && (type == at::kFloat || type == at::kDouble);
  return (loops ? attend_cpu : attend_composed)(q, keys, values, positions, spec, scale);
}

TORCH_LIBRARY_FRAGMENT(oasis, library) {
  library.def(
      "decode_attention(Tensor q, Tensor k, Tensor v, Tensor(a!) keys, Tensor(b!) values, "
      "Tensor positions, str normalizer, float scale, float zeta=1.0, float gamma=0.0) -> "
      "(Tensor context, Tensor null_posterior)",
      torch::dispatch(c10::DispatchKey::CompositeExplicitAutograd, decode_attention_operator));
}

}  // namespace oasis
