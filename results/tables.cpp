#include "results/tables.h"

#include <fmt/format.h>

#include <sstream>

#include "results/bench_tables.h"
#include "results/bound_statement.h"
#include "results/query_writer.h"
#include "results/sqlite_error.h"
#include "results/table_sections.h"
#include "results/table_text.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

struct TableKind {
  const char* name;
  const char* view;
  const char* description;  // its title
  const char* caption;
  std::string (*markdown)(const TableScope&);
  const char* has_content;  // a query that gives 0 when the table says nothing of the suite
  const char* csv;
  bool detail = false;  // long, of interest to few: printed when asked for
};

#define OASIS_COUNT(view) "SELECT count(*) FROM " view " WHERE suite_id = ?"
#define OASIS_ROWS(view) "SELECT * FROM " view " WHERE suite_id = ?"
constexpr TableKind kTables[] = {
    {"perplexity", "table_perplexity", "Perplexity at full precision",
     "Mean ± sample standard deviation over seeds. Less is better; the least mean is bold, which is"
     " no test of significance.",
     perplexity_section, OASIS_COUNT("table_perplexity"), OASIS_ROWS("table_perplexity")},
    {"outliers", "table_outliers", "Activation outliers at full precision",
     "Per sequence, averaged over sequences (`/seq`). Mean ± sample standard deviation over seeds;"
     " less is better, the least mean is bold. vs attnres: difference of the means. massive: seeds"
     " with an activation above 100 and 1000 times the median.",
     outliers_section, OASIS_COUNT("table_outliers"), OASIS_ROWS("table_outliers")},
    {"outlier_variants", "table_outliers", "Activation outliers: other variants of the metrics",
     "`/token`: over the hidden dimension of each token; `noeps`: kurtosis without ε in its"
     " denominator. Not comparable with the published tables.",
     outlier_variants_section,
     "SELECT count(*) FROM table_outliers WHERE suite_id = ? AND metric NOT IN ('max_inf_norm/seq',"
     " 'avg_kurtosis/seq', 'max_inf_norm/seq/mlp', 'max_inf_norm/seq/layer', "
     "'massive_activations')",
     OASIS_ROWS("table_outliers"), true},
    {"quantization", "table_quantization", "Perplexity under simulated quantization",
     "Mean ± sample standard deviation over seeds, in brackets the ratio to the method's own full"
     " precision; the least mean is bold. massive: seeds with massive activations at full"
     " precision.",
     quantization_section,
     "SELECT count(*) FROM table_quantization WHERE suite_id = ? AND"
     " precision <> 'full'",
     OASIS_ROWS("table_quantization")},
    {"sinks", "table_sinks", "Attention sinks, null evidence and the D.4 quantities",
     "Mean ± sample standard deviation over seeds, at full precision.", sinks_section,
     OASIS_COUNT("table_sinks"), OASIS_ROWS("table_sinks")},
    {"depth", "table_depth", "Depth routing",
     "Where each router's weight goes, mean ± sample standard deviation over seeds. Null mass: one"
     " minus the sum of the weights.",
     depth_section, OASIS_COUNT("table_depth"), OASIS_ROWS("table_depth"), true},
    {"training", "table_training", "Training",
     "Final loss: mean over the recorded steps of the last tenth, n of them. Time: sessions that"
     " ended in order.",
     training_section, OASIS_COUNT("table_training"), OASIS_ROWS("table_training")},
    {"failures", "table_failures", "Failed and stopped stages", "", failures_section,
     OASIS_COUNT("table_failures"), OASIS_ROWS("table_failures")},
    {"claims", "claims", "The paper's claims beside our figures",
     "Ours: `oasis` against `attnres`, difference of the means over seeds, averaged over settings"
     " (model, data set trained on, data set evaluated). No verdict is given here.",
     claims_section, OASIS_COUNT("claims"), OASIS_ROWS("claims")},
};
#undef OASIS_COUNT
#undef OASIS_ROWS

// Not of a suite: the benchmarks.
constexpr const char* kBenchTable = "bench";
constexpr const char* kBenchDescription = "Benchmarks of operations and training steps";

const TableKind& known_table(const std::string& name) {
  std::vector<std::string> names;
  for (const auto& kind : kTables) {
    if (name == kind.name) return kind;
    names.emplace_back(kind.name);
  }
  names.emplace_back(kBenchTable);
  throw bad_input("tables: no table '{}'{}; oasis tables --list shows all", name,
                  suggestion(name, names));
}

bool has_content(const TableScope& scope, const TableKind& kind) {
  BoundStatement query(scope.store.database(), kind.has_content);
  query.bind_all(scope.suite.id);
  return query.step() && query.integer(0) > 0;
}

