#include "suites/commands/bench_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "results/bench_tables.h"
#include "suites/bench/bench_run.h"
#include "suites/bench/row_json.h"
#include "suites/compute.h"
#include "suites/torch_options.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr const char* kDefaultDatabase = "runs/bench/results.db";

struct BenchOptions {
  std::string filter, device = "auto", database = kDefaultDatabase;
  bool quick = false, json = false;
};

// What CLI11 left over: Google Benchmark's flags, nothing else.
bench::GoogleFlags google_flags(const std::vector<std::string>& left_over, BenchOptions& options) {
  for (const auto& argument : left_over) {
    if (!argument.starts_with("--benchmark_")) {
      throw bad_input(
          "bench: unknown argument '{}'; oasis bench --help lists the options, and Google "
          "Benchmark's flags begin with --benchmark_",
          argument);
    }
  }
  auto flags = bench::initialize_google_benchmark(left_over, options.quick);
  if (!flags.filter.empty() && !options.filter.empty()) {
    throw bad_input("bench: --filter and --benchmark_filter say the same; give one of them");
  }
  if (options.filter.empty()) options.filter = flags.filter;
  return flags;
}

int bench_command(BenchOptions options, const std::vector<std::string>& left_over) {
  const auto flags = google_flags(left_over, options);
  if (options.json && flags.own_output) {
    throw bad_input("bench: --json and --benchmark_format both want the output; give one of them");
  }
  const auto device = choose_device(options.device, "auto", "--device");
  const bench::Target target{.device = torch_device(device), .quick = options.quick};
  const auto benchmarks = choose_benchmarks(target, options.filter);
  if (flags.list_only) {
    bench::run_benchmarks(benchmarks, target, flags, {}, {});
    return 0;
  }
  auto store = Store::open(options.database, Store::Mode::kCreate);
  ProgressLine progress(stderr);
  const auto summary = run_into(store, benchmarks, target, device, flags, progress);
  if (options.json) {
    fmt::print("{}\n", rows_json(summary, store.path()).dump(2));
  } else if (!flags.own_output) {
    fmt::print("{}", render_benchmarks(store, summary.run_id));
  }
  std::fflush(stdout);
  const auto failures = summary.failures();
  for (const auto& failure : failures) fmt::print(stderr, "oasis: {}\n", failure);
  return failures.empty() ? 0 : 1;
}

}  // namespace

void add_bench_command(CLI::App& app) {
  const auto options = std::make_shared<BenchOptions>();
  auto* command = app.add_subcommand(
      "bench",
      "Time operations and training steps. Each case is checked against float64 first, and timed\n"
      "beside the eager formulation and what a library offers. Google Benchmark's flags work too\n"
      "(--benchmark_list_tests, --benchmark_format=json, --benchmark_out=FILE, …).\n"
      "Exit status: 0 all timed, 1 one of ours failed its check or could not run, 2 bad input");
  command->add_option("--filter", options->filter,
                      "Regular expression: only benchmarks whose name it finds; =-RE: all the others");
  command->add_option("--device", options->device, "cpu, cuda or auto")
      ->check(CLI::IsMember({"cpu", "cuda", "auto"}))
      ->capture_default_str();
  command->add_flag("--quick", options->quick, "Small sizes and short times");
  command->add_option("--db", options->database, "Results database that the rows go into")
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print the rows as JSON instead of the tables");
  command->allow_extras();
  command->callback([options, command] {
    const int status = bench_command(*options, command->remaining());
    if (status != 0) throw CLI::RuntimeError(status);
  });
}

}  // namespace oasis
