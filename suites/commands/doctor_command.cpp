#include "suites/commands/doctor_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "datasets/checks.h"
#include "datasets/folders.h"
#include "datasets/registry.h"
#include "results/environment.h"
#include "suites/compute.h"
#include "support/text.h"

namespace oasis {
namespace {

constexpr double kLowDisk = 2e9;  // bytes; below it a run is likely to fail
constexpr double kLowMemory = 2e9;

struct Finding {
  enum class State { kGood, kMissing, kWarning };  // kMissing: optional, something cannot be done
  std::string name;
  State state = State::kGood;
  std::string found;
  std::string remedy;  // the command, or what to do
};

const char* name_of(Finding::State state) {
  return state == Finding::State::kGood      ? "ok"
         : state == Finding::State::kMissing ? "missing"
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

std::vector<Finding> examine(const std::string& data_home) {
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
    findings.push_back({"kernels", kernels ? Finding::State::kGood : Finding::State::kWarning,
                        kernels ? "liboasis_cuda.so"
                                : "no liboasis_cuda.so: operators are several "
                                  "times as slow",
                        kernels ? "" : "install the CUDA toolkit (nvcc) and run scripts/build cuda"});
  }
  const DataFolders folders = resolve_folders(data_home);
  findings.push_back(disk_space("cache", folders.cache));
  findings.push_back(disk_space("runs", "runs"));
  for (Finding& finding : data_findings(folders)) findings.push_back(std::move(finding));
  return findings;
}

struct DoctorOptions {
  std::string data_home;
  bool json = false;
};

void print_findings(const DoctorOptions& options) {
  const auto findings = examine(options.data_home);
  if (options.json) {
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

}  // namespace

void add_doctor_command(CLI::App& app) {
  auto options = std::make_shared<DoctorOptions>();
  CLI::App* command =
      app.add_subcommand("doctor", "Show what was found, what is missing, and what installs it");
  command->add_option("--data-home", options->data_home, "Folder of the data files");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options] { print_findings(*options); });
}

}  // namespace oasis
