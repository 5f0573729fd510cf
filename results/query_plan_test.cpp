// Tables and common queries look their rows up: reading a table that grows with every training or
// evaluation from its start would take seconds at ten million rows (tests/python/bench_results.py).
#include <SQLiteCpp/Database.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "results/bound_statement.h"
#include "results/queries/named_queries.h"
#include "results/test_support.h"

namespace oasis {
namespace {

class QueryPlan : public ::testing::Test {
 protected:
  void SetUp() override {
    write_sample_results(store_);
    BoundStatement query(store_.database(),
                         "SELECT rootpage, tbl_name FROM sqlite_schema WHERE tbl_name IN"
                         " ('curves', 'layer_statistics', 'site_statistics', 'metrics', 'examples',"
                         "  'massive_activations', 'generations', 'generation_scores')");
    while (query.step()) large_[query.integer(0)] = query.text(1);
  }

  // The large tables that the compiled statement reads from their start, of themselves or of an
  // index.
  std::set<std::string> read_whole(const std::string& sql) {
    BoundStatement program(store_.database(), ("EXPLAIN " + sql).c_str());
    std::map<std::int64_t, std::string> cursors;
    std::set<std::string> found;
    while (program.step()) {
      const auto opcode = program.text(1);
      const auto cursor = program.integer(2);
      if (const auto table = large_.find(program.integer(3));
          (opcode == "OpenRead" || opcode == "ReopenIdx") && table != large_.end()) {
        cursors[cursor] = table->second;
      }
      if ((opcode == "Rewind" || opcode == "Last") && cursors.contains(cursor)) {
        found.insert(cursors[cursor]);
      }
    }
    return found;
  }

  TemporaryFolder folder_;
  Store store_ = Store::open(folder_ / "r.db", Store::Mode::kCreate);
  std::map<std::int64_t, std::string> large_;  // root page -> table
};

TEST_F(QueryPlan, TellsAScanFromALookup) {
  EXPECT_GE(large_.size(), 8U);
  EXPECT_EQ(read_whole("SELECT count(value) FROM metrics"), std::set<std::string>{"metrics"});
  EXPECT_TRUE(read_whole("SELECT value FROM metrics WHERE stage_id = 1").empty());
}

TEST_F(QueryPlan, EveryViewLooksUpTheRowsOfASuite) {
  BoundStatement views(store_.database(),
                       "SELECT name FROM sqlite_schema m WHERE type = 'view' AND"
                       " (SELECT count(*) FROM pragma_table_info(m.name) WHERE name = 'suite_id')");
  int seen = 0;
  for (; views.step(); ++seen) {
    const auto whole =
        read_whole(fmt::format("SELECT * FROM {} WHERE suite_id = ?", views.text(0)));
    EXPECT_TRUE(whole.empty()) << views.text(0) << " reads all of " << *whole.begin();
  }
  EXPECT_GE(seen, 18);
}

TEST_F(QueryPlan, EveryNamedQueryLooksRowsUp) {
  for (const auto& query : named_queries()) {
    const auto whole = read_whole(std::string(query.sql));
    EXPECT_TRUE(whole.empty()) << query.name << " reads all of " << *whole.begin();
  }
}

}  // namespace
}  // namespace oasis