std::string provenance(const TableScope& scope) {
  return fmt::format("Suite {} ({}) · source {} · {} · database {}", scope.suite.name,
                     scope.suite.hash,
                     scope.suite.revisions.empty() ? "not run yet" : scope.suite.revisions,
                     scope.suite.devices.empty() ? "no device yet" : scope.suite.devices,
                     scope.store.path().filename().string());
}

std::string csv_rows(SQLite::Statement& query) {
  std::vector<std::string> columns;
  for (int i = 0; i < query.getColumnCount(); ++i) columns.emplace_back(query.getColumnName(i));
  std::ostringstream text;
  const auto writer = make_query_writer(QueryFormat::kCsv, columns, text);
  while (query.executeStep()) {
    std::vector<QueryCell> row;
    for (int i = 0; i < query.getColumnCount(); ++i) {
      const auto value = query.getColumn(i);
      if (value.isNull()) {
        row.emplace_back(std::monostate{});
      } else if (value.isInteger()) {
        row.emplace_back(value.getInt64());
      } else if (value.isFloat()) {
        row.emplace_back(value.getDouble());
      } else {
        row.emplace_back(value.getString());
      }
    }
    writer->row(row);
  }
  writer->finish();
  return text.str();
}

std::string render(const TableScope& scope, const TableKind& kind, TableFormat format) {
  if (format == TableFormat::kCsv) {
    SQLite::Statement query(scope.store.database(), kind.csv);
    query.bind(1, scope.suite.id);
    return fmt::format("# {}\n# {}\n{}\n", kind.description, printable(provenance(scope)),
                       csv_rows(query));
  }
  const std::string caption = *kind.caption == '\0' ? "" : fmt::format("{}\n\n", kind.caption);
  return fmt::format("### {}\n\n{}{}", kind.description, caption, kind.markdown(scope));
}

std::string render_suites(const Store& store, const TableRequest& request,
                          const std::vector<const TableKind*>& asked) {
  std::string text;
  for (const auto& suite : newest_suites(store, request.suite)) {
    const TableScope scope{store, suite, groups_of(store, suite.id)};
    if (request.format == TableFormat::kMarkdown) {
      text += fmt::format("## {}\n\n{}\n\n", markdown_cell(suite.name),
                          markdown_cell(provenance(scope)));
    }
    for (const auto* kind : asked) text += render(scope, *kind, request.format);
    if (!request.names.empty()) continue;
    std::vector<std::string> left_out;
    for (const auto& kind : kTables) {
      if (!has_content(scope, kind)) continue;
      if (kind.detail && !request.details) {
        left_out.emplace_back(kind.name);
      } else {
        text += render(scope, kind, request.format);
      }
    }
    if (!left_out.empty() && request.format == TableFormat::kMarkdown) {
      text += fmt::format("More: oasis tables {}\n\n", join(left_out, " "));
    }
  }
  return text;
}

std::string render_bench(const Store& store, TableFormat format) {
  if (format == TableFormat::kMarkdown) return render_benchmarks(store);
  SQLite::Statement query(store.database(), "SELECT * FROM table_bench WHERE age = 1 ORDER BY id");
  return fmt::format("# {}\n# database {}\n{}\n", kBenchDescription,
                     printable(store.path().filename().string()), csv_rows(query));
}

bool has_suites(const Store& store) {
  return store.database().execAndGet("SELECT count(*) FROM suites").getInt64() > 0;
}

}  // namespace

std::vector<TableInfo> known_tables() {
  std::vector<TableInfo> tables;
  for (const auto& kind : kTables) tables.push_back({kind.name, kind.description});
  tables.push_back({kBenchTable, kBenchDescription});
  return tables;
}

std::string render_tables(const Store& store, const TableRequest& request) {
  std::vector<const TableKind*> asked;
  bool bench_asked = request.suite == kBenchSuite;
  for (const auto& name : request.names) {
    if (name == kBenchTable) {
      bench_asked = true;
    } else {
      asked.push_back(&known_table(name));
    }
  }
  return guarded(store.path(), store.database(), [&] {
    const bool benchmarks = has_benchmarks(store);
    if (bench_asked && !benchmarks) {
      throw bad_input("{}: holds no benchmarks yet; run oasis bench --db {}", store.path().string(),
                      store.path().string());
    }
    const bool everything = request.names.empty() && request.suite.empty();
    // Benchmarks alone are enough of an answer when nothing else is there or asked for.
    const bool suites = request.suite != kBenchSuite && (request.names.empty() || !asked.empty()) &&
                        !(everything && benchmarks && !has_suites(store));
    std::string text;
    if (suites) text += render_suites(store, request, asked);
    if (bench_asked || (everything && benchmarks)) text += render_bench(store, request.format);
    return text;
  });
}

}  // namespace oasis
