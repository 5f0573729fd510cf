#include "results/table_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "support/text.h"

namespace oasis {
namespace {

constexpr std::size_t kLongestInlineReason = 14;  // "not a number" fits

const TableFigure* find(const TableFigures& figures, const CellGroup& group,
                        const std::string& evaluated_on, const std::string& row,
                        const std::string& column) {
  const auto found = figures.find({.trained_on = group.trained_on,
                                   .model = group.model,
                                   .evaluated_on = evaluated_on,
                                   .method = group.method,
                                   .row = row,
                                   .column = column});
  return found == figures.end() ? nullptr : &found->second;
}

std::string missing_cell(const CellGroup& group, TableNotes& notes) {
  std::string word = group.missing();
  if (word != "failed") return word;
  return word + notes.mark(fmt::format("{}: {}", group.method, group.reason));
}

// Methods without a value for one reason share its note.
std::string without_value(const TableFigure& figure, TableNotes& notes) {
  const std::string reason = figure.reason.empty() ? "no value" : figure.reason;
  if (display_width(markdown_cell(reason)) <= kLongestInlineReason) return markdown_cell(reason);
  return "none" + notes.mark(reason);
}

std::string ratio_text(double ratio) {
  const bool plain = std::abs(ratio) < 1e4;
  if (!plain) return fmt::format("×{}", format_figure(ratio));
  return fmt::format("×{:.{}f}", ratio, ratio < 10 ? 2 : ratio < 100 ? 1 : 0);
}

std::string mean_text(const TableFigure& figure) {
  std::string text = format_mean(figure.mean, figure.deviation);
  if (figure.low && figure.high) {
    text += fmt::format(" [{}, {}]", format_figure(*figure.low), format_figure(*figure.high));
  }
  return text;
}

// What stands out among the figures of a column or row: the best, as the view says, and, from three
// figures on, the one after it.
class Ranks {
 public:
  void add(const TableFigure& figure) {
    if (!figure.has_value) return;
    means_.push_back(figure.mean);
    if (figure.best) best_ = figure.mean;
  }
  std::string marked(const TableFigure& figure) const {
    std::string text = mean_text(figure);
    if (!best_ || means_.size() < 2) return text;
    if (figure.mean == *best_) return fmt::format("**{}**", text);
    const double distance = std::abs(figure.mean - *best_);
    const bool is_second = means_.size() > 2 && std::ranges::none_of(means_, [&](double mean) {
                             return mean != *best_ && std::abs(mean - *best_) < distance;
                           });
    return is_second ? fmt::format("*{}*", text) : text;
  }

 private:
  std::vector<double> means_;
  std::optional<double> best_;
};

// The n that all figures of a set share, 0 when they differ or there is none.
std::int64_t common_n(const std::set<std::int64_t>& all) {
  return all.size() == 1 ? *all.begin() : 0;
}

}  // namespace

std::string TableNotes::mark(const std::string& remark) {
  const auto found = std::find(remarks_.begin(), remarks_.end(), remark);
  const auto number = found - remarks_.begin() + 1;
  if (found == remarks_.end()) remarks_.push_back(remark);
  return fmt::format(" [{}]", number);
}

std::string TableNotes::text() const {
  std::string text;
  for (std::size_t i = 0; i < remarks_.size(); ++i) {
    text += fmt::format("[{}] {}\n", i + 1, markdown_cell(remarks_[i]));
  }
  return text;
}

TextTable methods_as_rows(const std::vector<CellGroup>& groups, const TableFigures& figures,
                          const std::vector<FigureColumn>& columns, TableNotes& notes,
                          std::string& n) {
  using Shows = FigureColumn::Shows;
  TextTable table;
  table.columns.push_back({"Method", false});
  std::vector<std::int64_t> shared_n(columns.size());
  std::vector<Ranks> ranks(columns.size());
  std::vector<std::string> said;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const auto& column = columns[i];
    std::set<std::int64_t> all_n;
    std::string unit;
    for (const auto& group : groups) {
      const auto* figure = find(figures, group, column.evaluated_on, "", column.column);
      if (figure == nullptr) continue;
      all_n.insert(figure->n);
      unit = figure->unit;
      ranks[i].add(*figure);
    }
    shared_n[i] = common_n(all_n);
    const bool is_mean = column.shows == Shows::kMean || column.shows == Shows::kMeanAndRatio;
    const bool says_unit =
        is_mean && unit != "1" && !unit.empty() && !column.header.ends_with("bits/byte");
    table.columns.push_back(
        {says_unit ? fmt::format("{} ({})", column.header, unit) : column.header, true});
    if (is_mean && shared_n[i] > 0) {
      said.push_back(fmt::format("{} {}", column.header, format_count(shared_n[i])));
    }
  }
  table.columns.push_back({"seeds", true});
  n = said.empty() ? "" : "n per seed: " + join(said, "; ");

