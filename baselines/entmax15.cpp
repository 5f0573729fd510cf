#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration entmax15() {
  return {
      .name = "entmax15",
      .description = "1.5-entmax over tokens and over depth (Peters et al. 2019)",
      .token = Normalizer::kEntmax15,
      .gate = false,
      .depth = Normalizer::kEntmax15,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
