#include "suites/commands/figures_command.h"

#include <SQLiteCpp/Backup.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "results/find_database.h"
#include "results/store.h"
#include "support/error.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

struct DrawingOptions {
  std::string database;
  std::string option_database;
  std::string output;
  std::string format = "png,svg";
  std::string suite;
  std::vector<std::string> only;
};

// The checkout that this program was built in, or that lies around it, or OASIS_SOURCE.
fs::path source_folder() {
  std::vector<fs::path> candidates;
  if (const char* given = std::getenv("OASIS_SOURCE"); given != nullptr) {
    candidates.emplace_back(given);
  } else {
    std::error_code ignored;
    candidates.push_back(fs::read_symlink("/proc/self/exe", ignored).parent_path().parent_path());
    candidates.emplace_back(OASIS_SOURCE_FOLDER);
  }
  for (const auto& candidate : candidates) {
    if (fs::is_regular_file(candidate / "scripts/oasis_figures/__main__.py")) return candidate;
  }
  throw bad_input(
      "figures: {} has no scripts/oasis_figures; name a checkout of oasis in OASIS_SOURCE",
      candidates.back().string());
}

// OASIS_PYTHON, else the checkout's environment.
fs::path python(const fs::path& source) {
  const char* given = std::getenv("OASIS_PYTHON");
  fs::path path = given != nullptr ? fs::path(given) : source / ".venv/bin/python";
  if (::access(path.c_str(), X_OK) != 0) {
    throw bad_input(
        "figures: there is no Python at {}; run {}, or name one that has matplotlib in "
        "OASIS_PYTHON",
        path.string(), (source / "scripts/setup").string());
  }
  return path;
}

// A folder of its own for the copy of the database; gone afterwards.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "oasis-figures-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
      throw bad_input("figures: cannot make a folder in {}: {}; set TMPDIR to one that is writable",
                      fs::temp_directory_path().string(), std::generic_category().message(errno));
    }
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

// The database as it is now, also while a suite runs: one state for all figures and tables. In a
// copy of an older schema the tables and views of today are made.
fs::path snapshot(const fs::path& database, const fs::path& folder) {
  fs::path path = folder / "results.db";
  {
    const auto source = Store::open(database, Store::Mode::kReadOnly);
    SQLite::Database copy(path.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    SQLite::Backup(copy, source.database()).executeStep(-1);
  }
  Store::open(path, Store::Mode::kCreate);
  return path;
}

// Runs the scripts with these arguments and waits; throws with their exit status.
void run_scripts(const std::string& what, const DrawingOptions& options,
                 std::vector<std::string> arguments) {
  const fs::path source = source_folder();
  const fs::path interpreter = python(source);
  const std::string given = options.database.empty() ? options.option_database : options.database;
  const fs::path database = find_database(given, options.suite);
  const TemporaryFolder folder;
  const fs::path copy = snapshot(database, folder.path());
  std::vector<std::string> command = {interpreter.string(),
                                      "-B",
                                      (source / "scripts/oasis_figures").string(),
                                      what,
                                      copy.string(),
                                      "--name",
                                      database.string()};
  command.insert(command.end(), arguments.begin(), arguments.end());
  if (!options.suite.empty()) command.insert(command.end(), {"--suite", options.suite});
  std::error_code ignored;
  command.insert(command.end(),
                 {"--program", fs::read_symlink("/proc/self/exe", ignored).string()});
  std::vector<char*> argv;
  for (auto& argument : command) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child < 0)
    throw failed("{}: cannot start a process: {}", what, std::generic_category().message(errno));
  if (child == 0) {
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) throw failed("{}: ended by signal {}", what, WTERMSIG(status));
  if (WEXITSTATUS(status) == 127) {
    throw bad_input("{}: {} cannot be run; run scripts/setup", what, interpreter.string());
  }
  // It said why.
  if (status != 0) throw CLI::RuntimeError(WEXITSTATUS(status));
}

void add_common(CLI::App& command, DrawingOptions& options) {
  command.add_option("DATABASE", options.database, kDatabaseOptionHelp);
  command.add_option("--db", options.option_database, "The same, as other commands have it");
  command.add_option("--suite", options.suite,
                     "Suite to show; by default the one that was used last");
}

}  // namespace

void add_figures_command(CLI::App& app) {
  auto* command = app.add_subcommand("figures", "Draw the figures of a results database");
  auto options = std::make_shared<DrawingOptions>();
  options->output = "figures";
  add_common(*command, *options);
  command->add_option("--output", options->output, "Folder to write to")->capture_default_str();
  command->add_option("--only", options->only, "Figures to draw, by name; by default all")
      ->delimiter(',');
  command->add_option("--format", options->format, "png, svg, pdf, with commas between")
      ->capture_default_str();
  command->callback([options] {
    std::vector<std::string> arguments = {"--output", options->output, "--format", options->format};
    for (const auto& name : options->only) arguments.insert(arguments.end(), {"--only", name});
    run_scripts("figures", *options, arguments);
  });
}

void add_report_command(CLI::App& app) {
  auto* command =
      app.add_subcommand("report", "Write one HTML file with the claims, tables and figures");
  auto options = std::make_shared<DrawingOptions>();
  options->output = "report.html";
  add_common(*command, *options);
  command->add_option("--output", options->output, "File to write")->capture_default_str();
  command->callback([options] { run_scripts("report", *options, {"--output", options->output}); });
}

}  // namespace oasis
