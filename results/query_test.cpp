#include "results/query.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "results/schema.h"
#include "results/test_support.h"
#include "support/sha256.h"

namespace oasis {
namespace {

using namespace std::chrono_literals;

class Query : public ::testing::Test {
 protected:
  void SetUp() override {
    auto store = Store::open(path_, Store::Mode::kCreate);
    write_sample_results(store);
  }

  std::string run(const std::string& sql, QueryFormat format = QueryFormat::kCsv,
                  const QueryLimits& limits = {}) {
    const auto store = Store::open(path_, Store::Mode::kReadOnly);
    std::ostringstream output;
    outcome_ = run_query(store, sql, format, limits, output);
    return output.str();
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "r.db";
  QueryOutcome outcome_;
};

TEST_F(Query, ReadsTablesAndViews) {
  EXPECT_EQ(run("SELECT method, count(*) AS n FROM cells GROUP BY method -- a comment"),
            "method,n\nattnres,2\noasis,2\nsoftmax1,1\nsparsemax,1\n");
  EXPECT_EQ(outcome_.rows, 4);
  EXPECT_FALSE(outcome_.more);
  EXPECT_EQ(run("SELECT mean, seeds FROM table_perplexity WHERE metric = 'perplexity';"),
            "mean,seeds\n105.0,2\n125.0,2\n");
  EXPECT_EQ(run("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3)"
                " SELECT sum(x) FROM c"),
            "sum(x)\n6\n");
  EXPECT_NE(
      run("EXPLAIN QUERY PLAN SELECT * FROM metrics WHERE stage_id = 1").find("USING PRIMARY"),
      std::string::npos);
  EXPECT_EQ(run("PRAGMA user_version"),
            fmt::format("user_version\n{}\n", schema_migrations().back().version));
  EXPECT_NE(run("PRAGMA table_info(metrics)").find("value,REAL"), std::string::npos);
  EXPECT_EQ(run("SELECT name FROM pragma_table_info('meta') LIMIT 1"), "name\nname\n");
}

TEST_F(Query, ReadsFilesOfEveryOlderVersionWhichStayAsTheyAre) {
  const auto versions = schema_migrations();
  for (std::size_t have = 1; have < versions.size(); ++have) {
    path_ = folder_ / fmt::format("version-{}.db", have);
    {
      SQLite::Database old(path_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
      migrate_schema(old, path_, 1s, versions.first(have));
      old.exec("INSERT INTO suites (name, hash, json, used) VALUES ('s', 'h', '{}', 't')");
    }
    EXPECT_EQ(run("SELECT name FROM suites"), "name\ns\n");
    EXPECT_EQ(run("SELECT count(*) AS n FROM table_gsm8k"), "n\n0\n");
    SQLite::Database old(path_, SQLite::OPEN_READONLY);
    EXPECT_EQ(old.execAndGet("PRAGMA user_version").getInt(), static_cast<int>(have));
  }
}

TEST_F(Query, EveryViewWorksOnAReadOnlyHandle) {
  std::istringstream names(run("SELECT name FROM sqlite_schema WHERE type = 'view'"));
  std::string name;
  std::getline(names, name);
  int views = 0;
  while (std::getline(names, name)) {
    EXPECT_FALSE(run("SELECT * FROM " + name).empty()) << name;
    // The sample holds no benchmarks.
    EXPECT_TRUE(outcome_.rows > 0 || name == "table_bench") << name;
    ++views;
  }
  EXPECT_GE(views, 15);
}

TEST_F(Query, Formats) {
  const std::string sql =
      "SELECT 1 AS a, 0.1 AS b, NULL AS a, 'x,\"y\"' || char(10, 27) AS t, x'ff00' AS blob, 2.0 AS "
      "c";
  EXPECT_EQ(run(sql), "a,b,a,t,blob,c\n1,0.1,,\"x,\"\"y\"\"\n\x1b\",ff00,2.0\n");
  EXPECT_EQ(run(sql, QueryFormat::kTable),
            "a    b     a  t            blob    c\n"
            "-  ---  ----  -----------  ----  ---\n"
            "1  0.1  NULL  x,\"y\"\\n\\x1b  ff00  2.0\n");
  const auto json = nlohmann::json::parse(run(sql, QueryFormat::kJson));
  EXPECT_EQ(json.size(), 1U);
  EXPECT_EQ(json[0]["a"], 1);
  EXPECT_TRUE(json[0]["a_2"].is_null());
  EXPECT_EQ(json[0]["b"], 0.1);
  EXPECT_EQ(json[0]["t"], "x,\"y\"\n\x1b");
  EXPECT_EQ(run("SELECT 1 AS a WHERE 0", QueryFormat::kJson), "[]\n");
  EXPECT_EQ(run("SELECT 1e999 AS a", QueryFormat::kJson), "[\n{\"a\":null}\n]\n");
  EXPECT_NE(run("SELECT printf('%.200c', '\u00e4') AS wide", QueryFormat::kTable).find("…"),
            std::string::npos);
}

TEST_F(Query, LimitsRowsTimeAndMemory) {
  EXPECT_EQ(run("SELECT name FROM metrics", QueryFormat::kCsv, {.time = 10s, .rows = 2}).size(),
            run("SELECT name FROM metrics LIMIT 2").size());
  run("SELECT name FROM metrics", QueryFormat::kCsv, {.time = 10s, .rows = 2});
  EXPECT_EQ(outcome_.rows, 2);
  EXPECT_TRUE(outcome_.more);
  const auto start = std::chrono::steady_clock::now();
  expect_error(Error::Kind::kBadInput, {"longer than 0.1 s", "--time-limit"}, [&] {
    run("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c",
        QueryFormat::kCsv, {.time = 100ms, .rows = {}});
  });
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
  expect_error(Error::Kind::kBadInput, {"memory"}, [&] { run("SELECT zeroblob(900000000)"); });
}

TEST_F(Query, WrongSqlIsExplained) {
  expect_error(Error::Kind::kBadInput, {"query: ", "syntax error", "--schema"},
               [&] { run("SELEKT 1"); });
  expect_error(Error::Kind::kBadInput, {"no such table: metrix", "did you mean 'metrics'"},
               [&] { run("SELECT * FROM metrix"); });
  expect_error(Error::Kind::kBadInput, {"no such column: valu"},
               [&] { run("SELECT valu FROM metrics"); });
  expect_error(Error::Kind::kBadInput, {"empty"}, [&] { run(" -- nothing"); });
  expect_error(Error::Kind::kBadInput, {"parameter :x"}, [&] { run("SELECT :x"); });
  expect_error(Error::Kind::kBadInput, {"zero byte"}, [&] { run(std::string("SELECT 1\0;", 10)); });
}

TEST_F(Query, WhateverWritesIsRefusedAndTheFileStaysTheSame) {
  const auto before = sha256_file(path_);
  const auto escaped = (folder_ / "escaped.db").string();
  const std::vector<std::string> hostile = {
      "DELETE FROM metrics",
      "DELETE FROM metrics RETURNING *",
      "INSERT INTO meta VALUES ('a', 'b')",
      "INSERT INTO meta VALUES ('a', 'b') RETURNING name",
      "REPLACE INTO meta VALUES ('a', 'b')",
      "UPDATE metrics SET value = 0",
      "UPDATE metrics SET value = 0 RETURNING value",
      "WITH x AS (SELECT 1) DELETE FROM metrics WHERE 1",
      "DROP TABLE metrics",
      "DROP VIEW claims",
      "CREATE TABLE t (a)",
      "CREATE TEMP TABLE t (a)",
      "CREATE VIEW v AS SELECT 1",
      "CREATE INDEX i ON metrics (value)",
      "CREATE TRIGGER t AFTER INSERT ON metrics BEGIN DELETE FROM metrics; END",
      "CREATE VIRTUAL TABLE v USING fts5(a)",
      "ALTER TABLE metrics ADD COLUMN a",
      "ATTACH '" + escaped + "' AS other",
      "DETACH main",
      "VACUUM",
      "VACUUM INTO '" + escaped + "'",
      "REINDEX",
      "ANALYZE",
      "BEGIN",
      "BEGIN IMMEDIATE",
      "COMMIT",
      "ROLLBACK",
      "SAVEPOINT a",
      "PRAGMA query_only = OFF",
      "PRAGMA writable_schema = ON",
      "PRAGMA user_version = 9",
      "PRAGMA journal_mode = DELETE",
      "PRAGMA wal_checkpoint(TRUNCATE)",
      "PRAGMA optimize",
      "PRAGMA trusted_schema = ON",
      "PRAGMA temp_store_directory = '/tmp'",
      "PRAGMA incremental_vacuum(1)",
      "SELECT * FROM pragma_user_version(9)",
      "SELECT * FROM pragma_journal_mode('delete')",
      "SELECT load_extension('/tmp/x.so')",
      "SELECT fts3_tokenizer('simple')",
      "EXPLAIN DELETE FROM metrics",
      "SELECT 1; DELETE FROM metrics",
      "SELECT 1; SELECT 2",
      "/* */ ; DELETE FROM metrics",
      "DELETE FROM metrics; SELECT 1",
  };
  for (const auto& sql : hostile) {
    for (const auto format : {QueryFormat::kTable, QueryFormat::kCsv, QueryFormat::kJson}) {
      try {
        run(sql, format);
        ADD_FAILURE() << "ran: " << sql;
      } catch (const Error& error) {
        EXPECT_EQ(error.exit_status(), 2) << sql << ": " << error.what();
      }
    }
    EXPECT_EQ(sha256_file(path_), before) << sql;
  }
  EXPECT_FALSE(std::filesystem::exists(escaped));
  EXPECT_EQ(run("SELECT count(*) FROM metrics"), "count(*)\n32\n");
}

TEST_F(Query, NeedsAReadOnlyStore) {
  const auto store = Store::open(path_, Store::Mode::kCreate);
  std::ostringstream output;
  expect_error(Error::Kind::kFailed, {"read-only store"},
               [&] { run_query(store, "SELECT 1", QueryFormat::kCsv, {}, output); });
}

TEST_F(Query, ReadsWhileAnotherProcessWrites) {
  auto writer = Store::open(path_, Store::Mode::kCreate);
  writer.database().exec("BEGIN IMMEDIATE; DELETE FROM metrics");
  EXPECT_EQ(run("SELECT count(*) FROM metrics"), "count(*)\n32\n");  // the last whole state
  writer.database().exec("ROLLBACK");
}

TEST(Schema, TextHoldsEveryTableWithItsComments) {
  const std::string text = schema_text();
  for (const char* part :
       {"-- Schema version", "CREATE TABLE metrics", "CREATE TABLE benchmarks",
        "-- NULL: full precision", "CREATE VIEW table_outliers", "CREATE INDEX"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
  SQLite::Database memory(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  memory.exec(text);  // it is SQL
}

}  // namespace
}  // namespace oasis
