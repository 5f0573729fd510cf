#include "baselines/registry.h"

namespace oasis::declarations {

MethodDeclaration oasis_depth_null_only() {
  return {
      .name = "oasis_depth_null_only",
      .description = "ablation: the null option over depth alone",
      .token = Normalizer::kSoftmax,
      .gate = false,
      .depth = Normalizer::kSoftmax1,
      .coupling = {},
  };
}

}  // namespace oasis::declarations
