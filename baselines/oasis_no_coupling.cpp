#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration oasis_no_coupling() {
  return {
      .name = "oasis_no_coupling",
      .description = "ablation: both null options, not coupled",
      .token = Normalizer::kSoftmax1,
      .gate = false,
      .depth = Normalizer::kSoftmax1,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
