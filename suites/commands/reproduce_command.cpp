#include "suites/commands/reproduce_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "results/store.h"
#include "results/tables.h"
#include "suites/compute.h"
#include "suites/engine.h"
#include "suites/stop.h"
#include "suites/suite_session.h"
#include "suites/torch_stage_runner.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr int kSignalExit = 128;  // plus the signal's number, as shells have it

struct ReproduceOptions {
  SessionOptions session;
  std::string time_limit;
  bool json = false;
};

Json summary_json(const SuiteSession& session, const RunSummary& summary, const StopSource& stop) {
  Json failures = Json::array();
  for (const CellFailure& failure : summary.failures) {
    failures.push_back(
        {{"cell", failure.cell}, {"stage", failure.stage}, {"reason", failure.reason}});
  }
  return {{"suite", session.plan.suite.name},
          {"folder", session.folder.string()},
          {"database", database_of(session.folder).string()},
          {"complete", !summary.stopped && summary.failures.empty()},
          {"stopped", summary.stopped ? Json(stop.reason()) : Json(nullptr)},
          {"stages_run", summary.stages_run},
          {"stages_known", summary.stages_known},
          {"failures", failures}};
}

void print_failures(const RunSummary& summary) {
  fmt::print(stderr, "oasis: {} of the cells failed; the others are complete:\n",
             summary.failures.size());
  for (const CellFailure& failure : summary.failures) {
    fmt::print(stderr, "  {}: {}: {}\n", failure.cell, failure.stage, failure.reason);
  }
}

int reproduce(const ReproduceOptions& options) {
  std::optional<double> limit;
  if (!options.time_limit.empty()) limit = parse_duration(options.time_limit);
  const StopSource stop(limit);
  stop_on_signals();
  const CheckedSuite checked = check_session(options.session);
  ProgressLine progress(stderr);
  // An existing database is checked before the data is prepared; a new one is made only after.
  std::optional<Store> store;
  if (std::filesystem::exists(database_of(checked.folder))) {
    store = open_run_folder(checked.folder);
  }
  require_writable(checked.folder);
  const SuiteSession session = open_session(options.session, checked, progress);
  if (!store) store = open_run_folder(session.folder);

  TorchStageRunner runner(session.data);
  Engine engine(session.plan, *store, session.folder, runner, stop, progress);
  const std::int64_t run_id = store->begin_run(run_environment(session.plan.device));
  const RunSummary summary = engine.run(session.selected, run_id);
  store->end_run(run_id);
  progress.end();

  if (options.json) {
    fmt::print("{}\n", summary_json(session, summary, stop).dump(2));
  } else if (!summary.stopped) {
    fmt::print("{}", render_tables(*store, {{}, session.plan.suite.name, TableFormat::kMarkdown}));
  }
  std::fflush(stdout);
  if (!summary.failures.empty()) print_failures(summary);
  if (summary.stopped) {
    fmt::print(stderr, "oasis: {}; {} stages done; the same command goes on from here\n",
               stop.reason(), summary.stages_run + summary.stages_known);
    if (stop.signal() != 0) return kSignalExit + stop.signal();
  }
  return summary.failures.empty() ? 0 : 1;
}

}  // namespace

void add_reproduce_command(CLI::App& app) {
  auto options = std::make_shared<ReproduceOptions>();
  CLI::App* command = app.add_subcommand(
      "reproduce",
      "Run what is missing of a suite, then print its tables.\n"
      "Exit status: 0 done or stopped at the time limit, 1 a cell failed, 2 bad input, 128 + n "
      "stopped by signal n");
  add_session_options(*command, options->session);
  command->add_option("--time-limit", options->time_limit,
                      "Stop after the current step once this long has passed (90s, 15m, 2h)");
  command->add_flag("--json", options->json, "Print a summary as JSON instead of the tables");
  command->callback([options] {
    const int status = reproduce(*options);
    if (status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
