#include "results/merge.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "results/test_support.h"

namespace oasis {
namespace {

// The sample suite cut in two, as --shard does: every stage of one seed in each database. Stages of
// the other seed are planned there too.
void write_shard(const std::filesystem::path& path, std::int64_t mine, const std::string& machine) {
  auto store = Store::open(path, Store::Mode::kCreate);
  const auto run = store.begin_run({.machine = machine, .source_revision = "0123456789abcdef"});
  const auto suite = store.add_suite("sample", R"({"name":"sample"})");
  for (const std::int64_t seed : {1, 2}) {
    const auto cell = store.add_cell(sample_cell(suite, "oasis", seed));
    const std::string name = std::to_string(seed);
    const auto train = store.plan_stage(cell, sample_stage("train-" + name, "pretrain"));
    const auto evaluate =
        store.plan_stage(cell, sample_stage("evaluate-" + name, "evaluate", "wikitext-2"));
    const auto asked = store.plan_stage(cell, sample_stage("gsm8k-" + name, "gsm8k", "gsm8k"));
    if (seed != mine) continue;
    const auto base = static_cast<double>(100 + seed);
    ASSERT_TRUE(store.begin_stage(train.id, run, "cpu", "float32"));
    store.add_event(train.id, 1, "resumed", "from step 1");
    store.add_curve_points(train.id, {{1, 2048, 5.5, 4e-4, 1.5, 0.25}});
    store.finish_stage(train.id, {.artifact = Artifact{"cells/" + name, "abc"}, .step = 1});
    ASSERT_TRUE(store.begin_stage(evaluate.id, run, "cpu", "float32"));
    store.finish_stage(
        evaluate.id,
        {.metrics = {{.name = "perplexity", .value = base, .unit = "1", .n = 4096},
                     {.name = "seconds", .value = base / 7, .unit = "s", .n = 1, .varies = true}},
         .site_statistics = {{"model.norm", "max_inf_norm/seq", base, "1", 8}},
         .layer_statistics = {{"depth_weight", 0, "sa", {}, 0, 0.5, "1", 512}}});
    ASSERT_TRUE(store.begin_stage(asked.id, run, "cpu", "float32"));
    store.add_generations(asked.id, {{0, "18", "#### 18", 4}});
    store.finish_stage(asked.id, {.generation_scores = {{0, "strict", "18", true}}});
  }
  store.end_run(run);
}

std::string dump(const std::filesystem::path& path) {
  const auto store = Store::open(path, Store::Mode::kReadOnly);
  std::string all = store.comparable_contents();
  for (const char* sql :
       {"SELECT group_concat(uid || machine || ifnull(ended, '') || id) FROM runs",
        "SELECT group_concat(id || kind || message || at || stage_id || run_id) FROM events",
        "SELECT group_concat(id || key || run_id || artifact_path || seconds) FROM stages",
        "SELECT group_concat(stage_id || value) FROM metrics",
        "SELECT group_concat(id || used) FROM suites"}) {
    all += store.database().execAndGet(sql).getString() + "\n";
  }
  return all;
}

TEST(Merge, OfTwoShardsIsTheSuiteRunInOnePlace) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "a");
  std::filesystem::create_directory(folder / "b");
  write_shard(folder / "a/results.db", 1, "first");
  write_shard(folder / "b/results.db", 2, "second");
  {
    auto into = Store::open(folder / "all.db", Store::Mode::kCreate);
    const auto first = merge_database(into, folder / "a/results.db");
    EXPECT_TRUE(first.written);
    EXPECT_EQ(first.stages, 6);  // three of them only planned
    EXPECT_EQ(first.runs, 1);
    const auto second = merge_database(into, folder / "b/results.db");
    EXPECT_TRUE(second.written);
    EXPECT_EQ(second.stages, 0);
    EXPECT_EQ(second.finished, 3);
    EXPECT_EQ(second.cells, 0);
    EXPECT_EQ(second.events, 1);

    const auto row = into.find_stage("train-2");
    ASSERT_TRUE(row);
    EXPECT_EQ(row->state, StageState::kDone);
    EXPECT_EQ(row->artifact_path, "b/cells/2");
    EXPECT_EQ(into.curve(row->id).size(), 1U);
    EXPECT_EQ(into.database()
                  .execAndGet("SELECT r.machine FROM stages t JOIN runs r ON r.id = t.run_id"
                              " WHERE t.key = 'evaluate-2'")
                  .getString(),
              "second");
    EXPECT_EQ(into.generation_scores(into.find_stage("gsm8k-2")->id).size(), 1U);
    EXPECT_EQ(into.database().execAndGet("PRAGMA integrity_check").getString(), "ok");
    EXPECT_FALSE(
        into.database().execAndGet("SELECT count(*) FROM pragma_foreign_key_check").getInt());
  }
  // As if one process had done all of it.
  write_shard(folder / "one.db", 1, "third");
  write_shard(folder / "one.db", 2, "third");
  EXPECT_EQ(Store::open(folder / "all.db", Store::Mode::kReadOnly).comparable_contents(),
            Store::open(folder / "one.db", Store::Mode::kReadOnly).comparable_contents());
}

