#include "suites/commands/status_command.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "results/environment.h"
#include "results/store.h"
#include "suites/engine.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

struct StageStatus {
  std::string cell;
  std::string stage;
  std::string state;  // as in the database, or "interrupted": running, but its process is gone
  std::string detail;
  double seconds = 0;
  std::string kind;  // kind, data set and whether quantized: what stages of one cost have alike
  double share_done = 0;  // of a training: steps with a point on the loss curve, in [0, 1]

  bool is_left() const { return state != "done" && state != "failed"; }
};

// What the stages that are left will take, by the mean of the done ones of their kind.
struct Expectation {
  double seconds = 0;  // of work; over `workers` at a time
  int from = 0;        // done stages that it was taken from
  int unknown = 0;     // stages left whose kind none is done of
  int workers = 1;     // stages that run now, at least one
};

struct SuiteStatus {
  std::string suite;
  std::vector<StageStatus> stages;
};

constexpr const char* kStagesOfNewestSuites = R"sql(
SELECT s.name, c.label || '/' || c.dataset || '/' || c.model || '/' || c.seed,
       t.kind, t.evaluated_on, t.weight_bits, t.activation_bits, t.points, t.state,
       ifnull(t.step, 0), ifnull(t.error, ''), t.seconds, ifnull(r.process, ''),
       ifnull(CAST((SELECT max(p.step) FROM curves p WHERE p.stage_id = t.id) AS REAL)
              / t.config ->> '$.training.steps', 0)
FROM suites s
JOIN cells c ON c.suite_id = s.id
JOIN cell_stages ON cell_stages.cell_id = c.id
JOIN stages t ON t.id = cell_stages.stage_id
LEFT JOIN runs r ON r.id = t.run_id
WHERE s.used = (SELECT max(used) FROM suites WHERE name = s.name)
ORDER BY s.name, c.id, t.id)sql";

std::string stage_text(SQLite::Statement& row) {
  std::string text = row.getColumn(2).getString();
  if (const std::string on = row.getColumn(3).getString(); !on.empty()) text += " " + on;
  if (!row.getColumn(4).isNull()) {
    text += fmt::format(" W{}A{} {}", row.getColumn(4).getInt(), row.getColumn(5).getInt(),
                        row.getColumn(6).getString());
  }
  return text;
}

std::vector<SuiteStatus> read_status(const Store& store) {
  SQLite::Statement row(store.database(), kStagesOfNewestSuites);
  std::vector<SuiteStatus> suites;
  while (row.executeStep()) {
    const std::string suite = row.getColumn(0).getString();
    if (suites.empty() || suites.back().suite != suite) suites.push_back({suite, {}});
    StageStatus status;
    status.cell = row.getColumn(1).getString();
    status.stage = stage_text(row);
    status.state = row.getColumn(7).getString();
    status.seconds = row.getColumn(10).getDouble();
    status.kind =
        fmt::format("{} {} {}", row.getColumn(2).getString(), row.getColumn(3).getString(),
                    row.getColumn(4).isNull() ? "full" : "quantized");
    status.share_done = std::clamp(row.getColumn(12).getDouble(), 0.0, 1.0);
    const auto step = row.getColumn(8).getInt64();
    if (status.state == "running" && !process_lives(row.getColumn(11).getString())) {
      status.state = "interrupted";
    }
    if (status.state == "failed") status.detail = row.getColumn(9).getString();
    if (status.state == "stopped" && step > 0) status.detail = fmt::format("at step {}", step);
    suites.back().stages.push_back(std::move(status));
  }
  return suites;
}

std::vector<std::filesystem::path> databases(const std::string& run) {
  namespace fs = std::filesystem;
  if (!run.empty()) {
    const fs::path path = run;
    if (fs::is_regular_file(path)) return {path};
    if (fs::exists(database_of(path))) return {database_of(path)};
    if (fs::exists(database_of(fs::path("runs") / path))) {
      return {database_of(fs::path("runs") / path)};
    }
    throw bad_input(
        "{}: no run here; give a run folder, its results.db, or the name of a suite "
        "that was run below runs/",
        run);
  }
  std::vector<fs::path> found;
  if (fs::is_directory("runs")) {
    for (const auto& entry : fs::directory_iterator("runs")) {
      if (fs::exists(database_of(entry.path()))) found.push_back(database_of(entry.path()));
    }
  }
  if (found.empty())
    throw bad_input("runs/: no run here yet; start one with: oasis reproduce smoke");
  std::sort(found.begin(), found.end());
  return found;
}

