#include "suites/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <set>
#include <thread>

#include "suites/cell_lock.h"
#include "suites/test_names.h"
#include "support/atomic_file.h"
#include "support/error.h"
#include "support/sha256.h"

namespace oasis {
namespace {

using testing_names::known_names;
using testing_names::small_suite;

constexpr std::int64_t kSteps = 20;
constexpr std::int64_t kCheckpointEvery = 5;

struct Killed {};  // not a std::exception: nothing between the runner and the test may stop it

// "Training" is a recurrence over a number; its checkpoint is a file of (step, number).
class FakeRunner : public StageRunner {
 public:
  std::function<void(const Cell&, std::int64_t step)> before_step;
  std::function<void(const Stage&)> before_evaluation;
  std::vector<std::string> ran;

  StageOutcome run(const Plan&, const Cell& cell, const Stage& stage,
                   StageContext& context) override {
    ran.push_back(cell.name + ": " + stage.description());
    return stage.kind == StageKind::kPretrain ? train(cell, context) : evaluate(stage, context);
  }
  std::string device_name() const override { return "cpu"; }

 private:
  struct State {
    std::int64_t step = 0;
    double value = 1;
  };

  static std::optional<State> load(const std::filesystem::path& path) {
    std::ifstream file(path);
    State state;
    std::string number;  // hexadecimal, which streams cannot read
    if (!(file >> state.step >> number)) return std::nullopt;
    state.value = std::strtod(number.c_str(), nullptr);
    return state;
  }

  StageOutcome train(const Cell& cell, StageContext& context) {
    const auto path = context.folder() / "checkpoint";
    State state = load(path).value_or(State{0, 1.0 + static_cast<double>(cell.seed)});
    context.begins_at(state.step);
    context.begin_progress(static_cast<double>(state.step), kSteps, "steps");
    while (state.step < kSteps) {
      if (before_step) before_step(cell, state.step + 1);
      state.value = state.value * 0.9 + 0.01 * static_cast<double>(cell.method.label.size());
      if (std::isnan(state.value)) break;
      ++state.step;
      context.record({state.step, state.step * 100, state.value, 1e-3, 1.0, 0.5});
      context.progress(static_cast<double>(state.step), "");
      const bool stop = context.stop_requested() && state.step < kSteps;
      if (stop || state.step % kCheckpointEvery == 0) save(path, state, context);
      if (stop) {
        return {.kind = StageOutcome::Kind::kStopped,
                .result = {},
                .step = state.step,
                .checkpoint = Artifact{path.string(), "x"},
                .reason = ""};
      }
    }
    StageOutcome outcome;
    outcome.result.metrics = {{"train_tokens", kSteps * 100.0, "tokens", 1, "", "", false}};
    outcome.result.artifact = Artifact{path.string(), sha256_file(path)};
    outcome.result.step = state.step;
    return outcome;
  }

  static void save(const std::filesystem::path& path, const State& state, StageContext& context) {
    context.flush();
    write_file_atomically(path, fmt::format("{} {:a}", state.step, state.value));
  }

