// cuBLASLt takes the addend apart from the result, which LibTorch's addmm copies first.
#include <ATen/cuda/CUDAContextLight.h>
#include <ATen/ops/empty.h>
#include <cublasLt.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>

#include "kernels/cuda/tensor_argument.h"
#include "kernels/linear/add_product.h"

namespace oasis {
namespace {

constexpr uint64_t kWorkspaceBytes = 8 << 20;
constexpr uint32_t kBestAlignment = 256;

void check(cublasStatus_t status, const char* call) {
  TORCH_CHECK(status == CUBLAS_STATUS_SUCCESS, "oasis::add_product: ", call,
              " failed: ", cublasLtGetStatusString(status),
              " (out of GPU memory, or a driver too old?)");
}

template <auto destroy>
struct Destroy {
  template <typename T>
  void operator()(T* handle) const {
    destroy(handle);
  }
};

template <typename T, auto destroy>
using Handle = std::unique_ptr<T, Destroy<destroy>>;

using Description = Handle<cublasLtMatmulDescOpaque_t, cublasLtMatmulDescDestroy>;
using Layout = Handle<cublasLtMatrixLayoutOpaque_t, cublasLtMatrixLayoutDestroy>;
using Preference = Handle<cublasLtMatmulPreferenceOpaque_t, cublasLtMatmulPreferenceDestroy>;

// The transposed view of a row-major matrix, which is how cuBLAS reads it.
Layout layout_of(const at::Tensor& x) {
  cublasLtMatrixLayout_t layout = nullptr;
  const auto type = x.scalar_type() == at::kBFloat16 ? CUDA_R_16BF : CUDA_R_16F;
  check(cublasLtMatrixLayoutCreate(&layout, type, static_cast<uint64_t>(x.size(1)),
                                   static_cast<uint64_t>(x.size(0)), x.stride(0)),
        "cublasLtMatrixLayoutCreate");
  return Layout(layout);
}

Description description() {
  cublasLtMatmulDesc_t created = nullptr;
  check(cublasLtMatmulDescCreate(&created, CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate");
  Description result(created);
  const auto transposed = CUBLAS_OP_T;
  check(cublasLtMatmulDescSetAttribute(created, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof(transposed)),
        "cublasLtMatmulDescSetAttribute");
  return result;
}

uint32_t alignment(const at::Tensor& x) {
  const auto bits = reinterpret_cast<uintptr_t>(x.const_data_ptr()) | kBestAlignment;
  return uint32_t{1} << std::countr_zero(bits);
}

// Sums of partial products are added up in float32, in a fixed order.
Preference preference(const at::Tensor& weight, const at::Tensor& x, const at::Tensor& a,
                      const at::Tensor& out) {
  cublasLtMatmulPreference_t created = nullptr;
  check(cublasLtMatmulPreferenceCreate(&created), "cublasLtMatmulPreferenceCreate");
  Preference result(created);
  const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
    check(cublasLtMatmulPreferenceSetAttribute(created, attribute, &value, sizeof(value)),
          "cublasLtMatmulPreferenceSetAttribute");
  };
  set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment(weight));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment(x));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment(a));
  set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment(out));
  return result;
}

bool serves(const at::Tensor& x) {
  return (x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf) && x.stride(1) == 1 &&
         x.stride(0) >= std::max<int64_t>(x.size(1), 1) && x.numel() > 0;
}

bool add_product_on_device(at::Tensor& out, const at::Tensor& a, const at::Tensor& x,
                           const at::Tensor& weight) {
  if (!serves(out) || !serves(a) || !serves(x) || !serves(weight)) return false;
  const c10::cuda::CUDAGuard guard(x.device());
  const auto handle = at::cuda::getCurrentCUDABlasLtHandle();
  const auto product = description();
  const auto of_weight = layout_of(weight), of_x = layout_of(x), of_a = layout_of(a),
             of_out = layout_of(out);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  const auto status = cublasLtMatmulAlgoGetHeuristic(
      handle, product.get(), of_weight.get(), of_x.get(), of_a.get(), of_out.get(),
      preference(weight, x, a, out).get(), 1, &best, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0) return false;
  const auto workspace =
      at::empty({static_cast<int64_t>(best.workspaceSize)}, x.options().dtype(at::kByte));
  const float one = 1;
  check(cublasLtMatmul(handle, product.get(), &one, weight.const_data_ptr(), of_weight.get(),
                       x.const_data_ptr(), of_x.get(), &one, a.const_data_ptr(), of_a.get(),
                       out.mutable_data_ptr(), of_out.get(), &best.algo,
                       workspace.mutable_data_ptr(), best.workspaceSize, cuda::stream_of(x)),
        "cublasLtMatmul");
  return true;
}

[[maybe_unused]] const bool kAddProductRegistered =
    (add_product_cuda = add_product_on_device, true);

}  // namespace
}  // namespace oasis
