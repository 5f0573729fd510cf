// Rows as they come, in the form that was asked for.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "results/query.h"

namespace oasis {

using QueryCell = std::variant<std::monostate, std::int64_t, double, std::string>;

class QueryWriter {
 public:
  virtual ~QueryWriter() = default;
  virtual void row(const std::vector<QueryCell>& cells) = 0;
  virtual void finish() = 0;
};

// `columns` and every row have the same length. Columns of one name get a number in JSON.
std::unique_ptr<QueryWriter> make_query_writer(QueryFormat format,
                                               const std::vector<std::string>& columns,
                                               std::ostream& output);

}  // namespace oasis
