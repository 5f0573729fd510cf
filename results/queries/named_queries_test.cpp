#include "results/queries/named_queries.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <sstream>

#include "results/test_support.h"

namespace oasis {
namespace {

class NamedQueries : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = Store::open(path_, Store::Mode::kCreate);
    write_sample_results(store, "first");
    store.begin_run({.machine = "second", .source_revision = "fedcba9876543210"});
  }

  std::string run(const std::string& name, const QueryParameters& given = {}) {
    const auto store = Store::open(path_, Store::Mode::kReadOnly);
    const auto& query = find_named_query(name);
    std::ostringstream output;
    run_query(store, query.sql, QueryFormat::kCsv, {}, output, complete_parameters(query, given));
    return output.str();
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "r.db";
};

TEST_F(NamedQueries, EachHasATitleAndRunsWithItsDefaults) {
  ASSERT_GE(named_queries().size(), 5U);
  for (const auto& query : named_queries()) {
    EXPECT_FALSE(query.title.empty()) << query.name;
    for (const auto& parameter : query.parameters) {
      EXPECT_FALSE(parameter.description.empty()) << query.name << " " << parameter.name;
    }
    EXPECT_NE(run(query.name).find('\n'), std::string::npos) << query.name;
  }
}

TEST_F(NamedQueries, BestMethods) {
  const auto rows = run("best-methods");
  EXPECT_NE(rows.find("full precision,attnres,105.0,"), std::string::npos) << rows;
  EXPECT_EQ(rows.find(",oasis,"), std::string::npos) << rows;
  EXPECT_EQ(run("best-methods", {{"dataset", "books"}}).find("attnres"), std::string::npos);
}

TEST_F(NamedQueries, RunDifferencesTellsWhatDiffersAndWhichRunIsMissing) {
  const auto rows = run("run-differences");
  EXPECT_NE(rows.find("machine,first,second\n"), std::string::npos) << rows;
  EXPECT_NE(rows.find("source revision,0123456789abcdef,fedcba9876543210\n"), std::string::npos);
  EXPECT_EQ(rows.find("in this database"), std::string::npos) << rows;
  EXPECT_EQ(run("run-differences", {{"second", "1"}}), "fact,first,second\n");
  EXPECT_NE(run("run-differences", {{"second", "99"}}).find("in this database,yes,no\n"),
            std::string::npos);
  EXPECT_EQ(run("run-differences", {{"first", "98"}, {"second", "99"}}),
            "fact,first,second\nin this database,no,no\n");
}

TEST_F(NamedQueries, SlowestStagesTakesALimit) {
  {
    auto store = Store::open(path_, Store::Mode::kCreate);
    store.database().exec("UPDATE stages SET seconds = id");
  }
  const auto rows = run("slowest-stages", {{"rows", "2"}});
  EXPECT_EQ(std::count(rows.begin(), rows.end(), '\n'), 3) << rows;
}

TEST_F(NamedQueries, ValuesAreBoundNotPasted) {
  const std::string hostile = "books'; DELETE FROM metrics; --";
  EXPECT_EQ(run("best-methods", {{"dataset", hostile}}).find("attnres"), std::string::npos);
  expect_error(Error::Kind::kBadInput, {"rows", "'2; DROP'", "integer"}, [&] {
    run("slowest-stages", {{"rows", "2; DROP"}});
  });
  expect_error(Error::Kind::kBadInput,
               {"no parameter 'row'", "did you mean 'rows'", "it has: rows"}, [&] {
                 run("slowest-stages", {{"row", "2"}});
               });
  expect_error(Error::Kind::kBadInput,
               {"slowest-stage'", "did you mean 'slowest-stages'", "--list"},
               [&] { run("slowest-stage"); });
}

}  // namespace
}  // namespace oasis
