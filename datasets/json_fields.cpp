#include "datasets/json_fields.h"

#include <algorithm>
#include <utility>

#include "support/error.h"
#include "support/text.h"

namespace oasis {

std::uint64_t json_integer(const nlohmann::json& value, const std::string& where, std::uint64_t low,
                           std::uint64_t high) {
  if (!value.is_number_integer()) {
    throw bad_input("{}: must be an integer, not {}", where,
                    value.is_number() ? value.dump() : value.type_name());
  }
  const bool negative = !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
  if (negative || value.get<std::uint64_t>() < low || value.get<std::uint64_t>() > high) {
    throw bad_input("{}: must be from {} to {}, not {}", where, low, high, value.dump());
  }
  return value.get<std::uint64_t>();
}

JsonFields::JsonFields(const nlohmann::json& json, std::string where,
                       const std::vector<std::string>& known)
    : json_(json), where_(std::move(where)) {
  if (!json_.is_object()) {
    throw bad_input("{}: must be a JSON object, not {}", where_,
                    json_.is_discarded() ? "damaged text" : json_.type_name());
  }
  for (const auto& item : json_.items()) {
    if (std::find(known.begin(), known.end(), item.key()) == known.end()) {
      throw bad_input("{}: unknown key '{}'{}", where_, item.key(), suggestion(item.key(), known));
    }
  }
}

const nlohmann::json& JsonFields::at(const std::string& name) const {
  const auto found = json_.find(name);
  if (found == json_.end()) throw bad_input("{}: key '{}' is missing", where_, name);
  return *found;
}

std::string JsonFields::text(const std::string& name) const {
  const auto& value = at(name);
  if (!value.is_string()) {
    throw bad_input("{}.{}: must be a string, not {}", where_, name, value.type_name());
  }
  return value.get<std::string>();
}

bool JsonFields::boolean(const std::string& name) const {
  const auto& value = at(name);
  if (!value.is_boolean()) {
    throw bad_input("{}.{}: must be true or false, not {}", where_, name, value.type_name());
  }
  return value.get<bool>();
}

bool JsonFields::boolean_or(bool fallback, const std::string& name) const {
  return has(name) ? boolean(name) : fallback;
}

const nlohmann::json& JsonFields::array(const std::string& name) const {
  const auto& value = at(name);
  if (!value.is_array()) {
    throw bad_input("{}.{}: must be an array, not {}", where_, name, value.type_name());
  }
  return value;
}

std::uint64_t JsonFields::integer(const std::string& name, std::uint64_t low,
                                  std::uint64_t high) const {
  return json_integer(at(name), fmt::format("{}.{}", where_, name), low, high);
}

std::uint64_t JsonFields::integer_or(std::uint64_t fallback, const std::string& name,
                                     std::uint64_t low, std::uint64_t high) const {
  return has(name) ? integer(name, low, high) : fallback;
}

}  // namespace oasis
