#include "results/store.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <thread>

#include "results/bound_statement.h"
#include "results/environment.h"
#include "results/test_support.h"

namespace oasis {
namespace {

std::int64_t count(Store& store, const std::string& what) {
  return store.database().execAndGet("SELECT count(*) FROM " + what).getInt64();
}

TEST(Store, RoundTrip) {
  TemporaryFolder folder;
  std::int64_t stage_id = 0;
  {
    auto store = Store::open(folder / "new/folder/r.db", Store::Mode::kCreate);
    const char* arguments[] = {"oasis", "reproduce", "my suite.json"};
    const auto environment = host_environment(3, arguments);
    EXPECT_EQ(environment.command_line, "oasis reproduce 'my suite.json'");
    EXPECT_GT(environment.cores, 0);
    EXPECT_GT(environment.memory_bytes, 1 << 20);
    const auto run = store.begin_run(environment);
    const auto suite = store.add_suite("s", R"({"a":1})");
    EXPECT_EQ(store.add_suite("s", R"({"a":1})"), suite);
    EXPECT_NE(store.add_suite("s", R"({"a":2})"), suite);
    const auto cell = store.add_cell(sample_cell(suite, "oasis", 7));
    EXPECT_EQ(store.add_cell(sample_cell(suite, "oasis", 7)), cell);

    StageSpec spec = sample_stage("k1", "quantized", "books");
    spec.parent_key = "k0";
    spec.weight_bits = 8;
    spec.activation_bits = 4;
    spec.points = "all_inputs";
    spec.quantizer = "weights per row";
    const auto planned = store.plan_stage(cell, spec);
    stage_id = planned.id;
    EXPECT_EQ(planned.state, StageState::kPending);
    EXPECT_EQ(store.plan_stage(cell, spec).id, stage_id);
    EXPECT_EQ(store.stages(cell).size(), 1U);
    ASSERT_TRUE(store.begin_stage(stage_id, run, "cpu", "float32"));
    EXPECT_EQ(store.find_stage("k1")->state, StageState::kRunning);
    store.add_curve_points(stage_id, {{1, 10, 3.5, 1e-3, 2.0, 0.5}, {2, 20, NAN, 1e-3, 2.0, 0.5}});
    const double exact = 0.1 + 0.2;
    store.finish_stage(
        stage_id,
        {.metrics =
             {{.name = "perplexity", .value = exact, .unit = "1", .n = 12},
              {.name = "tokens_per_second", .value = 5, .unit = "token/s", .n = 1, .varies = true},
              {.name = "loss",
               .value = std::numeric_limits<double>::infinity(),
               .unit = "nat/token",
               .n = 12,
               .dataset = "wikitext-2"},
              {.name = "sink_rate", .value = NAN, .unit = "1", .n = 0, .reason = "no keys"}},
         .site_statistics = {{"model.norm", "max_inf_norm/seq", 5.0, "1", 3}},
         .layer_statistics = {{"null_posterior", 0, "", {}, {}, 0.5, "1", 3},
                              {"depth_weight", {}, "final", {}, 2, 0.5, "1", 3}},
         .massive_activations = {{.token = 7,
                                  .text = "The",
                                  .position = 0,
                                  .channel = 4,
                                  .first_layer = 1,
                                  .last_layer = 3,
                                  .largest = -900.5,
                                  .largest_layer = 2,
                                  .n = 6}},
         .artifact = Artifact{"c/1", "ff"},
         .step = 2});
    store.end_run(run);
  }
  const auto store = Store::open(folder / "new/folder/r.db", Store::Mode::kReadOnly);
  const auto row = store.find_stage("k1");
  ASSERT_TRUE(row);
  EXPECT_EQ(row->state, StageState::kDone);
  EXPECT_EQ(row->spec.parent_key, "k0");
  EXPECT_EQ(row->spec.weight_bits, 8);
  EXPECT_EQ(row->spec.activation_bits, 4);
  EXPECT_EQ(row->spec.points, "all_inputs");
  EXPECT_EQ(row->spec.quantizer, "weights per row");
  EXPECT_EQ(row->device, "cpu");
  EXPECT_EQ(row->step, 2);
  EXPECT_EQ(row->artifact_sha256, "ff");
  EXPECT_GT(row->seconds, 0);
  BoundStatement massive(store.database(),
                         "SELECT text, largest, largest_layer, n, place FROM"
                         " table_massive_activations WHERE token = 7 AND channel = 4");
  ASSERT_TRUE(massive.step());
  EXPECT_EQ(massive.text(0), "The");
  EXPECT_EQ(massive.integer(2), 2);
  EXPECT_EQ(massive.integer(3), 6);
  EXPECT_EQ(massive.integer(4), 1);
  const auto metrics = store.metrics(stage_id);
  ASSERT_EQ(metrics.size(), 4U);
  EXPECT_EQ(metrics[0].dataset, "books");
  EXPECT_EQ(metrics[0].name, "perplexity");
  EXPECT_EQ(metrics[0].value, 0.1 + 0.2);  // to the last bit
  EXPECT_EQ(metrics[1].reason, "no keys");
  EXPECT_TRUE(metrics[2].varies);
  EXPECT_EQ(metrics[3].dataset, "wikitext-2");
  EXPECT_TRUE(std::isnan(metrics[3].value));
  EXPECT_EQ(metrics[3].reason, "infinite");
  const auto curve = store.curve(stage_id);
  ASSERT_EQ(curve.size(), 2U);
  EXPECT_EQ(curve[0].loss, 3.5);
  EXPECT_TRUE(std::isnan(curve[1].loss));
  EXPECT_EQ(store.find_stage("none"), std::nullopt);
}

TEST(Store, StageBelongsToEveryCellThatPlansIt) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({});
  const auto first = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
  const auto second = store.add_cell(sample_cell(store.add_suite("b", "{}"), "oasis", 1));
  const auto stage = store.plan_stage(first, sample_stage("k", "evaluate", "books"));
  ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
  store.finish_stage(stage.id,
                     {.metrics = {{.name = "perplexity", .value = 9, .unit = "1", .n = 2}}});
  EXPECT_EQ(store.plan_stage(second, sample_stage("k", "evaluate", "books")).state,
            StageState::kDone);
  EXPECT_FALSE(store.begin_stage(stage.id, run, "cpu", "float32"));  // done: not again
  EXPECT_EQ(count(store, "cell_metrics WHERE value = 9"), 2);
}

TEST(Store, EndsOnlyWhatRuns) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({});
  const auto cell = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
  const auto stage = store.plan_stage(cell, sample_stage("k", "pretrain"));
  expect_error(Error::Kind::kFailed, {"pending"}, [&] { store.finish_stage(stage.id, {}); });
  ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
  store.fail_stage(stage.id, "the loss is not a number", 5, Artifact{"last", "aa"});
  auto row = *store.find_stage("k");
  EXPECT_EQ(row.state, StageState::kFailed);
  EXPECT_EQ(row.error, "the loss is not a number");
  EXPECT_EQ(row.step, 5);
  EXPECT_EQ(row.artifact_path, "last");
  expect_error(Error::Kind::kFailed, {"failed"}, [&] { store.stop_stage(stage.id); });
  ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));  // another try
  EXPECT_EQ(store.find_stage("k")->error, "");
  store.stop_stage(stage.id, 7);
  EXPECT_EQ(store.find_stage("k")->state, StageState::kStopped);
}

