// What the tables read from the views: one suite, its groups of cells, and figures by key.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "results/bound_statement.h"
#include "results/store.h"

namespace oasis {

struct SuiteInfo {
  std::int64_t id = 0;
  std::string name, hash, revisions, devices;
};

// The newest version of each suite, or of `name` alone. Throws Error (bad input) for an unknown
// name.
std::vector<SuiteInfo> newest_suites(const Store& store, const std::string& name);

// Cells that differ in the seed only.
struct CellGroup {
  std::string trained_on, model, method;
  std::int64_t planned = 0, done = 0, failed = 0, running = 0, stopped = 0, not_run = 0;
  std::string reason;  // why the first failed one did

  // Why a figure is missing: "failed", "running", "stopped", "not run", "–" when all went well.
  std::string missing() const;
  // "3", or "2 of 3" where `with_figure` seeds of the planned ones have one.
  std::string seeds(std::int64_t with_figure) const;
};
std::vector<CellGroup> groups_of(const Store& store,
                                 std::int64_t suite_id);  // in the suite's order

struct TableFigure {
  double mean = 0;
  std::optional<double> deviation;
  std::optional<double> low, high;  // ends of the 95 % interval of one seed's figure
  std::int64_t seeds = 0;
  std::int64_t n = 0;
  bool has_value = false;  // false: none of the seeds has one, see reason
  bool best = false;
  std::string unit;
  std::string reason;
  std::optional<double> percent_vs_attnres;
  std::optional<double> ratio_to_full;
  std::optional<std::int64_t> seeds_massive, seeds_counted;
};

// Calls `row` with the statement at each row of a query on one suite, its only parameter.
void each_row(const Store& store, const char* sql, std::int64_t suite_id,
              const std::function<void(BoundStatement&)>& row);

// Where a figure belongs. `column`: the metric, the quantization setting or the share of the depth
// weights; `row`: the router, or "". Settings and routers begin with digits and a bar that put them
// in order; without_order() takes these off.
struct FigureKey {
  std::string trained_on, model, evaluated_on, method, row, column;
  auto operator<=>(const FigureKey&) const = default;  // NOLINT(modernize-use-nullptr)
};
std::string without_order(const std::string& sorted);
using TableFigures = std::map<FigureKey, TableFigure>;

TableFigures outlier_figures(const Store& store, std::int64_t suite_id);       // column: metric
TableFigures perplexity_figures(const Store& store, std::int64_t suite_id);    // column: metric
TableFigures quantization_figures(const Store& store, std::int64_t suite_id);  // column: setting
TableFigures gsm8k_figures(const Store& store,
                           std::int64_t suite_id);  // row: setting, column: rule; in %
TableFigures sink_figures(const Store& store, std::int64_t suite_id);  // column: metric
TableFigures depth_figures(const Store& store,
                           std::int64_t suite_id);  // row: router, column: share

}  // namespace oasis
