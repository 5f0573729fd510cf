// Reading a JSON object strictly: unknown keys, wrong types and values out of range are errors that
// name the place, the key and what to do.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace oasis {

class JsonFields {
 public:
  // Keeps a reference to `json`. Throws Error (bad input) when it is not an object, or holds a key
  // that is not known (with the nearest one that is).
  JsonFields(const nlohmann::json& json, std::string where, const std::vector<std::string>& known);

  bool has(const std::string& name) const { return json_.contains(name); }
  const nlohmann::json& at(const std::string& name) const;  // throws when missing
  std::string text(const std::string& name) const;          // throws when missing or not a string

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