TEST(Store, BadRowLeavesNothingOfItsTransaction) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto run = store.begin_run({});
  const auto cell = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
  const auto stage = store.plan_stage(cell, sample_stage("k", "evaluate"));
  ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
  StageResult result;
  result.metrics = {{.name = "loss", .value = 1, .unit = "nat/token", .n = 1},
                    {.name = "perplexity", .value = 1, .unit = "", .n = 1}};  // without a unit
  EXPECT_THROW(store.finish_stage(stage.id, result), Error);
  EXPECT_EQ(count(store, "metrics"), 0);
  EXPECT_EQ(store.find_stage("k")->state, StageState::kRunning);
  EXPECT_THROW(store.add_curve_points(stage.id, {{1, 1, 1, 1, 1, 1}, {0, 1, 1, 1, 1, 1}}), Error);
  EXPECT_EQ(count(store, "curves"), 0);
  EXPECT_THROW(store.plan_stage(99, sample_stage("x", "evaluate")), Error);  // no such cell
  EXPECT_EQ(store.find_stage("x"), std::nullopt);
  auto other = sample_cell(1, "oasis", 1);
  other.config_json = R"({"hidden_size":65})";
  expect_error(Error::Kind::kFailed, {"another configuration"}, [&] { store.add_cell(other); });
}

