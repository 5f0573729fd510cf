#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration oasis_token_null_only() {
  return {
      .name = "oasis_token_null_only",
      .description = "ablation: the null option over tokens alone, with the coupling",
      .token = Normalizer::kSoftmax1,
      .gate = false,
      .depth = Normalizer::kSoftmax,
      .coupling = {.kind = Coupling::Kind::kLearned},
  };
}

}  // namespace oasis::declarations
