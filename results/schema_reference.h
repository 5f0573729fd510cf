// docs/results-schema.md: the schema of a results database as a page, from the comments that
// SQLite keeps in the database itself.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace oasis {

// One definition inside CREATE TABLE (…): a column, or a constraint of the table.
struct TableDefinition {
  std::string name;     // its first word, without quotes: of a column, the column's name
  std::string text;     // as written, blanks joined, without comments
  std::string comment;  // blanks joined; '' without one
};

struct TableText {
  std::string comment;  // what a row is
  std::vector<TableDefinition> definitions;
};

// Takes a CREATE TABLE statement apart. A comment belongs to the definition that it stands in or
// after. SQLite puts a column of ALTER TABLE before the comment of the column before it: of two
// comments the second is that one's. Throws Error (failed) for anything else than CREATE TABLE.
TableText parse_table(std::string_view sql);

// Markdown: every table with its columns, keys and indexes, every view with its columns, of the
// schema of this build.
std::string schema_reference();

}  // namespace oasis
