#include "datasets/json_lines.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "support/error.h"

namespace oasis {

bool JsonLines::next(nlohmann::json& value) {
  std::string_view line;
  do {
    line = lines_.take(0);
    if (line.empty()) return false;
  } while (line.find_first_not_of(" \t\r\n") == std::string_view::npos);
  value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded()) {
    throw bad_input("{} is not valid JSON; replace the file or remove the line", where());
  }
  return true;
}

std::string JsonLines::where() const {
  return fmt::format("{}: line {}", lines_.path().string(), lines_.line());
}

std::string JsonLines::take_text(nlohmann::json& value, const char* name) const {
  if (!value.is_object()) {
    throw bad_input("{}: must be a JSON object, not {}", where(), value.type_name());
  }
  const auto field = value.find(name);
  if (field == value.end()) throw bad_input("{}: field '{}' is missing", where(), name);
  if (!field->is_string()) {
    throw bad_input("{}: field '{}' must be a string, not {}", where(), name, field->type_name());
  }
  return std::move(field->get_ref<std::string&>());
}

}  // namespace oasis
