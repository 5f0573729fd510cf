#include "results/schema_reference.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "results/bound_statement.h"
#include "results/test_support.h"

namespace oasis {
namespace {

TEST(SchemaReference, CommentsBelongToWhatTheyStandIn) {
  const auto table = parse_table(
      "CREATE TABLE t (\n"
      "  -- one row for each (x,\n  -- or y)\n"
      "  a INTEGER PRIMARY KEY,  -- its number, from 0\n"
      "  b TEXT NOT NULL CHECK (b IN ('(', 'x,y')),\n"
      "  \"c\" REAL, d INTEGER  -- added; 'later'\n  CHECK (d > 0),  -- of c\n"
      "                         -- and more\n"
      "  e REAL  -- the last\n"
      ") STRICT");
  EXPECT_EQ(table.comment, "one row for each (x, or y)");
  ASSERT_EQ(table.definitions.size(), 5U);
  const auto expect = [&](size_t i, const std::string& name, const std::string& text,
                          const std::string& comment) {
    EXPECT_EQ(table.definitions[i].name, name);
    EXPECT_EQ(table.definitions[i].text, text);
    EXPECT_EQ(table.definitions[i].comment, comment);
  };
  expect(0, "a", "a INTEGER PRIMARY KEY", "its number, from 0");
  expect(1, "b", "b TEXT NOT NULL CHECK (b IN ('(', 'x,y'))", "");
  expect(2, "c", "\"c\" REAL", "of c and more");
  expect(3, "d", "d INTEGER CHECK (d > 0)", "added; 'later'");
  expect(4, "e", "e REAL", "the last");
  expect_error(Error::Kind::kFailed, {"CREATE VIEW"},
               [] { parse_table("CREATE VIEW v AS SELECT 1"); });
}

TEST(SchemaReference, TheCommittedPageIsTheGeneratedOne) {
  std::ifstream file(OASIS_SOURCE_FOLDER "/docs/results-schema.md");
  const std::string committed{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(committed == schema_reference())
      << "run: build/oasis query --schema --format markdown > docs/results-schema.md";
}

TEST(SchemaReference, NamesEveryTableAndColumn) {
  TemporaryFolder folder;
  auto store = Store::open(folder / "r.db", Store::Mode::kCreate);
  const auto page = schema_reference();
  BoundStatement query(store.database(),
                       "SELECT m.name, i.name FROM sqlite_schema m, pragma_table_info(m.name) i"
                       " WHERE m.type IN ('table', 'view')");
  int columns = 0;
  for (; query.step(); ++columns) {
    EXPECT_NE(page.find("### " + query.text(0) + "\n"), std::string::npos) << query.text(0);
    EXPECT_NE(page.find('`' + query.text(1) + '`'), std::string::npos) << query.text(1);
  }
  EXPECT_GT(columns, 200);
}

}  // namespace
}  // namespace oasis
