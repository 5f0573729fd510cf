// One results database brought into another: what machines did apart, in one file.
//
// Rows are the same when what they stand for is: a run by its random name, a suite by its text, a
// cell by its place in the suite, a stage by its key. So a second merge of the same file adds
// nothing. A run of the other file stays what it was, with its machine, revision and times.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "results/store.h"

namespace oasis {

// A stage that both have finished, or a cell that both have planned, of which they say different
// things: another machine's rounding, or another program's.
struct MergeConflict {
  std::string stage;  // "attnres/books/tiny/0 evaluate wikitext-2 W8A8 published", or the cell
  std::string what;   // "metric wikitext-2|perplexity", "curve 000000000100", …, "configuration"
  std::string into, from;  // what each has there
};

struct MergeResult {
  // Rows added.
  std::int64_t runs = 0, suites = 0, cells = 0, stages = 0, benchmarks = 0, events = 0;
  std::int64_t finished = 0;  // stages that were unfinished in `into` and are done, or further, now
  std::int64_t figures = 0;   // metrics and scores added to stages that both have finished
  std::vector<MergeConflict> conflicts;
  bool written = false;  // false: conflicts, and nothing was changed
};

// Brings everything of `from`, a database of any earlier schema too, into `into` in one
// transaction. `from` is read as it is at one moment; a stage that runs there arrives as stopped.
// Paths of checkpoints are made relative to the folder of `into`. Where there are conflicts nothing
// is written, unless `keep`: then what `into` has stays, and the rest is merged.
// Throws Error (bad input) when `from` cannot be read, or is `into` itself.
MergeResult merge_database(Store& into, const std::filesystem::path& from, bool keep = false);

}  // namespace oasis
