#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration sparsemax() {
  return {
      .name = "sparsemax",
      .description = "sparsemax over tokens and over depth (Martins & Astudillo 2016)",
      .token = Normalizer::kSparsemax,
      .gate = false,
      .depth = Normalizer::kSparsemax,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
