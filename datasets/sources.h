// The text of a split, in order, from its files or its generator.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "datasets/description.h"
#include "datasets/documents.h"
#include "datasets/folders.h"

namespace oasis {

// Where a description's file lies. Throws Error (bad input) that names the folder tried and says
// how to give another or to fetch, when it is not there.
std::filesystem::path locate(const DatasetDescription& description,
                             const std::filesystem::path& file, const DataFolders& folders);

// Calls `take` with each piece of text (see documents.h), cut at the split's max_bytes: after the
// line in which they are reached. Not for data sets of token ids. `position` counts bytes of files.
void for_each_piece(const DatasetDescription& description, const std::string& split,
                    const DataFolders& folders,
                    const std::function<void(TextPiece&& piece, std::uint64_t position)>& take);

// Bytes of the split's files, for progress; 0 for generated data sets.
std::uint64_t source_file_bytes(const DatasetDescription& description, const std::string& split,
                                const DataFolders& folders);

}  // namespace oasis
