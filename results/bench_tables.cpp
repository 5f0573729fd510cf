#include "results/bench_tables.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "results/bound_statement.h"
#include "results/sqlite_error.h"
#include "results/table_layout.h"
#include "results/table_text.h"

namespace oasis {
namespace {

constexpr const char* kRuns =
    "SELECT run_id, device, started, source_revision, source_dirty, machine, driver, libraries"
    " FROM table_bench WHERE age = 1 AND (?1 IS NULL OR run_id = ?1) GROUP BY run_id, device ORDER "
    "BY run_id, device";
constexpr const char* kCeilings =
    "SELECT dtype, max(copy_bytes_per_second), max(gemm_flops_per_second) FROM table_bench"
    " WHERE age = 1 AND run_id = ? AND device = ? GROUP BY dtype ORDER BY min(id)";
constexpr const char* kOperations =
    "SELECT operation, variant, shape, dtype, pass, formulation, implementation, error,"
    " 1e3 * median_seconds, 1e3 * p10_seconds, 1e3 * p90_seconds, n, ours_over_this, bytes / 1e6,"
    " flops / 1e9, share_of_ceiling, peak_bytes / 1073741824.0, parts FROM table_bench"
    " WHERE age = 1 AND run_id = ? AND device = ? AND pass <> 'step' ORDER BY id";
constexpr const char* kSteps =
    "SELECT variant, shape, dtype, error, 1e3 * median_seconds, 1e3 * p10_seconds,"
    " 1e3 * p90_seconds, n, tokens_per_second, 100 * mfu, peak_bytes / 1073741824.0,"
    " ratio_to_prenorm FROM table_bench"
    " WHERE age = 1 AND run_id = ? AND device = ? AND pass = 'step' ORDER BY id";

constexpr const char* kOperationsCaption =
    "One repetition from cold caches. ours / this: the ratio of the medians. Data and work: "
    "what"
    " must be read, written and computed at least. Of the ceiling: the time that a copy or a matrix"
    " product of that size takes, at the rates above, over the median; above 100 % where caches "
    "held"
    " part of it.";
constexpr const char* kStepsCaption =
    "One optimizer step on synthetic tokens. MFU: the step's FLOPs over what a large matrix product"
    " reached in the same run. × prenorm: the median over that of the plain residual sum.";

std::string figure(BoundStatement& query, int column) {
  return query.is_null(column) ? "–" : format_figure(query.real(column));
}

std::string percent(BoundStatement& query, int column, double factor) {
  return query.is_null(column) ? "–" : fmt::format("{:.1f} %", factor * query.real(column));
}

std::string run_heading(BoundStatement& run) {
  const auto libraries = nlohmann::json::parse(run.text(7));
  std::string text = fmt::format("{} · source {}{} · {}", run.text(2), run.text(3).substr(0, 12),
                                 run.integer(4) != 0 ? " with changes" : "", run.text(1));
  if (!run.text(6).empty()) text += " · driver " + run.text(6);
  for (const auto* name : {"torch", "threads"}) {
    if (libraries.contains(name)) {
      text += fmt::format(" · {} {}", name, libraries.at(name).get<std::string>());
    }
  }
  return markdown_cell(text + " · " + run.text(5));
}

// "2.95 TB/s", "470 GFLOP/s"
std::string rate(double value, const char* unit) {
  const bool tera = value >= 1e12;
  return fmt::format("{:.3g} {}{}", value / (tera ? 1e12 : 1e9), tera ? "T" : "G", unit);
}

std::string ceilings(const Store& store, std::int64_t run, const std::string& device) {
  BoundStatement query(store.database(), kCeilings);
  query.bind_all(run, device);
  std::string text = "Measured in the same run:";
  bool first = true;
  while (query.step()) {
    if (first) text += fmt::format(" copy {} (read + written)", rate(query.real(1), "B/s"));
    text += fmt::format(", matrix product {} ({})", rate(query.real(2), "FLOP/s"), query.text(0));
    first = false;
  }
  return text + ".";
}

std::string section(const char* title, const char* caption, const TextTable& table,
                    const TableNotes& notes) {
  if (table.rows.empty()) return "";
  std::string text = fmt::format("### {}\n\n{}\n\n{}\n", title, caption, to_markdown(table));
  if (const auto remarks = notes.text(); !remarks.empty()) text += remarks + "\n";
  return text;
}

std::string operations(const Store& store, std::int64_t run, const std::string& device) {
  BoundStatement query(store.database(), kOperations);
  query.bind_all(run, device);
  TextTable table{{{"Operation", false},
                   {"variant", false},
                   {"shape", false},
                   {"type", false},
                   {"pass", false},
                   {"formulation", false},
                   {"median ms", true},
                   {"p10", true},
                   {"p90", true},
                   {"n", true},
                   {"ours / this", true},
                   {"data MB", true},
                   {"work GFLOP", true},
                   {"of the ceiling", true},
                   {"peak GiB", true}},
                  {}};
  TableNotes notes;
  while (query.step()) {
    std::string formulation = query.text(5);
    if (!query.text(6).empty()) formulation += ": " + query.text(6);
    if (query.real(17) > 1) {
      formulation += notes.mark(
          fmt::format("did not fit: 1/{0:g} of the batch was timed, times {0:g}", query.real(17)));
    }
    std::vector<std::string> cells;
    for (int i = 0; i < 5; ++i) cells.push_back(markdown_cell(query.text(i)));
    cells.push_back(markdown_cell(formulation));
    if (query.is_null(8)) {
      cells.push_back("not timed" + notes.mark(query.text(7)));
      for (int i = 0; i < 3; ++i) cells.push_back("–");
    } else {
      for (int i = 8; i < 11; ++i) cells.push_back(figure(query, i));
      cells.push_back(format_count(query.integer(11)));
    }
    for (int i = 12; i < 15; ++i) cells.push_back(figure(query, i));
    cells.push_back(percent(query, 15, 100));
    cells.push_back(figure(query, 16));
    table.rows.push_back(std::move(cells));
  }
  return section("Operations", kOperationsCaption, table, notes);
}

std::string steps(const Store& store, std::int64_t run, const std::string& device) {
  BoundStatement query(store.database(), kSteps);
  query.bind_all(run, device);
  TextTable table{{{"Method", false},
                   {"shape", false},
                   {"type", false},
                   {"median ms", true},
                   {"p10", true},
                   {"p90", true},
                   {"n", true},
                   {"token/s", true},
                   {"MFU", true},
                   {"peak GiB", true},
                   {"× prenorm", true}},
                  {}};
  TableNotes notes;
  while (query.step()) {
    std::vector<std::string> cells;
    for (int i = 0; i < 3; ++i) cells.push_back(markdown_cell(query.text(i)));
    if (query.is_null(4)) {
      cells.push_back("not timed" + notes.mark(query.text(3)));
      for (int i = 0; i < 3; ++i) cells.push_back("–");
    } else {
      for (int i = 4; i < 7; ++i) cells.push_back(figure(query, i));
      cells.push_back(format_count(query.integer(7)));
    }
    cells.push_back(query.is_null(8) ? "–"
                                     : format_count(static_cast<std::int64_t>(query.real(8))));
    cells.push_back(percent(query, 9, 1));
    cells.push_back(figure(query, 10));
    cells.push_back(figure(query, 11));
    table.rows.push_back(std::move(cells));
  }
  return section("Training steps", kStepsCaption, table, notes);
}

}  // namespace

bool has_benchmarks(const Store& store) {
  return guarded(store.path(), store.database(), [&] {
    return store.database().execAndGet("SELECT count(*) FROM benchmarks").getInt64() > 0;
  });
}

std::string render_benchmarks(const Store& store, std::optional<std::int64_t> run_id) {
  return guarded(store.path(), store.database(), [&] {
    BoundStatement run(store.database(), kRuns);
    run.bind_all(run_id);
    std::string text;
    while (run.step()) {
      text += fmt::format("## {}\n\n{}\n\n{}\n\n", kBenchSuite, run_heading(run),
                          ceilings(store, run.integer(0), run.text(1)));
      text += operations(store, run.integer(0), run.text(1));
      text += steps(store, run.integer(0), run.text(1));
    }
    return text;
  });
}

}  // namespace oasis
