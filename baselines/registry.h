// The methods by name: the six of the paper's comparison, their controls and ablations.
//
// A method is a declaration (baselines/<name>.cpp) of what it changes in the one decoder. Adding
// one is a file here and a line in registry.cpp: docs/adding-a-method.md.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/method_spec.h"

namespace oasis {

struct MethodDeclaration {
  std::string_view name;
  std::string_view description;  // one line, with its source
  Normalizer token = Normalizer::kSoftmax;
  bool gate = false;
  std::optional<Normalizer> depth;  // none: the plain residual sum
  Coupling coupling;

  bool is_routed() const { return depth.has_value(); }
};

const std::vector<MethodDeclaration>& methods();
std::vector<std::string> method_names();
const std::vector<std::string>& paper_methods();  // the six that the tables compare

// Throws Error (bad input) with the nearest name.
const MethodDeclaration& find_method(std::string_view name);

}  // namespace oasis
