// A results database as a folder for a paper's artifact: CSV files that need no program of ours.
#pragma once

#include <cstdint>
#include <filesystem>

#include "results/store.h"

namespace oasis {

struct ExportedResults {
  std::int64_t files = 0, rows = 0;
};

// Makes `folder`, which must not exist: it appears whole or not at all. It holds
//   tables/NAME.csv   every table of the database     views/NAME.csv   every view but `comparable`
//   suites/NAME-HASH.json   the suites as they were run     runs.json   machines, revisions,
//   commands schema.sql   what the columns mean     README.md     SHA256SUMS   of all the others
// from one moment's contents. Throws Error (bad input) when the folder is there or cannot be made.
ExportedResults export_results(const Store& store, const std::filesystem::path& folder);

}  // namespace oasis
