#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration oasis() {
  return {
      .name = "oasis",
      .description = "Softmax1 over tokens and depth, coupled by a learned β (arXiv 2605.17887)",
      .token = Normalizer::kSoftmax1,
      .gate = false,
      .depth = Normalizer::kSoftmax1,
      .coupling = {.kind = Coupling::Kind::kLearned},
  };
}

}  // namespace oasis::declarations
