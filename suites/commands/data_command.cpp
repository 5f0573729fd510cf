#include "suites/commands/data_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/checks.h"
#include "datasets/fetch.h"
#include "datasets/prepare.h"
#include "datasets/registry.h"
#include "support/error.h"
#include "support/progress_line.h"
#include "support/text.h"

namespace oasis {
namespace {

struct DataOptions {
  std::string data_home;
  bool json = false;
  std::vector<std::string> names;
  std::string dataset;
  std::vector<std::string> splits;
  TokenizerOptions tokenizer;
  std::uint64_t max_bytes = 0;
};

void print(const nlohmann::json& json) {
  fmt::print("{}\n", json.dump(2));
}

// Shows one piece of work after the other on stderr.
class Report {
 public:
  ~Report() { line_.end(); }

  ProgressCallback callback() {
    return [this](const Progress& progress) {
      if (progress.what != current_) {
        line_.end();
        current_ = progress.what;
        line_.begin(progress.what, static_cast<double>(progress.done),
                    static_cast<double>(progress.total), "bytes");
      }
      line_.update(static_cast<double>(progress.done));
    };
  }

 private:
  ProgressLine line_{stderr};
  std::string current_;
};

std::string state_of(const DatasetEntry& entry, const DataFolders& folders) {
  if (entry.files.empty()) return "embedded";
  if (is_present(entry, folders)) return "here";
  return entry.downloads.empty() ? "not here" : "can be fetched";
}

nlohmann::json describe(const DatasetEntry& entry, const DataFolders& folders) {
  nlohmann::json files = nlohmann::json::array();
  for (const auto& file : entry.files) {
    files.push_back(
        {{"path", file.path},
         {"bytes", file.bytes > 0 ? nlohmann::json(file.bytes) : nlohmann::json()},
         {"sha256", file.sha256.empty() ? nlohmann::json() : nlohmann::json(file.sha256)}});
  }
  nlohmann::json urls = nlohmann::json::array();
  for (const auto& wanted : entry.downloads) urls.push_back(wanted.urls.front());
  return {{"name", entry.description.name},
          {"title", entry.title},
          {"state", state_of(entry, folders)},
          {"description", to_json(entry.description)},
          {"origin", entry.origin},
          {"licence", entry.licence},
          {"citation", entry.citation},
          {"note", entry.note_for(folders.home)},
          {"files", files},
          {"urls", urls}};
}

void list(const DataOptions& options) {
  const auto folders = resolve_folders(options.data_home);
  if (options.json) {
    nlohmann::json datasets = nlohmann::json::array();
    for (const auto& entry : dataset_registry()) datasets.push_back(describe(entry, folders));
    print({{"data_home", folders.home.string()},
           {"cache", folders.cache.string()},
           {"datasets", datasets}});
    return;
  }
  fmt::print("data folder:  {}\ncache folder: {}\n", folders.home.string(), folders.cache.string());
  for (const auto& entry : dataset_registry()) {
    std::vector<std::string> splits;
    for (const auto& [split, unused] : entry.description.splits) splits.push_back(split);
    fmt::print("\n{:<20} {:<15} {}\n", entry.description.name, state_of(entry, folders),
               entry.title);
    fmt::print("{:20} splits: {}; licence: {}\n", "", join(splits, ", "), entry.licence);
    fmt::print("{:20} from: {}\n", "", entry.origin);
    if (!entry.citation.empty()) fmt::print("{:20} cite: {}\n", "", entry.citation);
    if (!entry.note.empty()) {
      fmt::print("{:20} note: {}\n", "", entry.note_for(folders.home));
    }
  }
}

void verify(const DataOptions& options) {
  const auto folders = resolve_folders(options.data_home);
  std::vector<FileCheck> checks;
  const auto add = [&checks](std::vector<FileCheck> more) {
    checks.insert(checks.end(), more.begin(), more.end());
  };
  if (options.names.empty()) {
    for (const auto& entry : dataset_registry()) {
      if (is_present(entry, folders)) add(check_dataset(entry, folders));
    }
    if (checks.empty()) {
      throw bad_input(
          "{}: holds no file of a known data set; give another folder with --data-home or "
          "OASIS_DATA_HOME, or fetch one with: oasis data fetch NAME",
          folders.home.string());
    }
    add(check_cache(folders));
  }
  for (const auto& name : options.names) add(check_dataset(dataset_entry(name), folders));

  std::size_t bad = 0;
  nlohmann::json files = nlohmann::json::array();
  for (const auto& check : checks) {
    bad += check.state == FileCheck::State::kMissing || check.state == FileCheck::State::kDamaged;
    if (options.json) {
      files.push_back({{"path", check.path.string()},
                       {"state", name_of(check.state)},
                       {"sha256", check.sha256},
                       {"problem", check.problem}});
    } else {
      fmt::print("{:<14} {}{}{}\n", name_of(check.state), check.path.string(),
                 check.problem.empty() ? "" : ": ", check.problem);
    }
  }
  if (options.json) print({{"files", files}, {"bad", bad}});
  std::fflush(stdout);
  if (bad > 0) {
    std::vector<std::string> paths;
    for (const auto& check : checks) {
      if (check.state == FileCheck::State::kMissing || check.state == FileCheck::State::kDamaged) {
        paths.push_back(check.path.string());
      }
    }
    throw bad_input(
        "{} of {} damaged or missing: {}; replace data files; remove what is damaged in the cache, "
        "it is made again",
        bad, checks.size(), join(paths, ", "));
  }
}

void fetch(const DataOptions& options) {
  const auto folders = resolve_folders(options.data_home);
  // All names before the first download.
  for (const auto& name : options.names) dataset_entry(name);
  Report report;
  nlohmann::json fetched = nlohmann::json::array();
  for (const auto& name : options.names) {
    const auto& entry = dataset_entry(name);
    const auto written = fetch_dataset(entry, folders, {}, report.callback());
    for (const auto& path : written) {
      if (!options.json) fmt::print("fetched {}\n", path.string());
      fetched.push_back(path.string());
    }
    if (written.empty() && !options.json) fmt::print("{}: all files are there\n", name);
    if (!entry.note.empty()) fmt::print(stderr, "{}: {}\n", name, entry.note_for(folders.home));
  }
  if (options.json) print({{"fetched", fetched}});
}

void tokenize(const DataOptions& options) {
  const auto folders = resolve_folders(options.data_home);
  auto description = dataset_entry(options.dataset).description;
  auto splits = options.splits;
  if (splits.empty()) {
    for (const auto& [split, unused] : description.splits) splits.push_back(split);
  }
  for (const auto& split : splits) description.split(split);
  if (options.max_bytes > 0 && description.kind == DatasetDescription::Kind::kFiles) {
    for (auto& [split, unused] : description.splits) {
      description.splits[split].max_bytes = options.max_bytes;
    }
  }
  nlohmann::json tokenizer_json = {{"type", options.tokenizer.type}};
  if (options.tokenizer.type == "sentencepiece") {
    tokenizer_json["vocab_size"] = options.tokenizer.vocab_size;
    tokenizer_json["sample_bytes"] = options.tokenizer.sample_bytes;
  }
  if (options.tokenizer.type == "hugging_face" && options.tokenizer.path.empty()) {
    throw bad_input("--tokenizer-path: missing; name a tokenizer.json or a folder with one");
  }
  if (!options.tokenizer.path.empty()) {
    tokenizer_json["path"] = std::filesystem::absolute(options.tokenizer.path).string();
  }
  Report report;
  const auto progress = report.callback();
  const auto tokenizer = prepare_tokenizer(parse_tokenizer_options(tokenizer_json, "--tokenizer"),
                                           description, folders, progress);
  nlohmann::json made = nlohmann::json::array();
  for (const auto& split : splits) {
    const auto tokens = prepare_split(description, split, tokenizer, folders, progress);
    const auto& info = tokens->info();
    if (options.json) {
      auto json = to_json(info);
      json["folder"] = tokens->folder().string();
      made.push_back(std::move(json));
      continue;
    }
    fmt::print("{}/{}: {} tokens, {} documents, {} bytes, {} words; vocabulary {}; {}\n",
               info.dataset, info.split, info.tokens, info.documents, info.source_bytes,
               info.source_words, info.vocab_size, tokens->folder().string());
  }
  if (options.json) print(made);
}

}  // namespace

void add_data_command(CLI::App& app) {
  auto* data = app.add_subcommand("data", "Known data sets: list, verify, fetch, tokenize");
  data->require_subcommand(1);
  const auto options = std::make_shared<DataOptions>();
  const auto add = [&](const char* name, const char* help, void (*run)(const DataOptions&)) {
    auto* command = data->add_subcommand(name, help);
    command->add_option("--data-home", options->data_home,
                        "Folder of data files (else OASIS_DATA_HOME, else the cache)");
    command->add_flag("--json", options->json, "Print JSON");
    command->callback([options, run] { run(*options); });
    return command;
  };

  add("list", "What is known: where it comes from, its licence, whether it is here", list);

  auto* verify_command =
      add("verify", "Compare files, and all that is cached, with their SHA-256", verify);
  verify_command->add_option("names", options->names, "Data sets (default: all that are here)");

  auto* fetch_command = add("fetch", "Download data sets into the data folder", fetch);
  fetch_command->add_option("names", options->names, "Data sets")->required();

  auto* tokenize_command =
      add("tokenize", "Make (or find) the token shards of a data set", tokenize);
  tokenize_command->add_option("dataset", options->dataset, "Data set")->required();
  tokenize_command->add_option("--split", options->splits, "Splits (default: all)");
  tokenize_command
      ->add_option("--tokenizer", options->tokenizer.type, "byte, sentencepiece or hugging_face")
      ->capture_default_str();
  tokenize_command
      ->add_option("--vocab-size", options->tokenizer.vocab_size, "SentencePiece vocabulary")
      ->capture_default_str();
  tokenize_command
      ->add_option("--sample-bytes", options->tokenizer.sample_bytes,
                   "Text that a SentencePiece vocabulary is learned from")
      ->capture_default_str();
  tokenize_command->add_option("--tokenizer-path", options->tokenizer.path,
                               "hugging_face: a tokenizer.json or a folder with one");
  tokenize_command->add_option("--max-bytes", options->max_bytes,
                               "Take this much text of each split (default: all)");
}

}  // namespace oasis
