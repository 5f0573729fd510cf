#include "results/benchmark_rows.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include "results/schema.h"
#include "results/tables.h"
#include "results/test_support.h"

namespace oasis {
namespace {

using namespace std::chrono_literals;

BenchmarkRow row(std::int64_t run, const std::string& formulation, double median) {
  return {.run_id = run,
          .device = "H100",
          .operation = "attention",
          .variant = "softmax1",
          .shape = "B8 H32 T4096 d64",
          .dtype = "bfloat16",
          .pass = "forward+backward",
          .formulation = formulation,
          .median_seconds = median,
          .p10_seconds = median * 0.9,
          .p90_seconds = median * 1.1,
          .n = 20,
          .bytes = 3e9,
          .flops = 2e12,
          .peak_bytes = std::int64_t{3} << 30,
          .copy_bytes_per_second = 3e12,
          .gemm_flops_per_second = 5e14};
}

BenchmarkRow step(std::int64_t run, const std::string& method, double median) {
  auto one = row(run, "ours", median);
  one.operation = "step";
  one.variant = method;
  one.shape = "110M T512";
  one.pass = "step";
  one.tokens = 24576;
  one.flops = 2e13;
  return one;
}

class BenchmarkRows : public ::testing::Test {
 protected:
  std::int64_t begin(Store& store) {
    return store.begin_run({.machine = "host",
                            .gpu = "H100",
                            .driver = "580",
                            .libraries = {{"torch", "2.11.0"}},
                            .source_revision = "0123456789abcdef"});
  }
  void write(std::vector<BenchmarkRow> rows) {
    auto store = Store::open(path_, Store::Mode::kCreate);
    const auto run = begin(store);
    for (auto& each : rows) {
      each.run_id = run;
      add_benchmark_row(store, each);
    }
  }
  Store read() { return Store::open(path_, Store::Mode::kReadOnly); }
  double number(const std::string& sql) { return read().database().execAndGet(sql).getDouble(); }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "r.db";
};

TEST_F(BenchmarkRows, WhatIsStoredIsRead) {
  auto error = row(0, "eager", 0);
  error.error = "does not fit";
  write({row(0, "ours", 0.005), error});
  const auto rows = benchmark_rows(read());
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows[0].name(), "attention softmax1 B8 H32 T4096 d64 bfloat16 forward+backward, ours");
  EXPECT_DOUBLE_EQ(rows[0].median_seconds, 0.005);
  EXPECT_EQ(rows[0].peak_bytes, std::int64_t{3} << 30);
  EXPECT_EQ(rows[0].n, 20);
  EXPECT_EQ(rows[1].error, "does not fit");
  EXPECT_EQ(rows[1].n, 0);
}

TEST_F(BenchmarkRows, NewestAndTheOneBefore) {
  write({row(0, "ours", 1), row(0, "eager", 2)});
  write({row(0, "ours", 3)});
  const auto newest = benchmark_rows(read()), before = benchmark_rows(read(), 1);
  ASSERT_EQ(newest.size(), 2);  // the eager row is of the first run
  EXPECT_DOUBLE_EQ(newest[0].median_seconds, 2);
  EXPECT_DOUBLE_EQ(newest[1].median_seconds, 3);
  ASSERT_EQ(before.size(), 1);
  EXPECT_DOUBLE_EQ(before[0].median_seconds, 1);
}

TEST_F(BenchmarkRows, ViewSetsRowsBesideEachOtherAndTheCeiling) {
  write({row(0, "ours", 0.005), row(0, "eager", 0.05), step(0, "prenorm", 0.05),
         step(0, "oasis", 0.06)});
  const auto of = [&](const std::string& column, const std::string& where) {
    return number("SELECT " + column + " FROM table_bench WHERE " + where);
  };
  // 3e9 B take 1 ms, 2e12 FLOP take 4 ms: of 5 ms, 0.8.
  EXPECT_DOUBLE_EQ(of("share_of_ceiling", "pass <> 'step' AND formulation = 'ours'"), 0.8);
  EXPECT_DOUBLE_EQ(of("ours_over_this", "formulation = 'eager'"), 0.1);
  EXPECT_DOUBLE_EQ(of("ratio_to_prenorm", "variant = 'oasis'"), 1.2);
  EXPECT_DOUBLE_EQ(of("tokens_per_second", "variant = 'oasis'"), 24576 / 0.06);
  EXPECT_NEAR(of("mfu", "variant = 'prenorm'"), 0.8, 1e-12);
  EXPECT_EQ(of("tokens_per_second IS NULL", "formulation = 'eager'"), 1);
}

TEST_F(BenchmarkRows, TablesShowThem) {
  auto library = row(0, "library", 0.004);
  library.implementation = "SDPA flash";
  library.parts = 4;
  auto wrong = step(0, "sparsemax", 0);
  wrong.error = "the loss is not a number";
  write({row(0, "ours", 0.005), library, step(0, "oasis", 0.06), wrong});
  for (const TableRequest& request :
       {TableRequest{}, TableRequest{.names = {"bench"}}, TableRequest{.suite = "bench"}}) {
    const auto text = render_tables(read(), request);
    for (const auto* part : {"H100", "driver 580", "torch 2.11.0", "0123456789ab", "copy 3 TB/s",
                             "500 TFLOP/s", "SDPA flash", "80.0 %", "1/4 of the batch", "409,600",
                             "the loss is not a number", "3.000"}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
    }
  }
  const auto csv = render_tables(read(), {.suite = "bench", .format = TableFormat::kCsv});
  EXPECT_NE(csv.find("share_of_ceiling"), std::string::npos);
}

TEST_F(BenchmarkRows, TablesWithoutAnyAskForARun) {
  { Store::open(path_, Store::Mode::kCreate); }
  expect_error(Error::Kind::kBadInput, {"r.db", "no benchmarks yet", "oasis bench"},
               [&] { render_tables(read(), {.suite = "bench"}); });
}

// A file of version 1 as an earlier build left it: its rows stay, benchmarks can be added.
TEST_F(BenchmarkRows, DatabaseOfVersionOneIsMigratedAndKeepsItsRows) {
  {
    SQLite::Database old(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate_schema(old, path_, 1s, schema_migrations().first(1));
    old.exec("INSERT INTO suites (name, hash, json, used) VALUES ('s', 'h', '{}', 't')");
  }
  {  // a reader sees the new tables without writing the file
    const auto store = read();
    EXPECT_FALSE(render_tables(store, {}).empty());
    EXPECT_TRUE(benchmark_rows(store).empty());
  }
  {
    SQLite::Database old(path_, SQLite::OPEN_READONLY);
    EXPECT_EQ(old.execAndGet("PRAGMA user_version").getInt(), 1);
  }
  write({row(0, "ours", 1)});
  EXPECT_EQ(number("PRAGMA user_version"), 2);
  EXPECT_EQ(read().database().execAndGet("SELECT name FROM suites").getString(), "s");
  EXPECT_EQ(benchmark_rows(read()).size(), 1);
}

}  // namespace
}  // namespace oasis