  for (const auto& group : groups) {
    std::int64_t most_seeds = 0;
    for (const auto& column : columns) {
      const auto* figure = find(figures, group, column.evaluated_on, "", column.column);
      if (figure != nullptr) most_seeds = std::max(most_seeds, figure->seeds);
    }
    std::vector<std::string> row = {markdown_cell(group.method)};
    for (std::size_t i = 0; i < columns.size(); ++i) {
      const auto& column = columns[i];
      const auto* figure = find(figures, group, column.evaluated_on, "", column.column);
      if (column.shows == Shows::kPercentVsAttnres) {
        const bool shown =
            figure != nullptr && figure->percent_vs_attnres && group.method != "attnres";
        row.push_back(shown ? format_percent(*figure->percent_vs_attnres) : "–");
      } else if (column.shows == Shows::kSeedsMassive) {
        const bool shown = figure != nullptr && figure->seeds_massive && figure->seeds_counted;
        row.push_back(
            shown ? fmt::format("{} of {}", *figure->seeds_massive, *figure->seeds_counted) : "–");
      } else if (figure == nullptr) {
        row.push_back(missing_cell(group, notes));
      } else if (!figure->has_value) {
        row.push_back(without_value(*figure, notes));
      } else {
        std::string text = ranks[i].marked(*figure);
        if (column.shows == Shows::kMeanAndRatio && figure->ratio_to_full) {
          text += fmt::format(" ({})", ratio_text(*figure->ratio_to_full));
        }
        if (figure->seeds < most_seeds) text += fmt::format(" ({} seeds)", figure->seeds);
        if (shared_n[i] == 0) text += fmt::format(" (n {})", format_count(figure->n));
        row.push_back(text);
      }
    }
    std::string seeds = group.seeds(most_seeds);
    if (group.failed > 0 && most_seeds > 0) {  // else the cells have said so
      seeds += notes.mark(fmt::format("{}: {}", group.method, group.reason));
    }
    row.push_back(seeds);
    table.rows.push_back(std::move(row));
  }
  return table;
}

TextTable methods_as_columns(const std::vector<CellGroup>& groups, const TableFigures& figures,
                             const std::string& evaluated_on, const std::vector<FigureRow>& rows,
                             const std::string& first, TableNotes& notes) {
  TextTable table;
  table.columns.push_back({first, false});
  std::vector<std::int64_t> most_seeds;
  for (const auto& group : groups) {
    std::int64_t seeds = 0;
    for (const auto& row : rows) {
      const auto* figure = find(figures, group, evaluated_on, row.row, row.column);
      if (figure != nullptr) seeds = std::max(seeds, figure->seeds);
    }
    most_seeds.push_back(seeds);
    table.columns.push_back({fmt::format("{}, {} seed{}", markdown_cell(group.method),
                                         group.seeds(seeds), group.planned == 1 ? "" : "s"),
                             true});
  }
  table.columns.push_back({"n", true});
  for (const auto& row : rows) {
    std::set<std::int64_t> all_n;
    std::string unit;
    Ranks ranks;
    for (const auto& group : groups) {
      const auto* figure = find(figures, group, evaluated_on, row.row, row.column);
      if (figure == nullptr) continue;
      all_n.insert(figure->n);
      ranks.add(*figure);
      unit = figure->unit;
    }
    const auto shared = common_n(all_n);
    std::vector<std::string> cells = {
        unit.empty() || unit == "1" ? row.header : fmt::format("{} ({})", row.header, unit)};
    for (std::size_t i = 0; i < groups.size(); ++i) {
      const auto* figure = find(figures, groups[i], evaluated_on, row.row, row.column);
      if (figure == nullptr) {
        cells.push_back(missing_cell(groups[i], notes));
      } else if (!figure->has_value) {
        cells.push_back(without_value(*figure, notes));
      } else {
        std::string text = ranks.marked(*figure);
        if (figure->seeds < most_seeds[i]) text += fmt::format(" ({} seeds)", figure->seeds);
        if (shared == 0) text += fmt::format(" (n {})", format_count(figure->n));
        cells.push_back(text);
      }
    }
    cells.push_back(shared == 0 ? "differs" : format_count(shared));
    table.rows.push_back(std::move(cells));
  }
  return table;
}

}  // namespace oasis
