// A prepared statement whose values are bound in one call, by type.
#pragma once

#include <SQLiteCpp/Column.h>
#include <SQLiteCpp/Statement.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace oasis {

struct Blob {
  std::string_view bytes;
};

class BoundStatement {
 public:
  BoundStatement(SQLite::Database& database, const char* sql) : statement_(database, sql) {}

  // Binds ?1, ?2, … in order: integers, bool (0 or 1), double, text, Blob, std::optional
  // (NULL when empty).
  template <typename... Values>
  void bind_all(const Values&... values) {
    int index = 0;
    (bind_one(++index, values), ...);
  }

  // Binds, runs to the end and makes ready for the next values.
  template <typename... Values>
  void run(const Values&... values) {
    bind_all(values...);
    statement_.exec();
    statement_.reset();
  }

  bool step() { return statement_.executeStep(); }  // true: there is a row

  std::int64_t integer(int column) { return statement_.getColumn(column).getInt64(); }
  double real(int column) { return statement_.getColumn(column).getDouble(); }
  std::string text(int column) { return statement_.getColumn(column).getString(); }  // NULL: ""
  bool is_null(int column) { return statement_.getColumn(column).isNull(); }

 private:
  template <typename Value>
  void bind_one(int index, const Value& value) {
    if constexpr (std::is_convertible_v<const Value&, std::string_view>) {
      statement_.bind(index, std::string(std::string_view(value)));
    } else if constexpr (std::is_same_v<Value, Blob>) {
      statement_.bind(index, value.bytes.data(), static_cast<int>(value.bytes.size()));
    } else if constexpr (std::is_floating_point_v<Value>) {
      statement_.bind(index, static_cast<double>(value));
    } else if constexpr (std::is_integral_v<Value>) {
      statement_.bind(index, static_cast<std::int64_t>(value));
    } else if (value.has_value()) {
      bind_one(index, *value);
    } else {
      statement_.bind(index);
    }
  }

  SQLite::Statement statement_;
};

}  // namespace oasis
