// The tables that a reader wants, from the views of the database alone.
//
// Markdown: methods as rows (as columns where there are many quantities), mean ± sample standard
// deviation over the seeds, the best in bold, units and n in the header, what is missing with its
// reason under the table. LaTeX: the same as a document that compiles (results/latex.h). CSV: the
// rows of the view in full precision, one figure a row, with lines of provenance that begin with
// '#'. JSON: an array of tables, each {"suite", "hash", "name", "title", "caption", "columns",
// "rows"}, rows as arrays in the order of the columns.
#pragma once

#include <string>
#include <vector>

#include "results/store.h"

namespace oasis {

enum class TableFormat { kMarkdown, kCsv, kJson, kLatex };

struct TableInfo {
  std::string name;
  std::string description;
};
std::vector<TableInfo> known_tables();  // in the order in which they are printed

struct TableRequest {
  std::vector<std::string> names = {};  // empty: every table that has something to show
  std::string suite = {};  // "": every suite, the newest version of each; "bench": the benchmarks
  TableFormat format = TableFormat::kMarkdown;
  bool details = false;  // without names: the long tables too, else a line says what they are
};

// Throws Error (bad input) for an unknown table or suite, with the nearest name, and for a database
// without any suite.
std::string render_tables(const Store& store, const TableRequest& request);

}  // namespace oasis
