// The history on the GPU, twelve layers deep: gradients against float64, next to what the same
// networks lose when LibTorch's operators compute them at the same precision.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/clamp.h>
#include <ATen/ops/softmax.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include "kernels/depth_route/depth_history_testing.h"

namespace oasis {
namespace {

using namespace testing_support;

constexpr int64_t kLayers = 12, kTokens = 130, kHidden = 64;

// The formula in LibTorch's operators, softmax1 alone; autograd adds up the sources' gradients.
struct InLibTorch : AsTensors {
  using AsTensors::AsTensors;

  std::tuple<at::Tensor, at::Tensor> routed(const Tensors& sources, const DepthRouteInputs& in,
                                            const DepthRouteOptions& options) override {
    const auto y = at::stack(sources, 1);  // [M, n, D]
    auto keys = y;
    if (options.normalize_keys) {
      const auto wide = y.to(at::kFloat);
      keys = (wide * (wide * wide).mean(-1, true).add(options.eps).rsqrt()).to(y.scalar_type());
    }
    auto g = (in.direction.unsqueeze(1) * keys).sum(-1).to(at::kFloat) * options.scale;
    if (options.bias_line) {
      const auto steps = at::arange(g.size(-1), g.options().requires_grad(false));
      g = g + in.logit_bias * (steps * options.bias_line->step + options.bias_line->first);
    }
    if (in.nulls.defined()) {
      const auto nulls = in.nulls.t().to(at::kFloat);
      g = g - in.beta.to(at::kFloat) * (nulls - nulls.mean(-1, true));
    }
    g = at::clamp(g, -kDepthLogitClamp, kDepthLogitClamp);
    const auto padded = at::cat({g, at::zeros_like(g.narrow(-1, 0, 1))}, -1);
    const auto weights = at::softmax(padded, -1).narrow(-1, 0, g.size(-1));
    return {(weights.to(y.scalar_type()).unsqueeze(-1) * y).sum(1), weights};
  }
};

using Network = at::Tensor (*)(Store&, const Tensors&);

Tensors leaves_from(const Tensors& values, at::Device device, at::ScalarType type) {
  Tensors leaves;
  for (const auto& x : values) leaves.push_back(x.to(device, type).detach().requires_grad_());
  return leaves;
}

template <typename MakeStore>
Tensors gradients_of(Network network, const Tensors& leaves, const MakeStore& make_store) {
  auto store = make_store(leaves);
  return torch::autograd::grad({network(store, leaves)}, leaves);
}

class DepthHistoryCudaTest : public testing::TestWithParam<at::ScalarType> {
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

  static void expect_accurate(const char* name, Network network, int64_t slots) {
    const auto type = GetParam();
    Tensors values;
    for (const auto& x : parameters(kLayers, kTokens, kHidden)) {
      values.push_back(x.to(type).to(at::kDouble));
    }
    const auto in_history = [=](const Tensors& x) { return InHistory(slots, x[0]); };
    const auto exact = gradients_of(network, leaves_from(values, at::kCPU, at::kDouble),
                                    [=](const Tensors&) { return AsTensors(slots); });
    const auto leaves = leaves_from(values, at::kCUDA, type);
    const auto found = gradients_of(network, leaves, in_history);
    const auto again = gradients_of(network, leaves, in_history);
    const auto library =
        gradients_of(network, leaves, [=](const Tensors&) { return InLibTorch(slots); });
    double error = 0, library_error = 0, norm = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      EXPECT_TRUE(at::equal(found[i], again[i])) << name << ": parameter " << i << " varies";
      const double own = squared(exact[i]);
      error += squared(found[i].cpu().to(at::kDouble) - exact[i]) / own;
      library_error += squared(library[i].cpu().to(at::kDouble) - exact[i]) / own;
      norm += 1;
    }
    const double floor = type == at::kFloat ? 1e-6 : 4e-3;  // the type's own rounding
    EXPECT_LE(std::sqrt(error / norm), std::max(2 * std::sqrt(library_error / norm), floor))
        << name;
    fmt::print("{} {}: relative error {:.2e}, LibTorch's {:.2e}\n", name, c10::toString(type),
               std::sqrt(error / norm), std::sqrt(library_error / norm));
  }
};

TEST_P(DepthHistoryCudaTest, ProjectedNetwork) {
  expect_accurate("projected", projected, 3 * kLayers + 1);
}

TEST_P(DepthHistoryCudaTest, PseudoQueryNetwork) {
  expect_accurate("pseudo-query", pseudo_query, 2 * kLayers + 1);
}

INSTANTIATE_TEST_SUITE_P(Types, DepthHistoryCudaTest, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& type) { return c10::toString(type.param); });

}  // namespace
}  // namespace oasis
