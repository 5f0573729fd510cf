// From the command line to a plan: what `reproduce` and `plan` share.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "suites/plan.h"
#include "suites/suite_data.h"
#include "support/progress_line.h"

namespace CLI {
class App;
}

namespace oasis {

struct SessionOptions {
  std::string suite;
  std::string data_home;
  std::string out;  // run folder; empty: runs/<suite name>
  std::string only;
  std::string seeds;
  std::string shard;
  std::string device = "auto";
  int threads = 0;  // 0: one per core
};

// The positional SUITE and the options that choose cells, data and device.
void add_session_options(CLI::App& command, SessionOptions& options);

struct SuiteSession {
  std::string source;  // the suite's file, for messages
  std::filesystem::path folder;
  Plan plan;
  OpenedSuiteData data;
  std::vector<Cell> selected;
};

// What methods and data sets this binary knows.
KnownNames known_names();

// Reads and checks the suite alone: nothing is opened or written.
struct CheckedSuite {
  std::string source;
  Suite suite;
  std::filesystem::path folder;
};
CheckedSuite check_session(const SessionOptions& options);

// Opens the data and plans. Sets the number of threads. Throws Error (bad input).
SuiteSession open_session(const SessionOptions& options, const CheckedSuite& checked,
                          ProgressLine& progress);

}  // namespace oasis
