// Reading a JSON object strictly: unknown keys, wrong types and values out of range are errors that
// name the place, the key and what to do.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace oasis {

// `where` names the value. Throws Error (bad input) when it is not an integer in [low, high].
std::uint64_t json_integer(const nlohmann::json& value, const std::string& where, std::uint64_t low,
                           std::uint64_t high);

class JsonFields {
 public:
  // Keeps a reference to `json`. Throws Error (bad input) when it is not an object, or holds a key
  // that is not known (with the nearest one that is).
  JsonFields(const nlohmann::json& json, std::string where, const std::vector<std::string>& known);

  bool has(const std::string& name) const { return json_.contains(name); }
  const nlohmann::json& at(const std::string& name) const;  // throws when missing
  std::string text(const std::string& name) const;          // throws when missing or not a string

  // Throw when neither true nor false, or, for boolean(), when missing.
  bool boolean(const std::string& name) const;
  bool boolean_or(bool fallback, const std::string& name) const;

  const nlohmann::json& array(
      const std::string& name) const;  // throws when missing or another type

  // Throw when not an integer in [low, high], or, for integer(), when missing.
  std::uint64_t integer(const std::string& name, std::uint64_t low = 0,
                        std::uint64_t high = UINT64_MAX) const;
  std::uint64_t integer_or(std::uint64_t fallback, const std::string& name, std::uint64_t low,
                           std::uint64_t high) const;

 private:
  const nlohmann::json& json_;
  std::string where_;
};

}  // namespace oasis
