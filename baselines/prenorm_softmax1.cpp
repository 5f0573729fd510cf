#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration prenorm_softmax1() {
  return {
      .name = "prenorm_softmax1",
      .description = "control: Softmax1 over tokens, the residual sum",
      .token = Normalizer::kSoftmax1,
      .gate = false,
      .depth = std::nullopt,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
