#include "suites/commands/doctor_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/checks.h"
#include "datasets/folders.h"
#include "datasets/registry.h"
#include "results/environment.h"
#include "results/find_database.h"
#include "results/integrity.h"
#include "suites/compute.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr double kLowDisk = 2e9;  // bytes; below it a run is likely to fail
constexpr double kLowMemory = 2e9;

struct Finding {
  // kMissing: optional, something cannot be done; kDamaged: a file is not to be trusted
  enum class State { kGood, kMissing, kWarning, kDamaged };
  std::string name;
  State state = State::kGood;
  std::string found;
  std::string remedy;  // the command, or what to do
};

const char* name_of(Finding::State state) {
  return state == Finding::State::kGood      ? "ok"
         : state == Finding::State::kMissing ? "missing"
         : state == Finding::State::kDamaged ? "damaged"
                                             : "warning";
}

Finding disk_space(const std::string& name, const std::filesystem::path& folder) {
  std::filesystem::path existing = std::filesystem::absolute(folder);
  std::error_code error;
  while (!std::filesystem::exists(existing, error) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const auto space = std::filesystem::space(existing, error);
  if (error) return {name, Finding::State::kWarning, error.message(), ""};
  const auto available = static_cast<double>(space.available);
  Finding finding{name, Finding::State::kGood,
                  fmt::format("{}: {} free", folder.string(), human_bytes(available)), ""};
  if (::access(existing.c_str(), W_OK) != 0) {
    finding.state = Finding::State::kWarning;
    finding.found += ", not writable";
    finding.remedy = "choose another folder (--out, OASIS_CACHE_HOME)";
  } else if (available < kLowDisk) {
    finding.state = Finding::State::kWarning;
    finding.remedy = "free some space, or choose another folder (--out, OASIS_CACHE_HOME)";
  }
  return finding;
}

std::vector<Finding> data_findings(const DataFolders& folders) {
  std::vector<Finding> findings;
  std::error_code ignored;
  const bool home = std::filesystem::is_directory(folders.home, ignored);
  findings.push_back({"data home", home ? Finding::State::kGood : Finding::State::kMissing,
                      folders.home.string() + (home ? "" : " does not exist"),
                      home ? ""
                           : "give --data-home or set OASIS_DATA_HOME; the smoke suite needs "
                             "none"});
  for (const DatasetEntry& entry : dataset_registry()) {
    if (entry.files.empty()) continue;
    const bool present = is_present(entry, folders);
    std::string remedy;
    if (!present) {
      remedy = entry.downloads.empty() ? "put its files below the data home"
                                       : "oasis data fetch " + entry.description.name;
    }
    findings.push_back({"data set " + entry.description.name,
                        present ? Finding::State::kGood : Finding::State::kMissing,
                        present ? "there (oasis data verify checks it)" : "not in the data home",
                        remedy});
  }
  return findings;
}

Finding database_finding(const std::string& path) {
  const auto problems = integrity_problems(path);
  const auto name = "database " + path;
  if (problems.empty()) return {name, Finding::State::kGood, "whole", ""};
  return {
      name, Finding::State::kDamaged,
      fmt::format("{}{}", problems[0],
                  problems.size() > 1 ? fmt::format(" (and {} more)", problems.size() - 1) : ""),
      fmt::format("take a copy from a backup, or save what is left: sqlite3 {} .recover | "
                  "sqlite3 recovered.db",
                  path)};
}

std::vector<Finding> examine(const std::string& data_home,
                             const std::vector<std::string>& databases) {
  const Environment host = host_environment(0, nullptr);
  const ComputeInfo compute = compute_info();
  std::vector<Finding> findings;
  findings.push_back({"build", Finding::State::kGood,
                      fmt::format("{}, revision {}{}", build_type(), source_revision(),
                                  source_dirty() ? " with changes" : ""),
                      ""});
  findings.push_back({"system", Finding::State::kGood, host.operating_system, ""});
  findings.push_back(
      {"processor", Finding::State::kGood,
       fmt::format("{}, {} cores, {} threads used", host.cpu, host.cores, compute.threads), ""});
  const auto memory = static_cast<double>(host.memory_bytes);
  findings.push_back({"memory",
                      memory < kLowMemory ? Finding::State::kWarning : Finding::State::kGood,
                      human_bytes(memory),
                      memory < kLowMemory ? "use small models or a smaller micro_batch" : ""});
  findings.push_back({"torch", Finding::State::kGood, compute.torch_version, ""});
  findings.push_back({"gpu", compute.cuda ? Finding::State::kGood : Finding::State::kMissing,
                      compute.cuda ? fmt::format("{}, driver {}", compute.gpu, compute.driver)
                                   : compute.cuda_reason,
                      compute.cuda ? "" : "everything runs on the CPU without it"});
  if (compute.cuda) {
    const bool kernels = compute.cuda_kernels;
    findings.push_back(
        {"kernels", kernels ? Finding::State::kGood : Finding::State::kWarning,
         kernels ? "liboasis_cuda.so"
                 : "no liboasis_cuda.so: operators are several "
                   "times as slow",
         kernels ? "" : "install the CUDA toolkit (nvcc) and run scripts/build cuda"});
  }
  const DataFolders folders = resolve_folders(data_home);
  findings.push_back(disk_space("cache", folders.cache));
  findings.push_back(disk_space("runs", "runs"));
  for (Finding& finding : data_findings(folders)) findings.push_back(std::move(finding));
  for (const auto& path : databases) findings.push_back(database_finding(path));
  return findings;
}

struct DoctorOptions {
  std::string data_home;
  std::vector<std::string> databases;  // none: those found here
  bool json = false;
};

void print_findings(const std::vector<Finding>& findings, bool json) {
  if (json) {
    nlohmann::json report = nlohmann::json::array();
    for (const Finding& finding : findings) {
      report.push_back({{"name", finding.name},
                        {"state", name_of(finding.state)},
                        {"found", finding.found},
                        {"remedy", finding.remedy}});
    }
    fmt::print("{}\n", report.dump(2));
    return;
  }
  for (const Finding& finding : findings) {
    fmt::print("{:<8} {:<24} {}{}\n", name_of(finding.state), finding.name, finding.found,
               finding.remedy.empty() ? "" : "; " + finding.remedy);
  }
}

// 1: a database is damaged.
int run_doctor(const DoctorOptions& options) {
  std::vector<std::string> databases;
  for (const auto& given : options.databases) databases.push_back(find_database(given).string());
  if (databases.empty()) databases = databases_here();
  const auto findings = examine(options.data_home, databases);
  print_findings(findings, options.json);
  std::fflush(stdout);
  return std::ranges::any_of(findings,
                             [](const auto& f) { return f.state == Finding::State::kDamaged; })
             ? 1
             : 0;
}

}  // namespace

void add_doctor_command(CLI::App& app) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command =
      app.add_subcommand("doctor",
                         "Show what was found, what is missing, and what installs it.\n"
                         "Exit status: 0, or 1 when a results database is damaged");
  command->add_option("--data-home", options->data_home, "Folder of the data files");
  command->add_option("--db", options->databases,
                      "Results databases to check page by page; by default oasis.db and "
                      "runs/*/results.db");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] {
    if (const int status = run_doctor(*options); status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
