#include "datasets/folders.h"

#include <cstdlib>

#include "support/error.h"

namespace oasis {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::filesystem::path default_cache() {
  if (const auto xdg = environment("XDG_CACHE_HOME"); !xdg.empty()) {
    return std::filesystem::path(xdg) / "oasis";
  }
  if (const auto home = environment("HOME"); !home.empty()) {
    return std::filesystem::path(home) / ".cache" / "oasis";
  }
  throw bad_input(
      "no cache folder: neither OASIS_CACHE_HOME, XDG_CACHE_HOME nor HOME is set; set one of them");
}

constexpr const char* kDefaultHome = "data";  // in the cache folder

}  // namespace

std::filesystem::path find_model_files(const DataFolders& folders, const std::string& path) {
  const auto expected = folders.home / path;
  const auto otherwise = folders.cache / kDefaultHome / path;
  std::error_code ignored;
  return !std::filesystem::exists(expected, ignored) && std::filesystem::exists(otherwise, ignored)
             ? otherwise
             : expected;
}

DataFolders resolve_folders(const std::string& data_home) {
  DataFolders folders;
  const auto cache = environment("OASIS_CACHE_HOME");
  folders.cache = cache.empty() ? default_cache() : std::filesystem::path(cache);
  const auto from_environment = environment("OASIS_DATA_HOME");
  if (!data_home.empty()) {
    folders.home = data_home;
  } else if (!from_environment.empty()) {
    folders.home = from_environment;
  } else {
    folders.home = folders.cache / kDefaultHome;
  }
  return folders;
}

}  // namespace oasis
