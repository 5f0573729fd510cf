// The values of a JSON Lines file (.jsonl, .jsonl.zst), one after the other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "datasets/line_reader.h"

namespace oasis {

class JsonLines {
 public:
  explicit JsonLines(const std::filesystem::path& file) : lines_(file) {}  // errors: LineReader's

  // False at the end. Blank lines are passed over. Throws Error (bad input) naming file and line
  // for a line that is not JSON.
  bool next(nlohmann::json& value);

  std::string where() const;  // "FILE: line 3", of the value read last
  std::uint64_t position() const { return lines_.position(); }

  // Moves the text of field `name` out of the value read last. Throws Error (bad input) naming file, line and
  // field when the value is no object, the field is missing or not a string.
  std::string take_text(nlohmann::json& value, const char* name) const;

 private:
  LineReader lines_;
};

}  // namespace oasis
