#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration oasis_fixed_beta() {
  return {
      .name = "oasis_fixed_beta",
      .description = "ablation: the coupling at β = 1, not learned",
      .token = Normalizer::kSoftmax1,
      .gate = false,
      .depth = Normalizer::kSoftmax1,
      .coupling = {.kind = Coupling::Kind::kFixed, .beta = 1.0},
  };
}

}  // namespace oasis::declarations
