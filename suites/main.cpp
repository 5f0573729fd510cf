// The program `oasis`: one subcommand each in commands/.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>
#include <string>

#include "results/environment.h"
#include "suites/commands/bench_command.h"
#include "suites/commands/compare_command.h"
#include "suites/commands/data_command.h"
#include "suites/commands/doctor_command.h"
#include "suites/commands/evaluate_command.h"
#include "suites/commands/export_command.h"
#include "suites/commands/export_results_command.h"
#include "suites/commands/figures_command.h"
#include "suites/commands/generate_command.h"
#include "suites/commands/gsm8k_command.h"
#include "suites/commands/inspect_command.h"
#include "suites/commands/merge_command.h"
#include "suites/commands/plan_command.h"
#include "suites/commands/query_command.h"
#include "suites/commands/reproduce_command.h"
#include "suites/commands/status_command.h"
#include "suites/commands/suite_schema_command.h"
#include "suites/commands/tables_command.h"
#include "suites/commands/tokenize_command.h"
#include "support/error.h"

namespace {

constexpr int kFailed = 1;
constexpr int kBadInput = 2;

// Torch appends a backtrace to its messages; the first line says what happened.
void print_error(const std::string& message) {
  fmt::print(stderr, "oasis: {}\n", message.substr(0, message.find('\n')));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("OASIS: trains, quantizes, evaluates and tabulates attention-residual models");
  app.require_subcommand(1);
  app.set_version_flag("--version", "oasis " + oasis::source_revision());
  oasis::add_reproduce_command(app);
  oasis::add_plan_command(app);
  oasis::add_status_command(app);
  oasis::add_tables_command(app);
  oasis::add_query_command(app);
  oasis::add_bench_command(app);
  oasis::add_compare_command(app);
  oasis::add_merge_command(app);
  oasis::add_export_results_command(app);
  oasis::add_figures_command(app);
  oasis::add_report_command(app);
  oasis::add_export_command(app);
  oasis::add_inspect_command(app);
  oasis::add_evaluate_command(app);
  oasis::add_generate_command(app);
  oasis::add_gsm8k_command(app);
  oasis::add_data_command(app);
  oasis::add_tokenize_command(app);
  oasis::add_doctor_command(app);
  oasis::add_suite_schema_command(app);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::Success& request) {  // --help, --version
    return app.exit(request);
  } catch (const CLI::RuntimeError& exit) {  // a command's own exit status
    return exit.get_exit_code();
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return kBadInput;
  } catch (const oasis::Error& error) {
    fmt::print(stderr, "oasis: {}\n", error.what());
    return error.exit_status();
  } catch (const std::exception& error) {
    print_error(error.what());
    return kFailed;
  }
}
