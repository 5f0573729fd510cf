#include "suites/commands/plan_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "suites/calibration.h"
#include "suites/cost.h"
#include "suites/suite_session.h"
#include "support/text.h"

namespace oasis {
namespace {

struct PlanOptions {
  SessionOptions session;
  bool no_timing = false;
  bool json = false;
};

struct CellRow {
  const Cell* cell;
  CellCost cost;
  CellTiming timing;
};

Json to_json(const CellRow& row, bool timed) {
  Json stages = Json::array();
  for (const Stage& stage : row.cell->stages) {
    stages.push_back({{"stage", stage.description()}, {"key", stage.key}});
  }
  Json json = {{"cell", row.cell->name},
               {"parameters", row.cost.parameters},
               {"training_tokens", row.cost.training_tokens},
               {"evaluation_tokens", row.cost.evaluation_tokens},
               {"generation_tokens", row.cost.generation_tokens},
               {"flops", row.cost.flops},
               {"memory_bytes", row.cost.memory_bytes},
               {"stages", stages}};
  if (timed) {
    json["training_s"] = row.timing.training_s;
    json["evaluation_s"] = row.timing.evaluation_s;
    json["generation_s"] = row.timing.generation_s;
  }
  return json;
}

std::string count_text(std::int64_t count) {
  return human_count(static_cast<double>(count));
}

void print_rows(const SuiteSession& session, const std::vector<CellRow>& rows, bool timed) {
  std::size_t width = 4;
  for (const CellRow& row : rows) width = std::max(width, row.cell->name.size());
  constexpr const char* kRow =
      "{:<{}}  {:>6}  {:>10}  {:>10}  {:>10}  {:>10}  {:>8}  {:>9}  {:>9}\n";
  fmt::print(kRow, "cell", width, "stages", "parameters", "train tok.", "eval tok.", "gen. tok.",
             "FLOPs", "memory", "time");
  double flops = 0;
  double seconds = 0;
  std::int64_t tokens = 0;
  double memory = 0;
  std::size_t stages = 0;
  for (const CellRow& row : rows) {
    const double cell_s = row.timing.training_s + row.timing.evaluation_s + row.timing.generation_s;
    fmt::print(kRow, row.cell->name, width, row.cell->stages.size(),
               count_text(row.cost.parameters), count_text(row.cost.training_tokens),
               count_text(row.cost.evaluation_tokens), count_text(row.cost.generation_tokens),
               human_count(row.cost.flops), human_bytes(row.cost.memory_bytes),
               timed ? human_duration(cell_s) : "-");
    flops += row.cost.flops;
    seconds += cell_s;
    tokens += row.cost.training_tokens + row.cost.evaluation_tokens + row.cost.generation_tokens;
    memory = std::max(memory, row.cost.memory_bytes);
    stages += row.cell->stages.size();
  }
  fmt::print("{} cells, {} stages, {} tokens, {}FLOPs, about {} of memory at most{} ({}, {})\n",
             rows.size(), stages, count_text(tokens), human_count(flops), human_bytes(memory),
             timed ? ", about " + human_duration(seconds) + " in all" : "",
             session.plan.device.type, session.plan.device.dtype);
}

void print_plan(const PlanOptions& options) {
  ProgressLine progress(stderr);
  const CheckedSuite checked = check_session(options.session);
  const SuiteSession session = open_session(options.session, checked, progress);
  const SuiteData data = session.data.identities();
  const bool timed = !options.no_timing;
  std::map<std::string, CellTiming> timings;
  if (timed) timings = time_cells(session.plan, session.selected, session.data, progress);
  std::vector<CellRow> rows;
  for (const Cell& cell : session.selected) {
    rows.push_back({&cell, cost_of(session.plan, cell, data.by_dataset.at(cell.dataset.name)),
                    timings[cell.name]});
  }
  if (!options.json) {
    print_rows(session, rows, timed);
    return;
  }
  Json cells = Json::array();
  for (const CellRow& row : rows) cells.push_back(to_json(row, timed));
  const Json report = {{"suite", session.plan.suite.name},
                       {"folder", session.folder.string()},
                       {"device", session.plan.device.type},
                       {"dtype", session.plan.device.dtype},
                       {"cells", cells}};
  fmt::print("{}\n", report.dump(2));
}

}  // namespace

void add_plan_command(CLI::App& app) {
  auto options = std::make_shared<PlanOptions>();
  CLI::App* command = app.add_subcommand(
      "plan", "Show cells, tokens, parameters, FLOPs, memory and expected time; runs nothing");
  add_session_options(*command, options->session);
  command->add_flag("--no-timing", options->no_timing,
                    "Leave out the expected time, which needs a few steps of each model");
  command->add_flag("--json", options->json, "Print JSON, stage keys included");
  command->callback([options] { print_plan(*options); });
}

}  // namespace oasis
