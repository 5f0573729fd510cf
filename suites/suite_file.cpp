#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>

#include "suites/embedded_suites.h"
#include "suites/suite.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {

SuiteFile load_suite_file(const std::string& path_or_name) {
  std::vector<std::string> names;
  for (const EmbeddedSuite& suite : embedded_suites()) {
    if (suite.name == path_or_name) {
      return {fmt::format("embedded suite '{}'", suite.name), std::string(suite.text)};
    }
    names.emplace_back(suite.name);
  }
  const std::filesystem::path path = path_or_name;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    throw bad_input("{}: is a folder; give a suite's JSON file", path_or_name);
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    const int cause = errno;
    const bool is_name = path_or_name.find('/') == std::string::npos && !path.has_extension();
    if (is_name) {
      throw bad_input("suite '{}': no such file, nor an embedded suite{}", path_or_name,
                      suggestion(path_or_name, names));
    }
    throw bad_input("{}: cannot be read: {}; embedded suites: {}", path_or_name,
                    std::strerror(cause), join(names, ", "));
  }
  return {path_or_name, std::string(std::istreambuf_iterator<char>(file), {})};
}

}  // namespace oasis
