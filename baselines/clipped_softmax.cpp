#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration clipped_softmax() {
  return {
      .name = "clipped_softmax",
      .description =
          "clip((ζ−γ)·softmax+γ, 0, 1) over tokens, ζ = 1, γ = −12/T (Bondarenko et al. 2023)",
      .token = Normalizer::kClippedSoftmax,
      .gate = false,
      .depth = Normalizer::kSoftmax,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
