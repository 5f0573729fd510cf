#include "suites/suite_session.h"

#include <CLI/CLI.hpp>

#include "suites/compute.h"
#include "suites/torch_options.h"
#include "support/error.h"

namespace oasis {

void add_session_options(CLI::App& command, SessionOptions& options) {
  command.add_option("suite", options.suite, "A suite's JSON file, or an embedded suite (smoke)")
      ->required();
  command.add_option("--data-home", options.data_home,
                     "Folder of the data files; else OASIS_DATA_HOME, else the cache");
  command.add_option("--out", options.out, "Run folder; runs/<suite name> unless given");
  command.add_option("--only", options.only,
                     "Cells to run: comma-separated globs of method/dataset/model/seed or of one "
                     "of these, such as 'oasis*'");
  command.add_option("--seeds", options.seeds, "Seeds to run, such as 0,1 or 0-2");
  command.add_option("--shard", options.shard, "i/n: the i-th of n equal parts, from 1");
  command.add_option("--device", options.device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}));
  command.add_option("--threads", options.threads, "CPU threads; one per core unless given")
      ->check(CLI::Range(1, 4096));
}

CheckedSuite check_session(const SessionOptions& options) {
  const SuiteFile file = load_suite_file(options.suite);
  CheckedSuite checked;
  checked.source = file.source;
  checked.suite = parse_suite(file.text, file.source, known_names());
  checked.folder = options.out.empty() ? std::filesystem::path("runs") / checked.suite.name
                                       : std::filesystem::path(options.out);
  return checked;
}

SuiteSession open_session(const SessionOptions& options, const CheckedSuite& checked,
                          ProgressLine& progress) {
  Selection selection;
  selection.only = options.only;
  if (!options.seeds.empty()) selection.seeds = parse_seeds(options.seeds);
  if (!options.shard.empty()) parse_shard(options.shard, selection);
  const RunDevice device =
      choose_device(options.device, checked.suite.training.dtype, checked.source);
  set_threads(options.threads);
  SuiteSession session;
  session.source = checked.source;
  session.folder = checked.folder;
  session.data =
      open_suite_data(checked.suite, resolve_folders(options.data_home), checked.source, progress);
  session.plan =
      make_plan(checked.suite, session.data.identities(), device, known_names(), checked.source);
  for (const Cell& cell : session.plan.cells)
    config_of(cell);  // refuses what does not fit together
  session.selected = select_cells(session.plan, selection);
  return session;
}

}  // namespace oasis
