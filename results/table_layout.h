// From figures to rows and columns of text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "results/table_data.h"
#include "results/table_text.h"

namespace oasis {

// Numbered remarks under a table; the same remark keeps its number.
class TableNotes {
 public:
  std::string mark(const std::string& remark);  // " [1]"
  std::string text() const;                     // "[1] …\n[2] …\n", "" without any

 private:
  std::vector<std::string> remarks_;
};

// One column of a table whose rows are methods.
struct FigureColumn {
  std::string evaluated_on;
  std::string column;  // FigureKey::column
  std::string header;
  enum class Shows { kMean, kMeanAndRatio, kPercentVsAttnres, kSeedsMassive } shows = Shows::kMean;
};

// Methods × columns and the number of seeds. `n` gets what the caption must say about n.
TextTable methods_as_rows(const std::vector<CellGroup>& groups, const TableFigures& figures,
                          const std::vector<FigureColumn>& columns, TableNotes& notes,
                          std::string& n);

// One row of a table whose columns are methods.
struct FigureRow {
  std::string row, column;  // of FigureKey
  std::string header;
};

// Rows × methods, with the n of each row. `first` heads the column of row names.
TextTable methods_as_columns(const std::vector<CellGroup>& groups, const TableFigures& figures,
                             const std::string& evaluated_on, const std::vector<FigureRow>& rows,
                             const std::string& first, TableNotes& notes);

}  // namespace oasis
