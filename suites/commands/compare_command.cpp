#include "suites/commands/compare_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "results/compare.h"
#include "results/compare_results.h"
#include "results/find_database.h"
#include "results/table_text.h"
#include "suites/bench/row_json.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

struct CompareOptions {
  std::vector<std::string> named, positional;
  bool json = false;
  bool all = false;

  std::vector<std::string> databases() const {
    auto all = positional;
    all.insert(all.end(), named.begin(), named.end());
    return all;
  }
};

Store open(const std::string& database) {
  return Store::open(find_database(database), Store::Mode::kReadOnly);
}

struct Found {
  std::vector<BenchmarkComparison> benchmarks;
  ResultComparison results;  // of two databases
};

Found find(const std::vector<std::string>& databases) {
  if (databases.size() > 2) {
    throw bad_input("compare: {} databases; give an earlier and a later one", databases.size());
  }
  if (databases.size() < 2) {
    const auto store = open(databases.empty() ? "" : databases.front());
    Found found{compare_benchmarks(benchmark_rows(store, 1), benchmark_rows(store)), {}};
    if (!found.benchmarks.empty()) return found;
    throw bad_input(
        "compare: {} holds no benchmark that was run twice; run oasis bench --db {} again, or give "
        "an earlier and a later database",
        store.path().string(), store.path().string());
  }
  const auto before = open(databases[0]), after = open(databases[1]);
  Found found{compare_benchmarks(benchmark_rows(before), benchmark_rows(after)),
              compare_results(before, after)};
  if (!found.benchmarks.empty() || !found.results.empty()) return found;
  throw bad_input(
      "compare: nothing is both in {} and in {}: no figure of one suite, method, model, data set "
      "and "
      "seed, and no benchmark of one device",
      databases[0], databases[1]);
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

void print_benchmarks(const std::vector<BenchmarkComparison>& comparisons) {
  if (comparisons.empty()) return;
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

std::string effect_text(const FigureChange& figure) {
  return figure.effect_unit == "%" ? format_percent(figure.effect)
                                   : fmt::format("{:+.3g} {}", figure.effect, figure.effect_unit);
}

std::string interval_text(const FigureChange& figure) {
  if (!figure.interval) return "–";
  return fmt::format("[{:+.3g}, {:+.3g}]", figure.interval->low, figure.interval->high);
}

// How many figures came to each verdict: "3 worse, 4,297 equal".
std::string summary_text(const ResultComparison& results) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < results.figures.size();) {
    const auto verdict = results.figures[i].verdict;
    const auto first = i;
    while (i < results.figures.size() && results.figures[i].verdict == verdict) ++i;
    parts.push_back(fmt::format("{} {}", format_count(static_cast<std::int64_t>(i - first)),
                                to_string(verdict)));
  }
  auto text = fmt::format("{} figures, each over the seeds that both runs have: {}",
                          format_count(std::ssize(results.figures)), join(parts, ", "));
  if (results.only_before + results.only_after > 0) {
    text += fmt::format("; of one seed and in one run alone: {} in the earlier, {} in the later",
                        format_count(results.only_before), format_count(results.only_after));
  }
  return text;
}

void print_results(const ResultComparison& results, bool all) {
  for (const auto& cell : results.failed) fmt::print("failed now: {}\n", cell);
  for (const auto& cell : results.unlike) {
    fmt::print("not compared, the configurations differ: {}\n", cell);
  }
  if (results.figures.empty()) return;
  TextTable table{{{"Suite", false},
                   {"Trained on, model, evaluated on", false},
                   {"Method", false},
                   {"Metric", false},
                   {"before", true},
                   {"after", true},
                   {"difference", true},
                   {"95 % interval", true},
                   {"seeds", true},
                   {"", false}},
                  {}};
  for (const auto& figure : results.figures) {
    if (figure.verdict == FigureVerdict::kEqual && !all) continue;
    table.rows.push_back(
        {markdown_cell(figure.suite),
         markdown_cell(fmt::format("{}, {}, {}, {}", figure.trained_on, figure.model,
                                   figure.evaluated_on, figure.setting)),
         markdown_cell(figure.method), markdown_cell(figure.metric), format_figure(figure.before),
         format_figure(figure.after), effect_text(figure), interval_text(figure),
         std::to_string(figure.seeds), std::string(to_string(figure.verdict))});
  }
  if (!table.rows.empty()) fmt::print("{}\n", to_markdown(table));
  fmt::print("{}\n", summary_text(results));
}

nlohmann::ordered_json results_json(const ResultComparison& results) {
  auto figures = nlohmann::ordered_json::array();
  for (const auto& figure : results.figures) {
    nlohmann::ordered_json json = {{"suite", figure.suite},
                                   {"trained_on", figure.trained_on},
                                   {"model", figure.model},
                                   {"evaluated_on", figure.evaluated_on},
                                   {"setting", figure.setting},
                                   {"method", figure.method},
                                   {"metric", figure.metric},
                                   {"before", figure.before},
                                   {"after", figure.after},
                                   {"effect", figure.effect},
                                   {"effect_unit", figure.effect_unit},
                                   {"seeds", figure.seeds},
                                   {"verdict", to_string(figure.verdict)}};
    json["low"] = figure.interval ? nlohmann::ordered_json(figure.interval->low) : nullptr;
    json["high"] = figure.interval ? nlohmann::ordered_json(figure.interval->high) : nullptr;
    figures.push_back(std::move(json));
  }
  return {{"figures", std::move(figures)},
          {"failed_now", results.failed},
          {"unlike", results.unlike},
          {"only_before", results.only_before},
          {"only_after", results.only_after}};
}

int compare(const CompareOptions& options) {
  const auto found = find(options.databases());
  if (options.json) {
    const nlohmann::ordered_json json = {{"benchmarks", comparisons_json(found.benchmarks)},
                                         {"results", results_json(found.results)}};
    fmt::print("{}\n", json.dump(2));
  } else {
    print_benchmarks(found.benchmarks);
    print_results(found.results, options.all);
  }
  std::fflush(stdout);
  const auto benchmarks = std::ranges::count_if(found.benchmarks, &BenchmarkComparison::regressed);
  const auto figures = found.results.regressions();
  if (benchmarks > 0) {
    fmt::print(stderr, "oasis: {} of {} benchmarks regressed\n", benchmarks,
               found.benchmarks.size());
  }
  if (figures > 0) {
    fmt::print(stderr, "oasis: {} of {} figures regressed\n", figures,
               found.results.figures.size() + found.results.failed.size());
  }
  return benchmarks + figures > 0 ? 1 : 0;
}

}  // namespace

void add_compare_command(CLI::App& app) {
  const auto options = std::make_shared<CompareOptions>();
  auto* command = app.add_subcommand(
      "compare",
      "Set results and benchmarks beside those of an earlier run: of two databases, the earlier "
      "one\n"
      "first; benchmarks also of the last two runs of one. Figures are paired by seed; not\n"
      "distinguishable: the 95 % interval of their difference covers zero. Of benchmarks: the "
      "times\n"
      "from p10 to p90 overlap, or the medians differ by no more than 2 %.\n"
      "Exit status: 0 nothing regressed, 1 a figure is worse, a stage or a kernel fails now, or\n"
      "something of ours is slower, 2 bad input");
  command->add_option("DATABASE", options->positional, "Results databases, or their run folders");
  command->add_option("--db", options->named, "The same, as an option");
  command->add_flag("--all", options->all, "Print equal figures too");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] {
    const int status = compare(*options);
    if (status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
