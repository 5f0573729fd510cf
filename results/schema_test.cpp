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
  {
    SQLite::Database database(path, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    migrate_schema(database, path, 1s, kThreeVersions);
  }
  const auto newest = std::to_string(schema_migrations().back().version);
  for (const auto mode : {Store::Mode::kCreate, Store::Mode::kReadOnly}) {
    expect_error(Error::Kind::kBadInput, {"r.db", "schema version 3", "up to " + newest},
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
