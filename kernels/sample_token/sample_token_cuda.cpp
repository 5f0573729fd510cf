#include "kernels/sample_token/sample_token_cuda.h"

#include <ATen/ops/empty.h>

#include <limits>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/sample_token/sample_token_kernel.h"

namespace oasis {
namespace {

struct SampleTokenOnDevice {
  static at::Tensor sample(const at::Tensor& logits, const at::Tensor& streams,
                           const at::Tensor& positions, const SamplingSpec& spec) {
    const c10::cuda::CUDAGuard guard(logits.device());
    TORCH_CHECK(logits.size(1) <= std::numeric_limits<int32_t>::max(),
                "oasis::sample_token: too many logits in a row: ", logits.size(1));
    auto tokens = at::empty({logits.size(0)}, streams.options());
    cuda::sample_token({.B = logits.size(0),
                        .V = logits.size(1),
                        .logits = logits.const_data_ptr<float>(),
                        .streams = streams.const_data_ptr<int64_t>(),
                        .positions = positions.const_data_ptr<int64_t>(),
                        .temperature = static_cast<float>(spec.temperature),
                        .top_k = spec.top_k,
                        .top_p = spec.top_p,
                        .seed = spec.seed,
                        .tokens = tokens.mutable_data_ptr<int64_t>(),
                        .stream = cuda::stream_of(logits)});
    return tokens;
  }
};

const SampleTokenCuda kSampleTokenOnDevice = {SampleTokenOnDevice::sample};
[[maybe_unused]] const bool kSampleTokenRegistered =
    (sample_token_cuda = &kSampleTokenOnDevice, true);

}  // namespace
}  // namespace oasis
