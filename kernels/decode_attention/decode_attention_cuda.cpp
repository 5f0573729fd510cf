#include "kernels/decode_attention/decode_attention_cuda.h"

#include <ATen/ops/empty.h>

#include <cstdint>
#include <limits>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/decode_attention/decode_attention_kernel.h"

namespace oasis {
namespace {

cuda::DecodeNormalizer on_device(Normalizer kind) {
  switch (kind) {
    case Normalizer::kSoftmax:
      return cuda::DecodeNormalizer::kSoftmax;
    case Normalizer::kSoftmax1:
      return cuda::DecodeNormalizer::kSoftmax1;
    case Normalizer::kClippedSoftmax:
      return cuda::DecodeNormalizer::kClippedSoftmax;
    case Normalizer::kSparsemax:
      return cuda::DecodeNormalizer::kSparsemax;
    case Normalizer::kEntmax15:
      return cuda::DecodeNormalizer::kEntmax15;
  }
  TORCH_CHECK(false, "oasis::decode_attention: no such normalizer");
}

struct DecodeAttentionOnDevice {
  static bool serves(const at::Tensor& q, const at::Tensor& keys) {
    const auto in_packs = [&](int64_t stride) { return stride * keys.element_size() % 16 == 0; };
    return cuda::has_element_type(q) && q.size(0) <= 65535 &&
           keys.size(2) <= std::numeric_limits<int32_t>::max() && in_packs(keys.stride(0)) &&
           in_packs(keys.stride(1)) &&
           reinterpret_cast<std::uintptr_t>(keys.const_data_ptr()) % 16 == 0 &&
           cuda::decode_attention_serves(cuda::element_type(q), q.size(1), keys.size(1),
                                         keys.size(2), q.size(3));
  }

  static at::Tensor readable(const at::Tensor& x) { return x.stride(3) == 1 ? x : x.contiguous(); }

  static cuda::DecodeHeads heads(const at::Tensor& x) {
    return {x.const_data_ptr(), x.stride(0), x.stride(1)};
  }

  static std::tuple<at::Tensor, at::Tensor> attend(const at::Tensor& q_input,
                                                   const at::Tensor& k_input,
                                                   const at::Tensor& v_input,
                                                   const at::Tensor& keys, const at::Tensor& values,
                                                   const at::Tensor& positions_input,
                                                   const NormalizerSpec& spec, double scale) {
    const c10::cuda::CUDAGuard guard(q_input.device());
    const auto q = readable(q_input), k = readable(k_input), v = readable(v_input);
    const auto positions = positions_input.contiguous();
    const int64_t B = q.size(0), H = q.size(1), d = q.size(3);
    auto context = at::empty({B, 1, H, d}, q.options());
    auto null_posterior = at::empty({B, H, 1}, q.options().dtype(at::kFloat));
    cuda::decode_attention({.type = cuda::element_type(q),
                            .normalizer = on_device(spec.kind),
                            .zeta = static_cast<float>(spec.zeta),
                            .gamma = static_cast<float>(spec.gamma),
                            .scale = static_cast<float>(scale),
                            .B = B,
                            .H = H,
                            .Hkv = keys.size(1),
                            .C = keys.size(2),
                            .d = d,
                            .q = heads(q),
                            .k = heads(k),
                            .v = heads(v),
                            .keys = keys.data_ptr(),
                            .values = values.data_ptr(),
                            .cache_batch = keys.stride(0),
                            .cache_head = keys.stride(1),
                            .positions = positions.const_data_ptr<int64_t>(),
                            .context = context.mutable_data_ptr(),
                            .null_posterior = null_posterior.mutable_data_ptr<float>(),
                            .stream = cuda::stream_of(q)});
    return {context.transpose(1, 2), null_posterior};
  }
};

const DecodeAttentionCuda kDecodeAttentionOnDevice = {DecodeAttentionOnDevice::serves,
                                                      DecodeAttentionOnDevice::attend};
[[maybe_unused]] const bool kDecodeAttentionRegistered =
    (decode_attention_cuda = &kDecodeAttentionOnDevice, true);

}  // namespace
}  // namespace oasis
