// Which results database a command reads: its option --db, or what lies in the current folder.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace oasis {

inline constexpr const char* kDatabaseOptionHelp =
    "Results database, or the run folder that holds it; by default the only one of oasis.db and "
    "runs/*/results.db";

// Those that there are: oasis.db and runs/*/results.db, in the order of their names.
std::vector<std::string> databases_here();

// `given`: the option's text, "" when it was not given; then the run folder of `suite`
// (runs/<suite>) comes first where there is one. Throws Error (bad input) when there is none or
// more than one to choose from.
std::filesystem::path find_database(const std::string& given, const std::string& suite = "");

}  // namespace oasis