  StageOutcome evaluate(const Stage& stage, StageContext& context) const {
    if (before_evaluation) before_evaluation(stage);
    const auto state = load(context.parent_checkpoint());
    if (!state || state->step != kSteps) {
      throw bad_input("{}: damaged", context.parent_checkpoint().string());
    }
    const double bits = stage.quantization ? 1.5 : 1.0;
    StageOutcome outcome;
    outcome.result.metrics = {{"loss", state->value * bits, "nat/token", 64, "", "", false}};
    return outcome;
  }
};

class EngineTest : public ::testing::Test {
 protected:
  void SetUp() override {
    stop_on_signals();
    root_ = std::filesystem::temp_directory_path() / fmt::format("oasis_engine_{}", ::getpid());
    std::filesystem::remove_all(root_);
    const Suite suite = parse_suite(small_suite().dump(), "x.json", known_names());
    const SplitIdentity split{"aaaa", 10'000, 40'000, 300};
    const SuiteData data = {
        {{"books", {split, {{"books", split}, {"wikitext-2", {"bb", 9'000, 40'000, 300}}}}}}};
    plan_ = make_plan(suite, data, {}, known_names(), "x.json");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  RunSummary run(const std::string& folder, FakeRunner& runner,
                 std::optional<double> time_limit = std::nullopt, const Selection& selection = {}) {
    Store store = open_run_folder(root_ / folder);
    StopSource stop(time_limit);
    std::FILE* quiet = std::fopen("/dev/null", "w");
    RunSummary summary;
    {
      ProgressLine progress(quiet);
      Engine engine(plan_, store, root_ / folder, runner, stop, progress);
      const std::int64_t run_id = store.begin_run({});
      try {
        summary = engine.run(select_cells(plan_, selection), run_id);
      } catch (...) {
        std::fclose(quiet);
        throw;
      }
      store.end_run(run_id);
    }
    std::fclose(quiet);
    return summary;
  }

  std::string contents(const std::string& folder) const {
    return Store::open(database_of(root_ / folder), Store::Mode::kReadOnly).comparable_contents();
  }

  std::string undisturbed() {
    FakeRunner runner;
    run("undisturbed", runner);
    return contents("undisturbed");
  }

  std::filesystem::path root_;
  Plan plan_;
};

TEST_F(EngineTest, RunsEveryStageOnceAndNeverAgain) {
  FakeRunner runner;
  const RunSummary first = run("a", runner);
  EXPECT_EQ(first.stages_run, 20);
  EXPECT_TRUE(first.failures.empty());
  EXPECT_EQ(runner.ran.front(), "attnres/books/m/0: pretrain books");
  runner.ran.clear();
  const RunSummary second = run("a", runner);
  EXPECT_EQ(second.stages_run, 0);
  EXPECT_EQ(second.stages_known, 20);
  EXPECT_TRUE(runner.ran.empty());
}

TEST_F(EngineTest, KilledAtAnyStepEndsWithTheSameContents) {
  const std::string expected = undisturbed();
  for (const std::int64_t kill_at : {1, 4, 5, 6, 13, 20}) {
    const std::string folder = fmt::format("killed{}", kill_at);
    FakeRunner dies;
    dies.before_step = [&](const Cell& cell, std::int64_t step) {
      if (cell.method.label == "oasis" && step == kill_at) throw Killed();
    };
    EXPECT_THROW(run(folder, dies), Killed);
    EXPECT_FALSE(contents(folder) == expected);
    FakeRunner runner;
    run(folder, runner);
    EXPECT_TRUE(contents(folder) == expected) << "killed before step " << kill_at;
    EXPECT_EQ(runner.ran.front(), "oasis/books/m/0: pretrain books");
  }
}

TEST_F(EngineTest, AFailedCellLeavesTheOthersAlone) {
  FakeRunner runner;
  runner.before_step = [](const Cell& cell, std::int64_t step) {
    if (cell.name == "oasis/books/m/0" && step == 7) throw failed("loss is NaN at step 7");
  };
  const RunSummary summary = run("a", runner);
  ASSERT_EQ(summary.failures.size(), 1u);
  EXPECT_EQ(summary.failures[0].cell, "oasis/books/m/0");
  EXPECT_EQ(summary.failures[0].reason, "loss is NaN at step 7");
  EXPECT_EQ(summary.stages_run, 15);
  const Store store = Store::open(database_of(root_ / "a"), Store::Mode::kReadOnly);
  const auto row = store.find_stage(plan_.cells[1].pretrain().key);
  EXPECT_EQ(row->state, StageState::kFailed);
  EXPECT_EQ(row->error, "loss is NaN at step 7");
  EXPECT_EQ(store.find_stage(plan_.cells[1].stages[1].key)->state, StageState::kPending);
}

TEST_F(EngineTest, AFailedCellIsTriedAgainAndEndsTheSame) {
  const std::string expected = undisturbed();
  FakeRunner runner;
  runner.before_step = [](const Cell&, std::int64_t step) {
    if (step == 7) throw failed("loss is NaN at step 7");
  };
  EXPECT_EQ(run("a", runner).failures.size(), 4u);
  runner.before_step = nullptr;
  EXPECT_TRUE(run("a", runner).failures.empty());
  EXPECT_TRUE(contents("a") == expected);
}

TEST_F(EngineTest, WhatTheUserMustMendEndsTheRunAndNothingIsLost) {
  const std::string expected = undisturbed();
  for (const auto& [folder, error] :
       {std::pair("a", bad_input("shard-00000.bin: damaged")),
        std::pair("b", disk_full("checkpoint", "the previous version is untouched"))}) {
    FakeRunner runner;
    runner.before_step = [&](const Cell& cell, std::int64_t step) {
      if (cell.name == "oasis/books/m/0" && step == 7) throw error;
    };
    EXPECT_THROW(run(folder, runner), Error);
    runner.before_step = nullptr;
    run(folder, runner);
    EXPECT_TRUE(contents(folder) == expected);
  }
}

TEST_F(EngineTest, TimeLimitStopsAfterAStepAndGoesOnLater) {
  const std::string expected = undisturbed();
  FakeRunner slow;
  slow.before_step = [](const Cell&, std::int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  };
  int sessions = 0;
  while (run("a", slow, 0.15).stopped) {
    ASSERT_LT(++sessions, 50) << "no progress from session to session";
  }
  EXPECT_GE(sessions, 2);
  EXPECT_TRUE(contents("a") == expected);
}

TEST_F(EngineTest, SignalStopsLikeATimeLimit) {
  FakeRunner runner;
  runner.before_step = [](const Cell& cell, std::int64_t step) {
    if (cell.seed != 1 || step != 3) return;
    std::raise(SIGTERM);
    std::raise(SIGTERM);  // as timeout(1) sends it: to the process and to its group
  };
  EXPECT_TRUE(run("a", runner).stopped);
  EXPECT_EQ(StopSource().reason(), "asked to end (SIGTERM)");
  const Store store = Store::open(database_of(root_ / "a"), Store::Mode::kReadOnly);
  const auto row = store.find_stage(plan_.cells[2].pretrain().key);
  EXPECT_EQ(row->state, StageState::kStopped);
  EXPECT_EQ(row->step, 3);
}

TEST(StopDeathTest, SecondSignalLaterEndsTheProcess) {
  EXPECT_EXIT(
      {
        stop_on_signals();
        std::raise(SIGTERM);
        std::this_thread::sleep_for(std::chrono::milliseconds(1100));
        std::raise(SIGTERM);
        std::_Exit(0);
      },
      testing::KilledBySignal(SIGTERM), "");
}

TEST_F(EngineTest, ShardsTogetherAreTheWhole) {
  const std::string expected = undisturbed();
  Selection shard;
  for (const char* text : {"1/3", "2/3", "3/3"}) {
    FakeRunner runner;
    parse_shard(text, shard);
    run("a", runner, std::nullopt, shard);
  }
  EXPECT_TRUE(contents("a") == expected);
}

TEST_F(EngineTest, LostCheckpointIsTrainedAgainForTheEvaluationsThatMiss) {
  const std::string expected = undisturbed();
  FakeRunner dies;
  dies.before_evaluation = [](const Stage& stage) {
    if (stage.description() == "evaluate wikitext-2 W8A8") throw Killed();
  };
  EXPECT_THROW(run("a", dies), Killed);
  std::filesystem::remove_all(root_ / "a" / "cells");
  FakeRunner runner;
  run("a", runner);
  EXPECT_TRUE(contents("a") == expected);
}

TEST_F(EngineTest, TwoProcessesShareACellFolderOneAtATime) {
  const auto cell_folder = root_ / "a" / "cells" / plan_.cells[0].folder;
  auto held = CellLock::try_take(cell_folder);
  ASSERT_TRUE(held);
  EXPECT_FALSE(CellLock::try_take(cell_folder));
  EXPECT_NE(CellLock::holder(cell_folder).find(fmt::format("process {}", ::getpid())),
            std::string::npos);
  FakeRunner runner;
  // Long enough for the other cells on a busy machine; then the locked one is waited for.
  EXPECT_TRUE(run("a", runner, 5).stopped) << "a locked cell was not waited for";
  const std::set<std::string> ran(runner.ran.begin(), runner.ran.end());
  EXPECT_EQ(ran.size(), 15u);
  EXPECT_EQ(ran.count("attnres/books/m/0: pretrain books"), 0u);
  held.reset();
  EXPECT_EQ(run("a", runner).stages_run, 5);
}

TEST_F(EngineTest, UnwritableFolderIsBadInput) {
  std::filesystem::create_directories(root_);
  write_file_atomically(root_ / "file", "x");
  try {
    open_run_folder(root_ / "file" / "run");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_status(), 2);
    EXPECT_NE(std::string(error.what()).find("--out"), std::string::npos);
  }
}

TEST(Duration, Parses) {
  EXPECT_EQ(parse_duration("90"), 90);
  EXPECT_EQ(parse_duration("15m"), 900);
  EXPECT_EQ(parse_duration("1h30m"), 5400);
  EXPECT_EQ(parse_duration("0.5s"), 0.5);
  for (const char* text : {"", "m", "10x", "-5", "0", "1h30", "nan", "1e99h"}) {
    EXPECT_THROW(parse_duration(text), Error) << text;
  }
}

}  // namespace
}  // namespace oasis
