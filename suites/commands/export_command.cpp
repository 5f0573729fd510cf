#include "suites/commands/export_command.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "baselines/checkpoint.h"
#include "baselines/method_config.h"
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
  std::string source, database;
  fs::path out;
  std::string method;
  double recency_bias = 0.0;
  std::string router_query_init = "normal";
  uint64_t seed = 0;
};

// Files of a Hugging Face folder that go with its weights, whatever the method.
constexpr std::array kCompanions = {"tokenizer.json",          "tokenizer_config.json",
                                    "special_tokens_map.json", "chat_template.jinja",
                                    "generation_config.json",  "oasis_tokenizer.json",
                                    "tokenizer.model",         "LICENSE"};

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

// "oasis", or the object "oasis" of a config.json.
MethodSpec parse_method(const std::string& text, int64_t hidden_size) {
  nlohmann::json object = {{"method", text}};
  if (text.starts_with('{')) {
    object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object()) throw bad_input("--method: not valid JSON: {}", text);
  }
  return resolve_method(object, hidden_size, "--method");
}

// A checkpoint folder, its tensors stored as they were.
void export_folder(const fs::path& folder, const ExportArguments& arguments) {
  std::error_code ignored;
  if (fs::equivalent(folder, arguments.out, ignored)) {
    throw bad_input("--out {}: is the checkpoint itself; name another folder",
                    arguments.out.string());
  }
  const auto config = read_checkpoint_config(folder);
  const auto types = storage_types(folder);
  if (arguments.method.empty()) {
    const bool is_double =
        std::ranges::any_of(types, [](const auto& entry) { return entry.second == at::kDouble; });
    save_checkpoint(load_checkpoint(folder, is_double ? at::kDouble : at::kFloat), arguments.out,
                    types);
  } else {
    InitializationOptions options;
    options.recency_bias = arguments.recency_bias;
    options.router_query_init = parse_router_query_init(arguments.router_query_init);
    const auto method = parse_method(arguments.method, config.hidden_size);
    save_checkpoint(load_checkpoint_as(folder, method, options, arguments.seed), arguments.out,
                    types);
  }
  for (const char* file : kCompanions) {
    if (!fs::exists(folder / file)) continue;
    std::error_code error;
    fs::copy_file(folder / file, arguments.out / file, fs::copy_options::overwrite_existing, error);
    if (error) {
      throw failed("{}: cannot be copied: {}", (folder / file).string(), error.message());
    }
  }
  fmt::print("{}: {}\n", arguments.out.string(), folder.string());
}

void export_cell(const ExportArguments& arguments) {
  const auto cell = find_cell(find_database(arguments.database), arguments.source);
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

void run(const ExportArguments& arguments) {
  if (const fs::path folder = arguments.source; fs::exists(folder / "config.json")) {
    export_folder(folder, arguments);
    return;
  }
  if (!arguments.method.empty()) {
    throw bad_input("--method is for a checkpoint folder, and {} is none: it has no config.json",
                    arguments.source);
  }
  export_cell(arguments);
}

}  // namespace

void add_export_command(CLI::App& app) {
  const auto arguments = std::make_shared<ExportArguments>();
  auto* command =
      app.add_subcommand("export", "Write a model as a checkpoint folder in Hugging Face's layout");
  command
      ->add_option("source", arguments->source,
                   "A trained cell, method/data set/model/seed as in oasis status --all or a part "
                   "that fits one; or a checkpoint folder, whose tensors keep their types")
      ->required();
  command->add_option("--db", arguments->database, kDatabaseOptionHelp);
  command->add_option("--out", arguments->out, "Folder to write")->required();
  auto* method = command->add_option(
      "--method", arguments->method,
      "Of a folder: another method, by name or as config.json's object \"oasis\"; attention and "
      "MLP weights are kept, routers and gates start fresh");
  command->add_option("--recency-bias", arguments->recency_bias, "b that fresh routers start with")
      ->needs(method)
      ->capture_default_str();
  command
      ->add_option("--router-query-init", arguments->router_query_init,
                   "Fresh W_q of the projected form: normal or zero")
      ->needs(method)
      ->check(CLI::IsMember({"normal", "zero"}))
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "Seed of fresh weights")
      ->needs(method)
      ->capture_default_str();
  command->callback([arguments] { run(*arguments); });
}

}  // namespace oasis
