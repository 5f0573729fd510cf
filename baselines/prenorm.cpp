#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration prenorm() {
  return {
      .name = "prenorm",
      .description = "control: a plain pre-norm transformer, the residual sum",
      .token = Normalizer::kSoftmax,
      .gate = false,
      .depth = std::nullopt,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
