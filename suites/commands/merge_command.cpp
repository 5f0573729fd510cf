#include "suites/commands/merge_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "results/find_database.h"
#include "results/merge.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::size_t kConflictsShown = 20;
constexpr std::size_t kLengthShown = 100;  // of what a side has, in the text

struct MergeOptions {
  std::vector<std::string> from;
  std::string into;
  bool keep = false;
  bool json = false;
};

nlohmann::json merge_json(const std::string& from, const MergeResult& result) {
  auto conflicts = nlohmann::json::array();
  for (const auto& conflict : result.conflicts) {
    conflicts.push_back({{"stage", conflict.stage},
                         {"what", conflict.what},
                         {"into", conflict.into},
                         {"from", conflict.from}});
  }
  return {{"from", from},
          {"written", result.written},
          {"runs", result.runs},
          {"suites", result.suites},
          {"cells", result.cells},
          {"stages", result.stages},
          {"finished", result.finished},
          {"figures", result.figures},
          {"benchmarks", result.benchmarks},
          {"events", result.events},
          {"conflicts", std::move(conflicts)}};
}

// Long texts from shortly before the first letter in which they differ.
std::string shortened(const std::string& text, const std::string& other) {
  const auto differs =
      static_cast<std::size_t>(std::ranges::mismatch(text, other).in1 - text.begin());
  const std::size_t start = text.size() <= kLengthShown || differs < 30 ? 0 : differs - 30;
  return fmt::format("{}{}{}", start > 0 ? "…" : "", text.substr(start, kLengthShown),
                     text.size() - start > kLengthShown ? "…" : "");
}

void print_result(const std::string& from, const std::string& into, const MergeResult& result,
                  bool keep) {
  for (std::size_t i = 0; i < std::min(result.conflicts.size(), kConflictsShown); ++i) {
    const auto& conflict = result.conflicts[i];
    fmt::print("conflict: {}, {}:\n  {} in {}\n  {} in {}\n", conflict.stage, conflict.what,
               shortened(conflict.into, conflict.from), into,
               shortened(conflict.from, conflict.into), from);
  }
  if (result.conflicts.size() > kConflictsShown) {
    fmt::print("… and {} more; --json shows all\n", result.conflicts.size() - kConflictsShown);
  }
  if (!result.written) {
    fmt::print(stderr,
               "oasis: {}: {} conflicts with {}; nothing was merged from it. --keep keeps what {} "
               "has and merges the rest\n",
               from, result.conflicts.size(), into, into);
    return;
  }
  fmt::print(
      "{}: {} stages, {} of them finished elsewhere; {} cells, {} suites, {} runs, {} figures of "
      "stages that both have, {} benchmarks, {} events{}\n",
      from, result.stages + result.finished, result.finished, result.cells, result.suites,
      result.runs, result.figures, result.benchmarks, result.events,
      keep && !result.conflicts.empty()
          ? fmt::format("; {} conflicts, in which {} was kept", result.conflicts.size(), into)
          : "");
}

int merge(const MergeOptions& options) {
  // Everything is opened once before anything is written.
  std::vector<std::string> from;
  for (const auto& given : options.from) {
    from.push_back(find_database(given).string());
    Store::open(from.back(), Store::Mode::kReadOnly);
  }
  auto into = Store::open(options.into, Store::Mode::kCreate);
  auto all = nlohmann::json::array();
  bool refused = false;
  for (const auto& path : from) {
    const auto result = merge_database(into, path, options.keep);
    refused = refused || !result.written;
    if (options.json) {
      all.push_back(merge_json(path, result));
    } else {
      print_result(path, options.into, result, options.keep);
    }
  }
  if (options.json) fmt::print("{}\n", all.dump(2));
  std::fflush(stdout);
  return refused ? 1 : 0;
}

}  // namespace

void add_merge_command(CLI::App& app) {
  const auto options = std::make_shared<MergeOptions>();
  auto* command = app.add_subcommand("merge",
                                     "Bring results databases into one: of the shards of a suite, "
                                     "or of several machines. A second\n"
                                     "merge adds nothing. A stage that two have finished with "
                                     "different figures is a conflict: it\n"
                                     "is named, and nothing of that database is merged.\n"
                                     "Exit status: 0 merged, 1 conflicts, 2 bad input");
  command->add_option("DATABASE", options->from, "Results databases, or their run folders")
      ->required();
  command->add_option("--into", options->into, "Database to merge into; made when missing")
      ->required();
  command->add_flag("--keep", options->keep,
                    "In a conflict keep what the database merged into has, and merge the rest");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] {
    const int status = merge(*options);
    if (status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
