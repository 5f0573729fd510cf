#include "kernels/benchmark/runner.h"

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>
#include <thread>

#include "kernels/benchmark/timing.h"
#include "support/error.h"

namespace oasis::bench {
namespace {

Benchmark named(const std::string& operation, std::function<void()> repetition) {
  Benchmark row;
  row.labels = {operation, "", "M1", "float32", "forward", "ours", ""};
  row.bytes = row.flops = 1;
  row.prepare = [repetition] { return Prepared{repetition, 1}; };
  return row;
}

std::vector<Row> rows_of(const std::vector<Benchmark>& benchmarks) {
  static const auto flags =
      initialize_google_benchmark({"--benchmark_min_time=0.001"}, /*quick=*/true);
  std::vector<Row> rows;
  run_benchmarks(
      benchmarks, {.device = at::kCPU, .quick = true}, flags, {},
      {.begins = [](const Labels&) {}, .ended = [&](const Row& row) { rows.push_back(row); }});
  return rows;
}

TEST(RunnerTest, TimesWhatPassesAndSaysWhyTheRestWasNotTimed) {
  int wrong_runs = 0;
  auto wrong = named("wrong", [&] { ++wrong_runs; });
  wrong.check = [] { return std::string("gradient 0 is off"); };
  auto unsure = named("unsure", [] {});
  unsure.check = []() -> std::string { throw std::runtime_error("no reference\nbacktrace"); };
  auto parts = named("parts", [] { std::this_thread::sleep_for(std::chrono::milliseconds(2)); });
  parts.prepare = [repetition = parts.prepare] {
    auto prepared = repetition();
    prepared.parts = 4;
    return prepared;
  };
  const auto rows = rows_of(
      {wrong, unsure, parts, named("broken", [] { throw std::runtime_error("launch failed"); })});
  ASSERT_EQ(rows.size(), 4);
  EXPECT_EQ(rows[0].error, "gradient 0 is off");
  EXPECT_EQ(wrong_runs, 0);
  EXPECT_EQ(rows[1].error, "no reference");
  EXPECT_EQ(rows[2].error, "");
  EXPECT_GE(rows[2].seconds.n, 5);
  EXPECT_GE(rows[2].seconds.p10, 0.008);  // four parts of at least 2 ms
  EXPECT_LE(rows[2].seconds.p10, rows[2].seconds.median);
  EXPECT_LE(rows[2].seconds.median, rows[2].seconds.p90);
  EXPECT_GT(rows[2].ceiling.bytes_per_second, 0);
  EXPECT_EQ(rows[3].error, "launch failed");
}

TEST(RunnerTest, FilterFindsOrLeavesOut) {
  const std::vector<Benchmark> all = {named("rope", {}), named("rms_norm", {})};
  const auto names = [&](const std::string& expression) {
    std::string text;
    for (const auto& row : filtered(all, expression)) text += row.labels.operation + " ";
    return text;
  };
  EXPECT_EQ(names("r"), "rope rms_norm ");
  EXPECT_EQ(names("^rope/.*ours$"), "rope ");
  EXPECT_EQ(names("-^rope"), "rms_norm ");
  EXPECT_EQ(names("entmax"), "");
  EXPECT_THROW(names("["), Error);
}

TEST(CeilingTest, TheSlowerOfBytesAndFlopsDecides) {
  const Ceiling ceiling{.bytes_per_second = 10, .flops_per_second = 100};
  EXPECT_DOUBLE_EQ(ceiling.seconds(20, 100), 2);
  EXPECT_DOUBLE_EQ(ceiling.seconds(20, 300), 3);
}

TEST(MemoryMeterTest, GrowsByWhatIsHeld) {
  MemoryMeter meter(at::kCPU);
  meter.begin();
  { std::vector<char> held(64 << 20, 'x'); }
  EXPECT_GE(meter.peak_bytes(), 60 << 20);
  EXPECT_LE(meter.peak_bytes(), 100 << 20);
}

}  // namespace
}  // namespace oasis::bench
