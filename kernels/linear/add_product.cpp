#include "kernels/linear/add_product.h"

#include <ATen/ops/add.h>
#include <c10/util/Exception.h>

#include "kernels/linear/linear.h"

namespace oasis {

AddProductCuda add_product_cuda = nullptr;

void add_product(at::Tensor& out, const at::Tensor& a, const at::Tensor& x,
                 const at::Tensor& weight) {
  TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
              "oasis::add_product: x must be [M, K] and weight [N, K], not ", x.sizes(), " and ",
              weight.sizes());
  for (const auto& sum : {a, out}) {
    TORCH_CHECK(sum.dim() == 2 && sum.size(0) == x.size(0) && sum.size(1) == weight.size(0),
                "oasis::add_product: a and out must be [", x.size(0), ", ", weight.size(0),
                "], not ", sum.sizes());
    TORCH_CHECK(sum.scalar_type() == x.scalar_type() && weight.scalar_type() == x.scalar_type(),
                "oasis::add_product: types differ: ", sum.scalar_type(), ", ", x.scalar_type(),
                " and ", weight.scalar_type());
  }
  if (x.is_cuda() && add_product_cuda != nullptr && add_product_cuda(out, a, x, weight)) return;
  at::add_out(out, a, matrix_product(x, weight.t()));
}

}  // namespace oasis
