#include "suites/commands/compare_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "results/compare.h"
#include "results/find_database.h"
#include "results/table_text.h"
#include "suites/bench/row_json.h"
#include "support/error.h"

namespace oasis {
namespace {

struct CompareOptions {
  std::vector<std::string> named, positional;
  bool json = false;

  std::vector<std::string> databases() const {
    auto all = positional;
    all.insert(all.end(), named.begin(), named.end());
    return all;
  }
};

Store open(const std::string& database) {
  return Store::open(find_database(database), Store::Mode::kReadOnly);
}

std::vector<BenchmarkComparison> comparisons_of(const std::vector<std::string>& databases) {
  if (databases.size() > 2) {
    throw bad_input("compare: {} databases; give an earlier and a later one", databases.size());
  }
  std::vector<BenchmarkRow> before;
  if (databases.size() == 2) before = benchmark_rows(open(databases.front()));
  const auto later = open(databases.empty() ? "" : databases.back());
  if (databases.size() != 2) before = benchmark_rows(later, 1);
  const auto found = compare_benchmarks(before, benchmark_rows(later));
  if (!found.empty()) return found;
  if (databases.size() == 2) {
    throw bad_input(
        "compare: no benchmark is both in {} and in {} for the same device; run oasis bench with "
        "the same --filter on the same machine",
        databases.front(), databases.back());
  }
  throw bad_input(
      "compare: {} holds no benchmark that was run twice; run oasis bench --db {} again, or give "
      "an earlier and a later database",
      later.path().string(), later.path().string());
}

std::string time_text(const BenchmarkRow& row) {
  if (!row.error.empty()) return "–";
  return fmt::format("{} ({} to {})", format_figure(1e3 * row.median_seconds),
                     format_figure(1e3 * row.p10_seconds), format_figure(1e3 * row.p90_seconds));
}

std::string ratio_text(const BenchmarkComparison& comparison) {
  const bool both = comparison.before.error.empty() && comparison.after.error.empty();
  return both ? fmt::format("{:.3f}", comparison.ratio()) : "–";
}

void print_table(const std::vector<BenchmarkComparison>& comparisons) {
  TextTable table{{{"Benchmark", false},
                   {"before, ms (p10 to p90)", true},
                   {"after", true},
                   {"after / before", true},
                   {"", false}},
                  {}};
  for (const auto& comparison : comparisons) {
    const auto& error = comparison.after.error;
    table.rows.push_back({markdown_cell(comparison.after.name()), time_text(comparison.before),
                          time_text(comparison.after), ratio_text(comparison),
                          markdown_cell(fmt::format("{}{}{}", to_string(comparison.verdict),
                                                    error.empty() ? "" : ": ", error))});
  }
  fmt::print("{}", to_markdown(table));
}

int compare(const CompareOptions& options) {
  const auto comparisons = comparisons_of(options.databases());
  if (options.json) {
    fmt::print("{}\n", comparisons_json(comparisons).dump(2));
  } else {
    print_table(comparisons);
  }
  std::fflush(stdout);
  const auto regressed = std::ranges::count_if(comparisons, &BenchmarkComparison::regressed);
  if (regressed > 0) {
    fmt::print(stderr, "oasis: {} of {} benchmarks regressed\n", regressed, comparisons.size());
  }
  return regressed > 0 ? 1 : 0;
}

}  // namespace

void add_compare_command(CLI::App& app) {
  const auto options = std::make_shared<CompareOptions>();
  auto* command = app.add_subcommand(
      "compare",
      "Set benchmarks beside those of an earlier run: of two databases, the earlier one first, or\n"
      "the last two runs of one. Not distinguishable: the times from p10 to p90\n"
      "overlap, or the medians differ by no more than 2 %.\n"
      "Exit status: 0 nothing regressed, 1 something of ours is slower or fails now, 2 bad input");
  command->add_option("DATABASE", options->positional, "Results databases, or their run folders");
  command->add_option("--db", options->named, "The same, as an option");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] {
    const int status = compare(*options);
    if (status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
