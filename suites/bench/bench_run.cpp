#include "suites/bench/bench_run.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <iterator>

#include "suites/bench/step_benchmarks.h"
#include "suites/compute.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

BenchmarkRow stored_row(const bench::Row& row, std::int64_t run_id, const std::string& device) {
  const auto& labels = row.labels;
  BenchmarkRow stored = {.run_id = run_id,
                         .device = device,
                         .operation = labels.operation,
                         .variant = labels.variant,
                         .shape = labels.shape,
                         .dtype = labels.dtype,
                         .pass = labels.pass,
                         .formulation = labels.formulation,
                         .implementation = labels.implementation,
                         .median_seconds = row.seconds.median,
                         .p10_seconds = row.seconds.p10,
                         .p90_seconds = row.seconds.p90,
                         .n = row.seconds.n,
                         .parts = row.parts,
                         .error = row.error,
                         .bytes = row.bytes,
                         .flops = row.flops,
                         .tokens = row.tokens,
                         .copy_bytes_per_second = row.ceiling.bytes_per_second,
                         .gemm_flops_per_second = row.ceiling.flops_per_second};
  if (row.peak_bytes > 0) stored.peak_bytes = row.peak_bytes;
  return stored;
}

// Times on a processor depend on the number of threads: part of what the device is called.
std::string device_name(const Environment& environment, const RunDevice& device) {
  if (device.type == "cuda") return environment.gpu;
  return fmt::format("{}, {} threads", environment.cpu, at::get_num_threads());
}

}  // namespace

std::vector<bench::Benchmark> choose_benchmarks(const bench::Target& target,
                                                const std::string& filter) {
  auto all = bench::benchmarks_of(bench::all_cases(target), target);
  auto steps = bench::step_benchmarks(target);
  std::move(steps.begin(), steps.end(), std::back_inserter(all));
  if (filter.empty()) return all;
  const auto count = all.size();
  auto chosen = bench::filtered(std::move(all), filter);
  if (chosen.empty()) {
    throw bad_input(
        "--filter: '{}' finds none of the {} benchmarks; oasis bench --benchmark_list_tests lists "
        "them",
        filter, count);
  }
  return chosen;
}

std::vector<std::string> BenchSummary::failures() const {
  std::vector<std::string> failures;
  for (const auto& row : rows) {
    if (row.formulation == "ours" && !row.error.empty()) {
      failures.push_back(row.name() + ": " + row.error);
    }
  }
  return failures;
}

BenchSummary run_into(Store& store, const std::vector<bench::Benchmark>& benchmarks,
                      const bench::Target& target, const RunDevice& device,
                      const bench::GoogleFlags& flags, ProgressLine& progress) {
  const auto environment = run_environment(device);
  const auto name = device_name(environment, device);
  BenchSummary summary{.run_id = store.begin_run(environment), .rows = {}};
  double done = 0;
  progress.begin("benchmarks", 0, static_cast<double>(benchmarks.size()), "rows");
  const bench::RunEvents events = {
      .begins = [&](const bench::Labels& labels) { progress.update(done, labels.name()); },
      .ended =
          [&](const bench::Row& row) {
            summary.rows.push_back(stored_row(row, summary.run_id, name));
            add_benchmark_row(store, summary.rows.back());
            progress.update(++done, row.labels.name());
          }};
  const bench::Context context = {{"device", name},
                                  {"driver", environment.driver},
                                  {"torch", environment.libraries.at("torch")},
                                  {"source_revision", environment.source_revision},
                                  {"command_line", environment.command_line}};
  bench::run_benchmarks(benchmarks, target, flags, context, events);
  store.end_run(summary.run_id);
  progress.end();
  return summary;
}

}  // namespace oasis
