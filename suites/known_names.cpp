#include "baselines/registry.h"
#include "datasets/registry.h"
#include "suites/suite_session.h"
#include "support/error.h"

namespace oasis {
namespace {

SuiteCoupling coupling_of(const Coupling& coupling) {
  switch (coupling.kind) {
    case Coupling::Kind::kNone:
      return {};
    case Coupling::Kind::kLearned:
      return {"learned", 0};
    case Coupling::Kind::kFixed:
      return {"fixed", coupling.beta};
  }
  throw failed("coupling kind {} is not known", static_cast<int>(coupling.kind));
}

}  // namespace

KnownNames known_names() {
  KnownNames known;
  for (const MethodDeclaration& method : methods()) {
    known.methods.push_back({std::string(method.name), std::string(normalizer_name(method.token)),
                             method.depth ? std::string(normalizer_name(*method.depth)) : "none",
                             coupling_of(method.coupling), method.gate});
  }
  known.datasets = dataset_names();
  return known;
}

}  // namespace oasis
