// Questions that people ask, as SQL with named parameters: the .sql files of this folder, embedded
// at configuration time.
//
// A file starts with its title in a comment, then `-- parameter: NAME TYPE DEFAULT DESCRIPTION` for
// each parameter; TYPE is text or integer, the DEFAULT '' an empty text.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "results/query.h"

namespace oasis {

struct NamedQuery {
  struct Parameter {
    std::string name;
    bool integer = false;
    std::string default_value;
    std::string description;
  };
  std::string name;  // the file's, without .sql
  std::string title;
  std::vector<Parameter> parameters;
  std::string_view sql;
};

std::span<const NamedQuery> named_queries();  // in the order of their names

// Throws Error (bad input), with a suggestion, where there is none of this name.
const NamedQuery& find_named_query(std::string_view name);

// All parameters of the query, `given` over defaults. Throws Error (bad input) for a parameter that
// the query does not have and for text where it wants an integer.
QueryParameters complete_parameters(const NamedQuery& query, const QueryParameters& given);

}  // namespace oasis
