#include "results/schema.h"

#include <gtest/gtest.h>

#include <array>

#include "results/bound_statement.h"
#include "results/sql_text.h"
#include "results/test_support.h"

namespace oasis {
namespace {

using namespace std::chrono_literals;

int version_of(SQLite::Database& database) {
  return database.execAndGet("PRAGMA user_version").getInt();
}

const std::array kThreeVersions = {
    Migration{1, kSchemaV1Sql},
    Migration{2, "ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT 'old'"},
    Migration{3,
              "ALTER TABLE curves RENAME TO loss_curves; CREATE TABLE extra (id INTEGER) STRICT"
              "; ALTER TABLE loss_curves RENAME TO curves"}};

TEST(Schema, FreshFileIsNewestStrictWalWithForeignKeys) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  auto& database = store.database();
  EXPECT_EQ(version_of(database), schema_migrations().back().version);
  EXPECT_EQ(database.execAndGet("PRAGMA application_id").getInt(), kApplicationId);
  EXPECT_EQ(database.execAndGet("PRAGMA journal_mode").getString(), "wal");
  EXPECT_EQ(database.execAndGet("PRAGMA foreign_keys").getInt(), 1);
  EXPECT_EQ(database
                .execAndGet("SELECT count(*) FROM pragma_table_list WHERE type = 'table' AND NOT"
                            " strict AND name NOT LIKE 'sqlite%'")
                .getInt(),
            0);
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM paper_claims").getInt(), 4);
  // a text where a number belongs is refused
  EXPECT_THROW(database.exec("INSERT INTO meta VALUES (NULL, NULL)"), SQLite::Exception);
  EXPECT_THROW(database.exec("UPDATE paper_claims SET value = 'much'"), SQLite::Exception);
}

TEST(Schema, EveryTableSaysWhatARowIs) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  BoundStatement query(store.database(),
                       "SELECT name, sql FROM sqlite_schema WHERE type = 'table'");
  while (query.step()) {
    EXPECT_NE(query.text(1).find("\n  -- "), std::string::npos) << query.text(0);
  }
}

TEST(Schema, MigratesFromEveryOlderVersionAndKeepsRows) {
  for (std::size_t have = 1; have <= kThreeVersions.size(); ++have) {
    TemporaryFolder folder;
    const auto path = folder / "r.db";
    SQLite::Database database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate_schema(database, path, 1s, std::span(kThreeVersions).first(have));
    ASSERT_EQ(version_of(database), static_cast<int>(have));
    database.exec("INSERT INTO suites (name, hash, json, used) VALUES ('s', 'h', '{}', 't')");
    migrate_schema(database, path, 1s, kThreeVersions);
    EXPECT_EQ(version_of(database), 3);
    EXPECT_EQ(database.execAndGet("SELECT name FROM suites").getString(), "s");
    EXPECT_EQ(database.execAndGet("SELECT count(*) FROM table_training").getInt(), 0);
    migrate_schema(database, path, 1s, kThreeVersions);  // again changes nothing
    EXPECT_EQ(version_of(database), 3);
  }
}

TEST(Schema, MetricsOfVersionTwoAreKeptAndTakeIntervals) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  {
    SQLite::Database old(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate_schema(old, path, 1s, schema_migrations().first(2));
    old.exec(
        "INSERT INTO stages (id, key, kind, parent_key, config, evaluated_on, points, quantizer)"
        " VALUES (1, 'k', 'evaluate', '', '{}', 'books', '', '')");
    old.exec(
        "INSERT INTO metrics (stage_id, name, dataset, value, reason, unit, n, varies) VALUES"
        " (1, 'loss', 'books', 2.5, NULL, 'nat', 7, 0), (1, 'none', '', NULL, 'why', '1', 0, 1)");
  }
  auto store = Store::open(path, Store::Mode::kCreate);
  const auto metrics = store.metrics(1);
  ASSERT_EQ(metrics.size(), 2U);
  EXPECT_EQ(metrics[0].reason, "why");
  EXPECT_TRUE(metrics[0].varies);
  EXPECT_EQ(metrics[1].value, 2.5);
  EXPECT_EQ(metrics[1].n, 7);
  EXPECT_FALSE(metrics[1].interval);
  auto& database = store.database();
  database.exec("UPDATE metrics SET low = 2.0, high = 2.5 WHERE name = 'loss'");
  EXPECT_EQ(store.metrics(1)[1].interval->low, 2.0);
  for (const char* change : {"low = NULL", "low = 2.6", "high = 2.4"}) {
    EXPECT_THROW(
        database.exec(std::string("UPDATE metrics SET ") + change + " WHERE name = 'loss'"),
        SQLite::Exception)
        << change;
  }
  EXPECT_THROW(database.exec("UPDATE metrics SET stage_id = 9"), SQLite::Exception);
}

