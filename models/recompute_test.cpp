#include "models/recompute.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "models/autocast.h"

namespace oasis {
namespace {

// The second run stands under the first one's autocast, and none is left behind, an error or not.
TEST(RecomputeTest, RunsAgainUnderTheSameAutocastAndLeavesNone) {
  for (const bool enabled : {false, true}) {
    for (const bool fails : {false, true}) {
      std::vector<bool> seen;
      const auto part = [&](const at::Tensor& x) {
        seen.push_back(at::autocast::is_autocast_enabled(at::kCUDA));
        if (fails && seen.size() == 2) throw std::runtime_error("the second run fails");
        return std::vector{x * x};
      };
      const auto x = at::ones({3}).requires_grad_();
      at::Tensor y;
      {
        const Autocast autocast(enabled);
        y = recompute(part, x)[0].sum();
      }
      if (fails) {
        EXPECT_THROW(y.backward(), std::runtime_error);
      } else {
        y.backward();
        EXPECT_EQ(x.grad().sum().item<float>(), 6.F);
      }
      EXPECT_EQ(seen, (std::vector<bool>{enabled, enabled}));
      EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCUDA));
    }
  }
}

}  // namespace
}  // namespace oasis
