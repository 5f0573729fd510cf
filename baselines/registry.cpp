#include "baselines/registry.h"

#include <algorithm>

#include "support/error.h"
#include "support/text.h"

// One line per method: its file baselines/<name>.cpp defines declarations::<name>().
#define OASIS_METHODS                 \
  OASIS_METHOD(attnres)               \
  OASIS_METHOD(clipped_softmax)       \
  OASIS_METHOD(gated_attention)       \
  OASIS_METHOD(softmax1)              \
  OASIS_METHOD(sparsemax)             \
  OASIS_METHOD(oasis)                 \
  OASIS_METHOD(prenorm)               \
  OASIS_METHOD(prenorm_softmax1)      \
  OASIS_METHOD(entmax15)              \
  OASIS_METHOD(oasis_no_coupling)     \
  OASIS_METHOD(oasis_token_null_only) \
  OASIS_METHOD(oasis_depth_null_only) \
  OASIS_METHOD(oasis_fixed_beta)

namespace oasis {

namespace declarations {
#define OASIS_METHOD(name) MethodDeclaration name();
OASIS_METHODS
#undef OASIS_METHOD
}  // namespace declarations

const std::vector<MethodDeclaration>& methods() {
#define OASIS_METHOD(name) declarations::name(),
  static const std::vector<MethodDeclaration> all = {OASIS_METHODS};
#undef OASIS_METHOD
  return all;
}

std::vector<std::string> method_names() {
  std::vector<std::string> names;
  for (const auto& method : methods()) names.emplace_back(method.name);
  return names;
}

const std::vector<std::string>& paper_methods() {
  static const std::vector<std::string> names = {"attnres",  "clipped_softmax", "gated_attention",
                                                 "softmax1", "sparsemax",       "oasis"};
  return names;
}

const MethodDeclaration& find_method(std::string_view name) {
  const auto found = std::ranges::find(methods(), name, &MethodDeclaration::name);
  if (found == methods().end()) {
    throw bad_input("unknown method '{}'{}", name, suggestion(name, method_names()));
  }
  return *found;
}

}  // namespace oasis
