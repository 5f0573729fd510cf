#include "models/method_spec.h"

#include <algorithm>

#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

size_t index_of(std::string_view name, const std::vector<std::string>& names, const char* what) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw bad_input("unknown {} '{}'{}", what, name, suggestion(name, names));
  return static_cast<size_t>(found - names.begin());
}

}  // namespace

const std::vector<std::string>& routing_names() {
  static const std::vector<std::string> names = {"none", "projected", "pseudo_query", "block"};
  return names;
}

const std::vector<std::string>& recency_names() {
  static const std::vector<std::string> names = {"normalized", "absolute"};
  return names;
}

std::string_view routing_name(Routing routing) {
  return routing_names()[static_cast<size_t>(routing)];
}

std::string_view recency_name(Recency recency) {
  return recency_names()[static_cast<size_t>(recency)];
}

Routing parse_routing(std::string_view name) {
  return static_cast<Routing>(index_of(name, routing_names(), "routing"));
}

Recency parse_recency(std::string_view name) {
  return static_cast<Recency>(index_of(name, recency_names(), "recency"));
}

}  // namespace oasis
