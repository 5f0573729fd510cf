// Whether a results database is whole.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace oasis {

// What PRAGMA integrity_check and foreign_key_check find in the file, at most twenty lines; empty:
// the file is whole. Reads only; reads every page, about a second for each gigabyte. A file that
// cannot be opened or read as a database is a finding too.
std::vector<std::string> integrity_problems(const std::filesystem::path& database);

}  // namespace oasis
