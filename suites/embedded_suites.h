// The suites/*.json files, compiled into the binary so that it works alone.
#pragma once

#include <string_view>
#include <vector>

namespace oasis {

struct EmbeddedSuite {
  std::string_view name;  // the file's name without ".json"
  std::string_view text;
};

const std::vector<EmbeddedSuite>& embedded_suites();

}  // namespace oasis
