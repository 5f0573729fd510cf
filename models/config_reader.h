// Typed reading of one JSON object of a config.json. Internal to models/.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/error.h"

namespace oasis {

// A key that is missing or null leaves the value as it is. Wrong types throw Error (bad input)
// that opens with `where`.
struct ConfigReader {
  const nlohmann::json& object;
  const std::string& where;

  bool has(const char* key) const { return object.contains(key) && !object.at(key).is_null(); }

  void integer(const char* key, int64_t& value, bool required = false) const {
    if (!present(key, required, "integer")) return;
    const auto& field = object.at(key);
    if (!field.is_number_integer()) throw wrong(key, "an integer");
    value = field.get<int64_t>();
  }

  void number(const char* key, double& value, bool required = false) const {
    if (!present(key, required, "number")) return;
    const auto& field = object.at(key);
    if (!field.is_number()) throw wrong(key, "a number");
    value = field.get<double>();
  }

  void numbers(const char* key, std::vector<double>& values) const {
    present(key, true, "list of numbers");
    const auto& field = object.at(key);
    if (!field.is_array()) throw wrong(key, "a list of numbers");
    values.clear();
    for (const auto& item : field) {
      if (!item.is_number()) throw wrong(key, "a list of numbers");
      values.push_back(item.get<double>());
    }
  }

  void boolean(const char* key, bool& value) const {
    if (!has(key)) return;
    const auto& field = object.at(key);
    if (!field.is_boolean()) throw wrong(key, "true or false");
    value = field.get<bool>();
  }

  void text(const char* key, std::string& value) const {
    if (!has(key)) return;
    const auto& field = object.at(key);
    if (!field.is_string()) throw wrong(key, "a string");
    value = field.get<std::string>();
  }

  // Token ids may be lists (several end-of-text tokens); the first is kept.
  void token(const char* key, int64_t& value) const {
    if (!has(key)) return;
    const auto& field = object.at(key);
    const auto& first = field.is_array() && !field.empty() ? field.front() : field;
    if (!first.is_number_integer()) throw wrong(key, "a token id");
    value = first.get<int64_t>();
  }

 private:
  bool present(const char* key, bool required, const char* kind) const {
    if (required && !has(key)) throw bad_input("{}: '{}' is missing; add the {}", where, key, kind);
    return has(key);
  }
  Error wrong(const char* key, const char* expected) const {
    return bad_input("{}: '{}' must be {}, not {}", where, key, expected, object.at(key).dump());
  }
};

}  // namespace oasis
