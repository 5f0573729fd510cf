// From a description to tokens ready to use: tokenizer and shards made at first use, then cached.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "datasets/description.h"
#include "datasets/folders.h"
#include "datasets/progress.h"
#include "datasets/shards.h"
#include "datasets/tokenizer.h"

namespace oasis {

// The tokenizer for training on `description`: an integer tokenizer for data sets of token ids,
// else what `options` ask for. A SentencePiece model is learned from the train split (of which
// an evenly spread, deterministic sample of options.sample_bytes is read) and cached under the
// hash of the sources and the options.
TokenizerPtr prepare_tokenizer(const TokenizerOptions& options,
                               const DatasetDescription& description, const DataFolders& folders,
                               const ProgressCallback& progress = {});

// The split, tokenized (at first use) and verified by hash. Throws Error (bad input) for a missing
// folder or file, a damaged shard, an unknown split, or token ids that this tokenizer does not
// know.
TokenSplitPtr prepare_split(const DatasetDescription& description, const std::string& split,
                            const TokenizerPtr& tokenizer, const DataFolders& folders,
                            const ProgressCallback& progress = {});

// File (or generator with its parameters) → SHA-256 of each source of a split, in reading order.
// This is what stage keys need, without tokenizing anything.
std::vector<std::pair<std::string, std::string>> source_hashes(
    const DatasetDescription& description, const std::string& split, const DataFolders& folders);

}  // namespace oasis