TEST(Store, TextIsBoundNotPasted) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const std::string hostile = "x'); DROP TABLE metrics; --\"; \u2603";
  const auto run = store.begin_run({.machine = hostile, .command_line = hostile});
  auto spec = sample_cell(store.add_suite(hostile, "{}"), hostile, 1);
  const auto stage =
      store.plan_stage(store.add_cell(spec), sample_stage(hostile, hostile, hostile));
  ASSERT_TRUE(store.begin_stage(stage.id, run, hostile, hostile));
  store.add_event(stage.id, 3, hostile, hostile);
  store.finish_stage(stage.id,
                     {.metrics = {{.name = hostile, .value = 1, .unit = hostile, .n = 1}}});
  EXPECT_EQ(store.find_stage(hostile)->spec.kind, hostile);
  EXPECT_EQ(store.metrics(stage.id).at(0).name, hostile);
  EXPECT_EQ(count(store, "events"), 1);
}

// One training of ten steps, checkpoint at step 4, "killed" after step 6, resumed at 4.
void train(Store& store, bool interrupted) {
  const auto cell = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
  const auto stage = store.plan_stage(cell, sample_stage("k", "pretrain"));
  const auto steps = [&](std::int64_t from, std::int64_t to) {
    for (auto step = from; step <= to; ++step) {
      store.add_curve_points(stage.id, {{step, step * 8, 1.0 / static_cast<double>(step), 0.1, 1.0,
                                         interrupted ? 0.5 : 0.25}});
    }
  };
  ASSERT_TRUE(store.begin_stage(stage.id, store.begin_run({}), "cpu", "float32"));
  if (interrupted) {
    steps(1, 6);
    ASSERT_TRUE(store.begin_stage(stage.id, store.begin_run({}), "cpu", "float32"));
    store.truncate_curve(stage.id, 4);
    EXPECT_EQ(store.curve(stage.id).size(), 4U);
    store.add_event(stage.id, 4, "resumed", "from the checkpoint at step 4");
    steps(5, 10);
  } else {
    steps(1, 10);
  }
  store.finish_stage(stage.id, {.metrics = {{.name = "seconds",
                                             .value = interrupted ? 2.0 : 1.0,
                                             .unit = "s",
                                             .n = 1,
                                             .varies = true}},
                                .artifact = Artifact{interrupted ? "a" : "b", "cc"},
                                .step = 10});
}

TEST(Store, ResumedRunHasTheContentsOfAnUndisturbedOne) {
  TemporaryFolder folder;
  auto straight = Store::open(folder / "a.db", Store::Mode::kCreate);
  auto resumed = Store::open(folder / "b.db", Store::Mode::kCreate);
  train(straight, false);
  train(resumed, true);
  EXPECT_EQ(straight.comparable_contents(), resumed.comparable_contents());
  // and the comparison sees a change in the last bit of one loss
  resumed.add_curve_points(1, {{10, 80, std::nextafter(0.1, 1.0), 0.1, 1.0, 0.5}});
  EXPECT_NE(straight.comparable_contents(), resumed.comparable_contents());
}

TEST(Store, ComparableContentsIgnoreWhereAndWhen) {
  TemporaryFolder folder;
  auto first = Store::open(folder / "a.db", Store::Mode::kCreate);
  auto second = Store::open(folder / "b.db", Store::Mode::kCreate);
  write_sample_results(first, "one");
  second.begin_run({.machine = "another"});  // shifts the ids of runs
  second.add_suite("other", "[]");           // and of suites
  second.database().exec("DELETE FROM suites WHERE name = 'other'");
  write_sample_results(second, "two");
  EXPECT_EQ(first.comparable_contents(), second.comparable_contents());
  EXPECT_NE(first.comparable_contents().find("curve train-oasis2"), std::string::npos);
}

TEST(Store, ProcessesThatMakeTheDatabaseAtOnceAllFindIt) {
  TemporaryFolder folder;
  for (int round = 0; round < 40; ++round) {
    const auto path = folder / (std::to_string(round) + ".db");
    at_once(6, [&](int) { Store::open(path, Store::Mode::kCreate); });
  }
}

