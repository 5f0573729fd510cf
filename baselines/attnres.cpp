#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration attnres() {
  return {
      .name = "attnres",
      .description = "Attention Residuals, softmax over tokens and over depth (arXiv 2603.15031)",
      .token = Normalizer::kSoftmax,
      .gate = false,
      .depth = Normalizer::kSoftmax,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
