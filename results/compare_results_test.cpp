#include "results/compare_results.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "results/test_support.h"

namespace oasis {
namespace {

class CompareResults : public ::testing::Test {
 protected:
  // A suite of `oasis` with one perplexity for each seed, and a figure that varies from run to run.
  std::filesystem::path write(const std::string& name, const std::vector<double>& perplexities,
                              const std::string& metric = "perplexity",
                              const std::string& config = "{}") {
    auto path = folder_ / name;
    auto store = Store::open(path, Store::Mode::kCreate);
    const auto run = store.begin_run({.machine = name});
    const auto suite = store.add_suite("sample", "{}");
    for (std::size_t seed = 0; seed < perplexities.size(); ++seed) {
      auto cell = sample_cell(suite, "oasis", static_cast<std::int64_t>(seed));
      cell.config_json = config;
      const auto stage = store.plan_stage(
          store.add_cell(cell), sample_stage(fmt::format("e{}", seed), "evaluate", "books"));
      EXPECT_TRUE(store.begin_stage(stage.id, run, "cpu", "float32"));
      store.finish_stage(
          stage.id, {.metrics = {{.name = metric, .value = perplexities[seed], .unit = "1", .n = 8},
                                 {.name = "seconds",
                                  .value = 1.0 + static_cast<double>(name.size()),
                                  .unit = "s",
                                  .n = 1,
                                  .varies = true}}});
    }
    return path;
  }

  ResultComparison compare(const std::filesystem::path& before,
                           const std::filesystem::path& after) {
    return compare_results(Store::open(before, Store::Mode::kReadOnly),
                           Store::open(after, Store::Mode::kReadOnly));
  }

  FigureVerdict verdict(const std::vector<double>& before, const std::vector<double>& after,
                        const std::string& metric = "perplexity") {
    const auto found = compare(write(fmt::format("a{}", count_), before, metric),
                               write(fmt::format("b{}", count_), after, metric));
    ++count_;
    EXPECT_EQ(found.figures.size(), 1U);
    return found.figures.at(0).verdict;
  }

  TemporaryFolder folder_;
  int count_ = 0;
};

TEST_F(CompareResults, VerdictsOverSeeds) {
  const std::vector<double> base = {100, 110, 90, 105, 95};
  const auto times = [&](std::vector<double> factors) {
    for (std::size_t i = 0; i < factors.size(); ++i) factors[i] *= base[i];
    return factors;
  };
  EXPECT_EQ(verdict(base, base), FigureVerdict::kEqual);
  EXPECT_EQ(verdict(base, times({1.02, 1.03, 1.01, 1.02, 1.04})), FigureVerdict::kWorse);
  EXPECT_EQ(verdict(base, times({0.98, 0.97, 0.99, 0.98, 0.96})), FigureVerdict::kBetter);
  EXPECT_EQ(verdict(base, times({1.02, 0.97, 1.01, 0.98, 1.01})),
            FigureVerdict::kNotDistinguishable);
  // Sure of its sign, but nobody reads it.
  EXPECT_EQ(verdict(base, times({1 + 2e-8, 1 + 3e-8, 1 + 1e-8, 1 + 2e-8, 1 + 4e-8})),
            FigureVerdict::kNotDistinguishable);
  EXPECT_EQ(verdict({100, 110}, {200, 220}), FigureVerdict::kNoiseUnknown);
}

TEST_F(CompareResults, MoreIsBetterOfAnswersAndNeitherOfSinks) {
  EXPECT_EQ(verdict({0.1, 0.2, 0.15}, {0.2, 0.31, 0.26}, "gsm8k_pass1_strict"),
            FigureVerdict::kBetter);
  EXPECT_EQ(verdict({0.2, 0.31, 0.26}, {0.1, 0.2, 0.15}, "gsm8k_pass1_strict"),
            FigureVerdict::kWorse);
  EXPECT_EQ(verdict({0.1, 0.2, 0.15}, {0.2, 0.31, 0.26}, "first_token_mass"),
            FigureVerdict::kHigher);
  // From zero there is no percentage.
  const auto found = compare(write("a", {0, 0, 0}, "massive_activations"),
                             write("b", {3, 4, 5}, "massive_activations"));
  EXPECT_EQ(found.figures.at(0).effect_unit, "1");
  EXPECT_DOUBLE_EQ(found.figures[0].effect, 4);
}

TEST_F(CompareResults, CountsWhatOneRunLacksAndNamesOtherConfigurations) {
  auto found = compare(write("a", {1, 2, 3, 4}), write("b", {1, 2, 3}));
  EXPECT_EQ(found.only_before, 1);
  EXPECT_EQ(found.only_after, 0);
  EXPECT_EQ(found.figures.at(0).seeds, 3);
  EXPECT_EQ(found.regressions(), 0);
  found = compare(write("c", {1, 2}), write("d", {1, 2}, "perplexity", R"({"hidden_size":32})"));
  EXPECT_TRUE(found.figures.empty());
  EXPECT_EQ(found.unlike.at(0), "sample: oasis/books/tiny/0");
  EXPECT_EQ(found.unlike.size(), 2U);
}

TEST_F(CompareResults, AStageThatFailsNowIsARegression) {
  const auto before = write("a", {1, 2}), after = write("b", {1, 2});
  {
    auto store = Store::open(after, Store::Mode::kCreate);
    store.database().exec(
        "UPDATE stages SET state = 'failed', error = 'not a number' WHERE id = 2");
  }
  const auto found = compare(before, after);
  EXPECT_EQ(found.failed.at(0), "sample: oasis/books/tiny/1: evaluate: not a number");
  EXPECT_EQ(found.regressions(), 1);
  EXPECT_EQ(compare(after, before).regressions(), 0);
}

}  // namespace
}  // namespace oasis
