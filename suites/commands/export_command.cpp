#include "suites/commands/export_command.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "baselines/checkpoint.h"
#include "datasets/tokenizer.h"
#include "results/find_database.h"
#include "results/store.h"
#include "support/error.h"
#include "support/sha256.h"
#include "support/text.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

struct ExportArguments {
  std::string cell, database;
  fs::path out;
};

struct TrainedCell {
  std::string name;  // method/data set/model/seed
  fs::path weights;  // model.safetensors in the cell's final folder
  std::string sha256;
};

constexpr const char* kTrainedCells = R"sql(
SELECT DISTINCT c.label || '/' || c.dataset || '/' || c.model || '/' || c.seed,
       t.artifact_path, t.artifact_sha256
FROM cells c
JOIN cell_stages ON cell_stages.cell_id = c.id
JOIN stages t ON t.id = cell_stages.stage_id
WHERE t.kind = 'pretrain' AND t.state = 'done' AND t.artifact_path IS NOT NULL
ORDER BY 1)sql";

std::vector<TrainedCell> trained_cells(const fs::path& database) {
  const Store store = Store::open(database, Store::Mode::kReadOnly);
  SQLite::Statement row(store.database(), kTrainedCells);
  std::vector<TrainedCell> cells;
  while (row.executeStep()) {
    cells.push_back({row.getColumn(0).getString(),
                     database.parent_path() / row.getColumn(1).getString(),
                     row.getColumn(2).getString()});
  }
  return cells;
}

// The one cell with this name, or the one whose name contains it.
TrainedCell find_cell(const fs::path& database, const std::string& wanted) {
  std::vector<std::string> names;
  std::vector<TrainedCell> matching;
  for (auto& cell : trained_cells(database)) {
    names.push_back(cell.name);
    if (cell.name == wanted) return cell;
    if (cell.name.find(wanted) != std::string::npos) matching.push_back(std::move(cell));
  }
  if (matching.size() == 1) return matching.front();
  if (matching.empty()) {
    throw bad_input("{}: no trained cell '{}'{}", database.string(), wanted,
                    names.empty() ? " (none is trained yet)" : suggestion(wanted, names));
  }
  throw bad_input("{}: '{}' fits {} cells; give one of: {}", database.string(), wanted,
                  matching.size(), join(names, ", "));
}

void run(const ExportArguments& arguments) {
  const auto cell = find_cell(find_database(arguments.database), arguments.cell);
  if (!fs::exists(cell.weights)) {
    throw bad_input("{}: the weights of {} are gone; delete its stages' database or train again",
                    cell.weights.string(), cell.name);
  }
  if (sha256_file(cell.weights) != cell.sha256) {
    throw bad_input("{}: damaged: not the weights that {} was trained to", cell.weights.string(),
                    cell.name);
  }
  const auto trained = cell.weights.parent_path();
  save_checkpoint(load_checkpoint(trained, at::kFloat), arguments.out);
  load_tokenizer(trained)->save(arguments.out);
  fmt::print("{}: {} (config.json, model.safetensors, tokenizer)\n", arguments.out.string(),
             cell.name);
}

}  // namespace

void add_export_command(CLI::App& app) {
  const auto arguments = std::make_shared<ExportArguments>();
  auto* command = app.add_subcommand(
      "export", "Write a trained model as a checkpoint folder in Hugging Face's layout");
  command
      ->add_option("cell", arguments->cell,
                   "method/data set/model/seed as in oasis status --all, or a part that fits one")
      ->required();
  command->add_option("--db", arguments->database, kDatabaseOptionHelp);
  command->add_option("--out", arguments->out, "Folder to write")->required();
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
