#include "results/schema_reference.h"

#include <SQLiteCpp/Database.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

#include "results/bound_statement.h"
#include "results/schema.h"
#include "results/table_text.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

// Appends the words of `text`, one blank between them.
void append_words(std::string& to, std::string_view text) {
  bool gap = !to.empty();
  for (const char c : text) {
    const bool blank = c == ' ' || c == '\n' || c == '\t';
    if (!blank && gap && !to.empty()) to += ' ';
    if (!blank) to += c;
    gap = blank;
  }
}

// A definition as it stands, with the comments before and after its comma.
struct Raw {
  std::string text, inside, after;
};

struct RawTable {
  std::string comment;
  std::vector<Raw> definitions;
};

RawTable take_apart(std::string_view sql) {
  const auto open = sql.find('(');
  if (!sql.starts_with("CREATE TABLE") || open == std::string_view::npos) {
    throw failed("not a CREATE TABLE statement: {}", sql.substr(0, 60));
  }
  RawTable table;
  Raw current;
  int depth = 1;
  for (auto at = open + 1; at < sql.size() && depth > 0;) {
    const auto rest = sql.substr(at);
    const char c = rest.front();
    std::size_t size = 1;
    if (rest.starts_with("--")) {
      size = std::min(rest.find('\n'), rest.size());
      auto& of_last = table.definitions.empty() ? table.comment : table.definitions.back().after;
      append_words(current.text.empty() ? of_last : current.inside, rest.substr(2, size - 2));
    } else if ((c == ',' && depth == 1) || (c == ')' && depth == 1)) {
      depth -= c == ')' ? 1 : 0;
      if (!current.text.empty()) table.definitions.push_back(std::exchange(current, {}));
    } else {
      if (c == '\'' || c == '"') size = std::min(rest.find(c, 1), rest.size() - 1) + 1;
      depth += c == '(' ? 1 : c == ')' ? -1 : 0;
      const bool blank = c == ' ' || c == '\n';
      if (!blank || !current.text.empty()) current.text += rest.substr(0, size);
    }
    at += size;
  }
  return table;
}

std::string first_word(const std::string& text) {
  const auto word = text.substr(0, text.find_first_of(" (\n"));
  return word.starts_with('"') ? word.substr(1, word.size() - 2) : word;
}

// Names in code quotes, with commas.
std::string code_list(const std::vector<std::string>& names) {
  std::vector<std::string> quoted;
  for (const auto& name : names) quoted.push_back('`' + name + '`');
  return join(quoted, ", ");
}

std::vector<std::string> column_names(SQLite::Database& database, const std::string& relation) {
  BoundStatement query(database, "SELECT name FROM pragma_table_info(?) ORDER BY cid");
  query.bind_all(relation);
  std::vector<std::string> names;
  while (query.step()) names.push_back(query.text(0));
  return names;
}

std::string table_page(SQLite::Database& database, const std::string& name,
                       const std::string& sql) {
  const auto table = parse_table(sql);
  std::map<std::string, TableDefinition> by_name;
  for (const auto& definition : table.definitions) by_name.emplace(definition.name, definition);
  TextTable columns{{{"Column", false}, {"Type", false}, {"", false}, {"Meaning", false}}, {}};
  BoundStatement query(database,
                       "SELECT name, type, \"notnull\", pk,"
                       " (SELECT f.\"table\" FROM pragma_foreign_key_list(?1) f"
                       "  WHERE f.\"from\" = i.name)"
                       " FROM pragma_table_info(?1) i ORDER BY cid");
  query.bind_all(name);
  while (query.step()) {
    std::vector<std::string> notes;
    if (query.integer(3) > 0) notes.emplace_back("key");
    if (query.integer(2) == 0 && query.integer(3) == 0) notes.emplace_back("may be NULL");
    if (!query.is_null(4)) notes.push_back(fmt::format("→ `{}`", query.text(4)));
    columns.rows.push_back({'`' + query.text(0) + '`', query.text(1), join(notes, ", "),
                            markdown_cell(by_name[query.text(0)].comment)});
  }
  std::string page = fmt::format("\n### {}\n\n{}\n\n{}", name, table.comment, to_markdown(columns));
  BoundStatement indexes(database,
                         "SELECT name FROM pragma_index_list(?) WHERE origin = 'c' ORDER BY name");
  indexes.bind_all(name);
  std::vector<std::string> found;
  while (indexes.step()) found.push_back(indexes.text(0));
  if (!found.empty()) page += fmt::format("\nIndexes: {}.\n", code_list(found));
  return page;
}

std::string view_page(SQLite::Database& database, const std::string& name, std::string_view sql) {
  std::string comment;
  auto rest = sql.substr(std::min(sql.find('\n'), sql.size()));
  while (rest.starts_with("\n  --")) {
    const auto end = std::min(rest.find('\n', 1), rest.size());
    append_words(comment, rest.substr(5, end - 5));
    rest = rest.substr(end);
  }
  return fmt::format("\n### {}\n\n{}\n\nColumns: {}.\n", name, comment,
                     code_list(column_names(database, name)));
}

}  // namespace

TableText parse_table(std::string_view sql) {
  auto raw = take_apart(sql);
  TableText table{std::move(raw.comment), {}};
  for (auto& [text, inside, after] : raw.definitions) {
    const bool belongs_to_last = !inside.empty() && !after.empty() && !table.definitions.empty() &&
                                 table.definitions.back().comment.empty();
    if (belongs_to_last) table.definitions.back().comment = std::exchange(after, "");
    append_words(inside, after);
    std::string one_line;
    append_words(one_line, text);
    table.definitions.push_back({first_word(text), std::move(one_line), std::move(inside)});
  }
  return table;
}

std::string schema_reference() {
  SQLite::Database memory(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  migrate_schema(memory, ":memory:", std::chrono::milliseconds(0));
  std::string tables, views;
  BoundStatement query(memory,
                       "SELECT type, name, sql FROM sqlite_schema"
                       " WHERE type IN ('table', 'view') ORDER BY rowid");
  while (query.step()) {
    const auto name = query.text(1), sql = query.text(2);
    (query.text(0) == "table" ? tables : views) +=
        query.text(0) == "table" ? table_page(memory, name, sql) : view_page(memory, name, sql);
  }
  return fmt::format(
      "# The results database, schema version {}\n\n"
      "Written by `build/oasis query --schema --format markdown` from the comments in the database "
      "itself; without `--format` the same command prints the SQL. How to read a database with "
      "other tools: [reading-results.md](reading-results.md).\n\n"
      "One SQLite file, in WAL mode, every table STRICT. `→`: a foreign key.\n\n"
      "## Tables\n{}\n## Views\n\nWhat `oasis tables` prints, and what it is made of.\n{}",
      schema_migrations().back().version, tables, views);
}

}  // namespace oasis