TEST(Merge, ASecondTimeChangesNothing) {
  const TemporaryFolder folder;
  write_shard(folder / "a.db", 1, "first");
  auto into = Store::open(folder / "all.db", Store::Mode::kCreate);
  ASSERT_TRUE(merge_database(into, folder / "a.db").written);
  const auto before = dump(folder / "all.db");
  const auto again = merge_database(into, folder / "a.db");
  EXPECT_TRUE(again.written);
  EXPECT_EQ(again.runs + again.suites + again.cells + again.stages + again.finished +
                again.figures + again.benchmarks + again.events,
            0);
  EXPECT_EQ(dump(folder / "all.db"), before);
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    EXPECT_EQ(entry.path().string().find("merge-"), std::string::npos) << entry.path();
  }
}

TEST(Merge, NamesConflictsAndWritesNothingUnlessToldToKeep) {
  const TemporaryFolder folder;
  write_shard(folder / "a.db", 1, "first");
  write_shard(folder / "b.db", 1, "second");
  write_shard(folder / "b.db", 2, "second");
  {
    auto other = Store::open(folder / "b.db", Store::Mode::kCreate);
    other.database().exec(
        "UPDATE metrics SET value = 99 WHERE name = 'perplexity' AND stage_id ="
        " (SELECT id FROM stages WHERE key = 'evaluate-1');"
        "UPDATE curves SET loss = 5 WHERE stage_id ="
        " (SELECT id FROM stages WHERE key = 'train-1')");
  }
  auto into = Store::open(folder / "a.db", Store::Mode::kCreate);
  const auto before = dump(folder / "a.db");
  const auto refused = merge_database(into, folder / "b.db");
  EXPECT_FALSE(refused.written);
  ASSERT_EQ(refused.conflicts.size(), 2U);
  EXPECT_EQ(refused.conflicts[0].stage, "oasis/books/tiny/1 evaluate wikitext-2");
  EXPECT_EQ(refused.conflicts[0].what, "metric wikitext-2|perplexity");
  EXPECT_EQ(refused.conflicts[0].into.substr(0, 5), "101.0");
  EXPECT_EQ(refused.conflicts[0].from.substr(0, 4), "99.0");
  EXPECT_EQ(refused.conflicts[1].what, "curve 000000000001");
  EXPECT_EQ(dump(folder / "a.db"), before);

  const auto kept = merge_database(into, folder / "b.db", true);
  EXPECT_TRUE(kept.written);
  EXPECT_EQ(kept.conflicts.size(), 2U);
  EXPECT_EQ(kept.finished, 3);  // the other seed's
  EXPECT_EQ(into.metrics(into.find_stage("evaluate-1")->id).front().value, 101);
  EXPECT_EQ(into.curve(into.find_stage("train-1")->id).front().loss, 5.5);
}

TEST(Merge, AddsRulesThatOneSideScoredLater) {
  const TemporaryFolder folder;
  write_shard(folder / "a.db", 1, "first");
  write_shard(folder / "b.db", 1, "second");
  {
    auto other = Store::open(folder / "b.db", Store::Mode::kCreate);
    other.rescore_stage(
        other.find_stage("gsm8k-1")->id, {{0, "numeric", "18", true}},
        {{.name = "gsm8k_pass1_numeric", .value = 1, .unit = "1", .n = 1, .dataset = "gsm8k"}});
  }
  auto into = Store::open(folder / "a.db", Store::Mode::kCreate);
  const auto merged = merge_database(into, folder / "b.db");
  EXPECT_TRUE(merged.written);
  EXPECT_EQ(merged.figures, 2);
  EXPECT_EQ(into.generation_scores(into.find_stage("gsm8k-1")->id).size(), 2U);
}

TEST(Merge, ARunningStageArrivesAsStopped) {
  const TemporaryFolder folder;
  {
    auto store = Store::open(folder / "a.db", Store::Mode::kCreate);
    const auto run = store.begin_run({.machine = "first"});
    const auto suite = store.add_suite("sample", R"({"name":"sample"})");
    const auto cell = store.add_cell(sample_cell(suite, "oasis", 1));
    const auto train = store.plan_stage(cell, sample_stage("train", "pretrain"));
    ASSERT_TRUE(store.begin_stage(train.id, run, "cpu", "float32"));
    store.add_curve_points(train.id, {{1, 2048, 5.5, 4e-4, 1.5, 0.25}});
  }
  auto into = Store::open(folder / "all.db", Store::Mode::kCreate);
  ASSERT_TRUE(merge_database(into, folder / "a.db").written);
  const auto row = into.find_stage("train");
  EXPECT_EQ(row->state, StageState::kStopped);
  EXPECT_EQ(into.curve(row->id).size(), 1U);
}

TEST(Merge, RefusesItselfAndWhatIsNoDatabase) {
  const TemporaryFolder folder;
  write_shard(folder / "a.db", 1, "first");
  auto into = Store::open(folder / "a.db", Store::Mode::kCreate);
  expect_error(Error::Kind::kBadInput, {"a.db", "merged into"},
               [&] { merge_database(into, folder / "a.db"); });
  expect_error(Error::Kind::kBadInput, {"missing.db", "no such database"},
               [&] { merge_database(into, folder / "missing.db"); });
}

}  // namespace
}  // namespace oasis
