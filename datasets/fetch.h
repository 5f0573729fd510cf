// Bringing a data set of the registry into the data home.
#pragma once

#include <filesystem>
#include <vector>

#include "datasets/archive.h"
#include "datasets/download.h"
#include "datasets/folders.h"
#include "datasets/progress.h"
#include "datasets/registry.h"

namespace oasis {

// Downloads what is missing or damaged, unpacks archives (and removes them), checks every file
// against its known SHA-256 and records the SHA-256 of those for which none is known. Returns the
// files that were written; none when all was there and good. Throws Error (bad input) when the data
// set is not one that can be fetched.
std::vector<std::filesystem::path> fetch_dataset(const DatasetEntry& entry,
                                                 const DataFolders& folders,
                                                 const DownloadOptions& options = {},
                                                 const ProgressCallback& progress = {},
                                                 const ArchiveLimits& limits = {});

}  // namespace oasis
