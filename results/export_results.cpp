#include "results/export_results.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include "results/bound_statement.h"
#include "results/query.h"
#include "results/sqlite_error.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

namespace fs = std::filesystem;

constexpr const char* kReadme = R"(# Results

Exported by `oasis export-results` from one results database.

- `suites/`: what was run, as JSON; `oasis reproduce FILE` runs it again
- `runs.json`: each process that did work: machine, processor, GPU, driver, libraries, source revision, command line
- `views/`: the figures that tables are made from; a mean stands with its standard deviation, seeds and n
- `tables/`: everything that was recorded, one row for each figure; `stage_id` refers to `tables/stages.csv`
- `schema.sql`: what every table, view and column means
- `SHA256SUMS`: `sha256sum --check SHA256SUMS` tells whether a file was changed

CSV, quoted as RFC 4180 has it, with a header; an empty field is a missing value, and its reason stands beside it.
)";

class Export {
 public:
  Export(const Store& store, fs::path folder) : store_(store), folder_(std::move(folder)) {}

  ExportedResults write();

 private:
  std::ofstream open(const fs::path& name);
  void close(std::ofstream& file, const fs::path& name);
  void write_text(const fs::path& name, const std::string& text);
  void write_query(const fs::path& name, const std::string& sql, QueryFormat format);
  std::vector<std::string> names_of(const std::string& type) const;
  void write_suites();
  void write_sums();

  const Store& store_;
  fs::path folder_;
  ExportedResults written_;
};

std::ofstream Export::open(const fs::path& name) {
  std::error_code status;
  fs::create_directories((folder_ / name).parent_path(), status);
  std::ofstream file(folder_ / name, std::ios::binary);
  if (!file) {
    throw bad_input("{}: cannot be written; choose a writable folder", (folder_ / name).string());
  }
  return file;
}

void Export::close(std::ofstream& file, const fs::path& name) {
  file.close();
  if (!file) {
    throw disk_full((folder_ / name).string(), "nothing was exported");
  }
  ++written_.files;
}

void Export::write_text(const fs::path& name, const std::string& text) {
  auto file = open(name);
  file << text;
  close(file, name);
}

void Export::write_query(const fs::path& name, const std::string& sql, QueryFormat format) {
  auto file = open(name);
  const QueryLimits limits{.time = std::chrono::hours(24), .rows = std::nullopt};
  written_.rows += run_query(store_, sql, format, limits, file).rows;
  close(file, name);
}

std::vector<std::string> Export::names_of(const std::string& type) const {
  std::vector<std::string> names;
  BoundStatement query(store_.database(),
                       "SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE 'sqlite%'"
                       " AND name NOT IN ('meta', 'comparable') ORDER BY name");
  query.bind_all(type);
  while (query.step()) names.push_back(query.text(0));
  return names;
}

// A suite's name as part of a file's name.
std::string safe(std::string name) {
  for (char& letter : name) {
    if (std::isalnum(static_cast<unsigned char>(letter)) == 0 && letter != '-' && letter != '_') {
      letter = '_';
    }
  }
  return name;
}

void Export::write_suites() {
  BoundStatement query(store_.database(), "SELECT name, hash, json FROM suites ORDER BY id");
  while (query.step()) {
    write_text(fs::path("suites") /
                   fmt::format("{}-{}.json", safe(query.text(0)), query.text(1).substr(0, 12)),
               query.text(2) + "\n");
  }
}

void Export::write_sums() {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (entry.is_regular_file()) {
      names.push_back(entry.path().lexically_relative(folder_).generic_string());
    }
  }
  std::ranges::sort(names);
  std::string sums;
  for (const auto& name : names) sums += fmt::format("{}  {}\n", sha256_file(folder_ / name), name);
  write_text("SHA256SUMS", sums);
}

ExportedResults Export::write() {
  // One moment for all: run_query() leaves the transaction open.
  guarded(store_.path(), store_.database(), [&] { store_.database().exec("BEGIN"); });
  const auto tables = names_of("table"), views = names_of("view");
  write_suites();
  for (const auto& name : tables) {
    write_query(fs::path("tables") / (name + ".csv"), fmt::format("SELECT * FROM \"{}\"", name),
                QueryFormat::kCsv);
  }
  for (const auto& name : views) {
    write_query(fs::path("views") / (name + ".csv"), fmt::format("SELECT * FROM \"{}\"", name),
                QueryFormat::kCsv);
  }
  write_query("runs.json", "SELECT * FROM runs ORDER BY id", QueryFormat::kJson);
  write_text("schema.sql", schema_text());
  write_text("README.md", kReadme);
  write_sums();
  return written_;
}

}  // namespace

ExportedResults export_results(const Store& store, const fs::path& folder) {
  std::error_code status;
  if (fs::exists(fs::symlink_status(folder, status))) {
    throw bad_input("{}: is there already; name a folder that is not", folder.string());
  }
  fs::path unfinished = folder;
  if (!unfinished.has_filename()) unfinished = unfinished.parent_path();
  const fs::path whole = unfinished;
  unfinished += fmt::format(".unfinished-{}", ::getpid());
  fs::create_directories(unfinished, status);
  if (status) {
    throw bad_input("{}: cannot be made: {}; choose a writable folder", folder.string(),
                    status.message());
  }
  try {
    const auto written = Export(store, unfinished).write();
    fs::rename(unfinished, whole);
    return written;
  } catch (...) {
    fs::remove_all(unfinished, status);
    throw;
  }
}

}  // namespace oasis