std::map<std::string, int> counts_of(const SuiteStatus& suite) {
  std::map<std::string, int> counts;
  for (const StageStatus& stage : suite.stages) ++counts[stage.state];
  return counts;
}

Expectation expectation_of(const SuiteStatus& suite) {
  std::map<std::string, std::pair<double, int>> done;  // sum of seconds, stages
  for (const StageStatus& stage : suite.stages) {
    if (stage.state != "done") continue;
    auto& [seconds, count] = done[stage.kind];
    seconds += stage.seconds;
    ++count;
  }
  Expectation expected;
  int running = 0;
  std::map<std::string, int> used;
  for (const StageStatus& stage : suite.stages) {
    if (!stage.is_left()) continue;
    running += stage.state == "running" ? 1 : 0;
    const auto found = done.find(stage.kind);
    if (found == done.end()) {
      ++expected.unknown;
      continue;
    }
    const auto& [seconds, count] = found->second;
    expected.seconds += seconds / count * (1 - stage.share_done);
    used[stage.kind] = count;
  }
  for (const auto& [kind, count] : used) expected.from += count;
  expected.workers = std::max(running, 1);
  return expected;
}

// "about 3m10s left (by 12 done stages of the same kinds), 2 running at a time"; '' with none left.
std::string expectation_text(const SuiteStatus& suite) {
  if (!std::ranges::any_of(suite.stages, &StageStatus::is_left)) return "";
  const auto expected = expectation_of(suite);
  if (expected.from == 0) return "time left unknown: no stage of the kinds left is done yet";
  std::string text =
      fmt::format("about {} left, by {} done stages of the same kinds",
                  human_duration(expected.seconds / expected.workers), expected.from);
  if (expected.workers > 1) text += fmt::format(", {} at a time", expected.workers);
  if (expected.unknown > 0) {
    text += fmt::format("; {} stages more of kinds of which none is done", expected.unknown);
  }
  return text;
}

void print_text(const std::filesystem::path& database, const SuiteStatus& suite, bool all) {
  std::vector<std::string> parts;
  double seconds = 0;
  for (const auto& [state, count] : counts_of(suite)) {
    parts.push_back(fmt::format("{} {}", count, state));
  }
  for (const StageStatus& stage : suite.stages) seconds += stage.seconds;
  fmt::print("{}: suite {}: {} stages: {}; {} of work\n", database.string(), suite.suite,
             suite.stages.size(), join(parts, ", "), human_duration(seconds));
  if (const auto left = expectation_text(suite); !left.empty()) fmt::print("  {}\n", left);
  for (const StageStatus& stage : suite.stages) {
    if (!all && (stage.state == "done" || stage.state == "pending")) continue;
    fmt::print("  {:<12} {}: {}{}\n", stage.state, stage.cell, stage.stage,
               stage.detail.empty() ? "" : ": " + stage.detail);
  }
}

nlohmann::json to_json(const std::filesystem::path& database, const SuiteStatus& suite) {
  const auto expected = expectation_of(suite);
  nlohmann::json stages = nlohmann::json::array();
  for (const StageStatus& stage : suite.stages) {
    stages.push_back({{"cell", stage.cell},
                      {"stage", stage.stage},
                      {"state", stage.state},
                      {"detail", stage.detail},
                      {"seconds", stage.seconds}});
  }
  return {
      {"database", database.string()},
      {"suite", suite.suite},
      {"counts", counts_of(suite)},
      {"expected_seconds", expected.from > 0 ? nlohmann::json(expected.seconds / expected.workers)
                                             : nlohmann::json(nullptr)},
      {"expected_from_stages", expected.from},
      {"stages_of_unknown_cost", expected.unknown},
      {"stages", stages}};
}

struct StatusOptions {
  std::string run;
  bool all = false;
  bool json = false;
};

void print_status(const StatusOptions& options) {
  nlohmann::json report = nlohmann::json::array();
  for (const auto& database : databases(options.run)) {
    const Store store = Store::open(database, Store::Mode::kReadOnly);
    for (const SuiteStatus& suite : read_status(store)) {
      if (options.json) {
        report.push_back(to_json(database, suite));
      } else {
        print_text(database, suite, options.all);
      }
    }
  }
  if (options.json) fmt::print("{}\n", report.dump(2));
}

}  // namespace

void add_status_command(CLI::App& app) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command = app.add_subcommand(
      "status", "Show what of a run is done, what is not, and how long the rest may take");
  command->add_option("run", options->run,
                      "Run folder, database, or suite name; every run below runs/ unless given");
  command->add_flag("--all", options->all, "List done and pending stages too");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] { print_status(*options); });
}

}  // namespace oasis
