#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration softmax1() {
  return {
      .name = "softmax1",
      .description = "Softmax1 over tokens, softmax over depth (OutEffHop, Hu et al. 2024)",
      .token = Normalizer::kSoftmax1,
      .gate = false,
      .depth = Normalizer::kSoftmax,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
