#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration gated_attention() {
  return {
      .name = "gated_attention",
      .description = "head outputs times a learned sigmoid gate (Bondarenko et al. 2023)",
      .token = Normalizer::kSoftmax,
      .gate = true,
      .depth = Normalizer::kSoftmax,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