TEST(Schema, AFileOfVersionThreeTakesMassiveActivationsAndRanksSiteCosts) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  {
    SQLite::Database old(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate_schema(old, path, 1s, schema_migrations().first(3));
    old.exec(
        "INSERT INTO suites (id, name, hash, json, used) VALUES (1, 's', 'h', '{}', 't');"
        "INSERT INTO cells (id, suite_id, method, label, dataset, model, seed, config)"
        " VALUES (1, 1, 'm', 'm', 'd', 'x', 1, '{}');"
        "INSERT INTO stages (id, key, kind, parent_key, config, evaluated_on, weight_bits,"
        " activation_bits, points, quantizer, state)"
        " VALUES (1, 'k', 'quantized', '', '{}', 'books', 8, 8, 'published', '', 'done');"
        "INSERT INTO cell_stages (cell_id, stage_id) VALUES (1, 1);"
        "INSERT INTO site_statistics (stage_id, dataset, quantity, site, value, unit, n) VALUES"
        " (1, 'books', 'perplexity_none', '', 20, '1', 9),"
        " (1, 'books', 'perplexity_alone', 'a', 25, '1', 9),"
        " (1, 'books', 'perplexity_alone', 'broken', NULL, '1', 9),"
        " (1, 'books', 'perplexity_alone', 'b', 50, '1', 9)");
  }
  auto store = Store::open(path, Store::Mode::kCreate);
  BoundStatement costs(store.database(), "SELECT site, ratio FROM table_site_costs ORDER BY place");
  std::vector<std::string> sites;
  while (costs.step()) sites.push_back(costs.text(0));
  EXPECT_EQ(sites, (std::vector<std::string>{"broken", "b", "a"}));
  EXPECT_EQ(store.database()
                .execAndGet("SELECT ratio FROM table_site_costs WHERE site = 'b'")
                .getDouble(),
            2.5);
  const auto insert = [&](const char* layers) {
    store.database().exec(std::string("INSERT OR REPLACE INTO massive_activations VALUES"
                                      " (1, 'books', 5, 'x', 0, 3, ") +
                          layers + ", 6)");
  };
  insert("1, 4, -500.0, 2");
  EXPECT_EQ(
      store.database().execAndGet("SELECT largest FROM table_massive_activations").getDouble(),
      -500.0);
  EXPECT_THROW(insert("3, 4, -500.0, 2"), SQLite::Exception);
  EXPECT_THROW(insert("1, 4, 'much', 2"), SQLite::Exception);
}

TEST(Schema, FailedMigrationLeavesTheFileAsItWas) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  SQLite::Database database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  migrate_schema(database, path, 1s, std::span(kThreeVersions).first(1));
  database.exec("PRAGMA foreign_keys = OFF");
  database.exec("INSERT INTO suites (id, name, hash, json, used) VALUES (1, 's', 'h', '{}', 't')");
  const std::array broken = {Migration{1, kSchemaV1Sql},
                             Migration{2, "CREATE TABLE half (id INTEGER) STRICT; SELEKT"}};
  EXPECT_THROW(migrate_schema(database, path, 1s, broken), SQLite::Exception);
  const std::array dangling = {
      Migration{1, kSchemaV1Sql},
      Migration{2,
                "INSERT INTO cells (suite_id, method, label, dataset, model, seed, config)"
                " VALUES (99, 'm', 'm', 'd', 'x', 1, '{}')"}};
  expect_error(Error::Kind::kFailed, {"r.db", "cells", "schema version 1"},
               [&] { migrate_schema(database, path, 1s, dangling); });
  EXPECT_EQ(version_of(database), 1);
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM sqlite_schema WHERE name = 'half'").getInt(),
            0);
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM cells").getInt(), 0);
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM table_training").getInt(), 0);
}

TEST(Schema, NewerVersionIsRefusedNamingBoth) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  const int newest = schema_migrations().back().version;
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    store.database().exec("PRAGMA user_version = " + std::to_string(newest + 1));
  }
  for (const auto mode : {Store::Mode::kCreate, Store::Mode::kReadOnly}) {
    expect_error(
        Error::Kind::kBadInput,
        {"r.db", "schema version " + std::to_string(newest + 1), "up to " + std::to_string(newest)},
        [&] { Store::open(path, mode); });
  }
}

TEST(Schema, OldViewsAreReplacedAndUsersViewsStay) {
  TemporaryFolder folder;
  const auto path = folder / "r.db";
  {
    auto store = Store::open(path, Store::Mode::kCreate);
    auto& database = store.database();
    database.exec("CREATE VIEW mine AS SELECT 1 AS one");
    database.exec("DROP VIEW table_sinks; CREATE VIEW table_sinks AS SELECT 'stale' AS suite");
    database.exec("CREATE VIEW gone AS SELECT 1 AS one");
    database.exec("UPDATE meta SET value = value || ' gone' WHERE name = 'views'");
    database.exec("UPDATE meta SET value = 'older' WHERE name = 'views_sha256'");
  }
  {  // a reader sees the current ones without writing
    auto store = Store::open(path, Store::Mode::kReadOnly);
    EXPECT_EQ(store.database().execAndGet("SELECT count(*) FROM table_sinks").getInt(), 0);
    EXPECT_EQ(store.database()
                  .execAndGet("SELECT value FROM meta WHERE name = 'views_sha256'")
                  .getString(),
              "older");
  }
  auto store = Store::open(path, Store::Mode::kCreate);
  auto& database = store.database();
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM table_sinks").getInt(), 0);
  EXPECT_EQ(database.execAndGet("SELECT one FROM mine").getInt(), 1);
  EXPECT_EQ(database.execAndGet("SELECT count(*) FROM sqlite_schema WHERE name = 'gone'").getInt(),
            0);
}

}  // namespace
}  // namespace oasis