TEST(Store, EightProcessesLoseNothing) {
  constexpr int kProcesses = 8;
  constexpr int kStages = 12;
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  at_once(kProcesses, [&](int child) {  // each makes the database or finds it made
    auto store = Store::open(path, Store::Mode::kCreate);
    const auto run = store.begin_run({.machine = std::to_string(child)});
    const auto suite = store.add_suite("shared", "{}");
    const auto cell = store.add_cell(sample_cell(suite, "oasis", child));
    for (int index = 0; index < kStages; ++index) {
      const std::string key = std::to_string(child) + "-" + std::to_string(index);
      const auto stage = store.plan_stage(cell, sample_stage(key, "pretrain"));
      ASSERT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
      for (int step = 1; step <= 5; ++step) {
        store.add_curve_points(stage.id, {{step, step, 1, 1, 1, 1}});
      }
      store.finish_stage(stage.id,
                         {.metrics = {{.name = "loss", .value = 1, .unit = "1", .n = 1}}});
    }
    store.end_run(run);
  });
  auto store = Store::open(path, Store::Mode::kCreate);
  EXPECT_EQ(count(store, "runs WHERE ended IS NOT NULL"), kProcesses);
  EXPECT_EQ(count(store, "suites"), 1);
  EXPECT_EQ(count(store, "cells"), kProcesses);
  EXPECT_EQ(count(store, "stages WHERE state = 'done'"), kProcesses * kStages);
  EXPECT_EQ(count(store, "curves"), kProcesses * kStages * 5);
  EXPECT_EQ(count(store, "metrics"), kProcesses * kStages);
  EXPECT_EQ(store.database().execAndGet("PRAGMA integrity_check").getString(), "ok");
}

TEST(Store, OneStageIsTakenByOneLivingProcess) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  std::int64_t stage_id = 0;
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    const auto cell = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
    stage_id = store.plan_stage(cell, sample_stage("k", "pretrain")).id;
  }
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  ChildProcess worker([&] {
    auto store = Store::open(path, Store::Mode::kCreate);
    const char byte =
        store.begin_stage(stage_id, store.begin_run({}), "cpu", "float32") ? 'y' : 'n';
    ASSERT_EQ(::write(ready[1], &byte, 1), 1);
    for (;;) ::pause();
  });
  char answer = 0;
  ASSERT_EQ(::read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  auto store = Store::open(path, Store::Mode::kCreate);
  const auto run = store.begin_run({});
  EXPECT_FALSE(store.begin_stage(stage_id, run, "cpu", "float32"));
  worker.kill();
  EXPECT_TRUE(store.begin_stage(stage_id, run, "cpu", "float32"));  // its owner is gone
  store.finish_stage(stage_id, {});
}

TEST(Store, KilledInTheMiddleOfAWriteLeavesWholeTransactions) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  constexpr int kPointsEach = 50;
  std::int64_t stage_id = 0;
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    const auto cell = store.add_cell(sample_cell(store.add_suite("a", "{}"), "oasis", 1));
    stage_id = store.plan_stage(cell, sample_stage("k", "pretrain")).id;
  }
  for (int round = 0; round < 10; ++round) {
    ChildProcess worker([&] {
      auto store = Store::open(path, Store::Mode::kCreate);
      auto step = static_cast<std::int64_t>(store.curve(stage_id).size());
      for (;;) {
        std::vector<CurvePoint> points;
        for (int i = 0; i < kPointsEach; ++i) points.push_back({++step, step, 1, 1, 1, 1});
        store.add_curve_points(stage_id, points);
      }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(20 + 7 * round));
    worker.kill();
    auto store = Store::open(path, Store::Mode::kCreate);
    const auto points = store.curve(stage_id);
    EXPECT_EQ(points.size() % kPointsEach, 0U);
    EXPECT_EQ(points.empty() ? 0 : points.back().step, static_cast<std::int64_t>(points.size()));
    EXPECT_EQ(store.database().execAndGet("PRAGMA integrity_check").getString(), "ok");
  }
}

TEST(Environment, ProcessNames) {
  EXPECT_TRUE(process_lives(this_process()));
  EXPECT_FALSE(process_lives(""));
  EXPECT_FALSE(process_lives("another-boot:1:1"));
  auto recycled = this_process();  // the same process id with another start time
  recycled.back() = recycled.back() == '1' ? '2' : '1';
  EXPECT_FALSE(process_lives(recycled));
  EXPECT_EQ(utc_now().size(), 27U);
  EXPECT_FALSE(source_revision().empty());
}

}  // namespace
}  // namespace oasis
