// The residual addition inside a product, and a router's direction, on the GPU: against float64,
// next to what LibTorch's operators lose at the same precision.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/matmul.h>
#include <dlfcn.h>

#include <algorithm>
#include <array>

#include "kernels/depth_route/router_bank.h"
#include "kernels/linear/add_product.h"
#include "kernels/operation_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

double error(const at::Tensor& found, const at::Tensor& expected) {
  return ((found.cpu().to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

class AddProductCudaTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  static void SetUpTestSuite() {
    // Before Torch is first asked about CUDA.
    if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) != nullptr) {
      ::dlopen("liboasis_cuda.so", RTLD_NOW | RTLD_GLOBAL);
    }
  }

  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU";
  }

  // Values that the type holds, on the GPU.
  static at::Tensor input(at::IntArrayRef shape, double scale, uint64_t seed) {
    return draw(shape, scale, seed).to(at::kCUDA, GetParam());
  }
};

at::Tensor wide(const at::Tensor& x) {
  return x.cpu().to(at::kDouble);
}

TEST_P(AddProductCudaTest, MatchesFloat64) {
  for (const auto& [M, N, K] : {std::array{256, 768, 768}, std::array{1, 8, 16},
                                std::array{77, 96, 200}, std::array{130, 33, 65}}) {
    const auto a = input({M, N}, 1, 1), x = input({M, K}, 1, 2), w = input({N, K}, 0.1, 3);
    // A slot of a buffer, whose rows need not start at a good address.
    auto buffer = at::zeros_like(a).unsqueeze(0).repeat({3, 1, 1});
    auto out = buffer.select(0, 1);
    add_product(out, a, x, w);
    const auto exact = wide(a) + at::matmul(wide(x), wide(w).t());
    const double floor = GetParam() == at::kFloat ? 1e-6 : 4e-3;
    const double library = error(a + at::matmul(x, w.t()), exact);
    EXPECT_LE(error(out, exact), std::max(2 * library, floor)) << M << " " << N << " " << K;
    EXPECT_EQ(buffer.select(0, 0).abs().sum().item<double>(), 0);
    EXPECT_EQ(buffer.select(0, 2).abs().sum().item<double>(), 0);
  }
}

// Eight routers: a whole group and two more, of which the loss may not depend on the last. `apart`:
// values that do not follow each other.
TEST_P(AddProductCudaTest, RouterBankMatchesFloat64) {
  constexpr int64_t kRouters = 8, kTokens = 300;
  Tensors inputs = {input({kRouters, kTokens, 64}, 1, 4)};
  for (uint64_t i = 0; i < 2 * kRouters; ++i) inputs.push_back(input({16, 64}, 0.2, 5 + i));
  const auto cotangent = input({kRouters, kTokens, 64}, 1, 40);
  const auto results = [&](auto convert, bool ours, bool apart, int64_t used) {
    Tensors leaves;
    for (const auto& x : inputs) leaves.push_back(convert(x).detach().requires_grad_());
    const Tensors w_q(leaves.begin() + 1, leaves.begin() + 1 + kRouters),
        w_k(leaves.begin() + 1 + kRouters, leaves.end());
    RouterBank bank(w_q, w_k, kTokens, leaves[0].options());
    at::Tensor loss;
    for (int64_t i = 0; i < used; ++i) {
      auto y = leaves[0].select(0, i);
      if (apart) y = y.clone();
      const auto at = static_cast<size_t>(i);
      const auto u = ours ? bank.direction(i, y) : at::matmul(at::matmul(y, w_q[at].t()), w_k[at]);
      // Autograd takes the newest router first, as in a model.
      const auto part = (u * convert(cotangent).select(0, i)).to(at::kDouble).sum();
      loss = loss.defined() ? loss + part : part;
    }
    auto gradients = torch::autograd::grad({loss}, leaves, {}, std::nullopt, false,
                                           /*allow_unused=*/true);
    for (size_t i = 0; i < leaves.size(); ++i) {
      if (!gradients[i].defined()) gradients[i] = at::zeros_like(leaves[i]);
    }
    return gradients;
  };
  const auto same = [](const at::Tensor& x) { return x; };
  const double floor = GetParam() == at::kFloat ? 1e-6 : 4e-3;
  for (const int64_t used : {kRouters, kRouters - 1}) {
    const auto exact = results(wide, false, false, used);
    const auto library = results(same, false, false, used);
    for (const bool apart : {false, true}) {
      const auto found = results(same, true, apart, used);
      for (size_t i = 0; i < exact.size(); ++i) {
        if (exact[i].norm().item<double>() == 0) {
          EXPECT_EQ(found[i].norm().item<double>(), 0) << "input " << i;
          continue;
        }
        EXPECT_LE(error(found[i], exact[i]), std::max(2 * error(library[i], exact[i]), floor))
            << "input " << i << " of " << used << " routers" << (apart ? ", values apart" : "");
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, AddProductCudaTest,
                         testing::Values(at::kFloat, at::kBFloat16, at::kHalf),
                         [](const auto& type) { return c10::toString(type.param); });

}  // namespace
}  // namespace oasis
