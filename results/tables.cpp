#include "results/tables.h"

#include <SQLiteCpp/Transaction.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <type_traits>
#include <variant>

#include "results/bench_tables.h"
#include "results/bound_statement.h"
#include "results/detail_sections.h"
#include "results/latex.h"
#include "results/query_writer.h"
#include "results/sqlite_error.h"
#include "results/statistic_sections.h"
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
  ResultRows (*rows)(const TableScope&) = nullptr;  // where more than SQL makes them; else `csv`
};

#define OASIS_COUNT(view) "SELECT count(*) FROM " view " WHERE suite_id = ?"
#define OASIS_ROWS(view) "SELECT * FROM " view " WHERE suite_id = ?"
constexpr TableKind kTables[] = {
    {"perplexity", "table_perplexity", "Perplexity at full precision",
     "Mean ± sample standard deviation over seeds. Less is better; the least mean is bold, the"
     " second in italics, which is no test of significance.",
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
    {"quantization", "table_quantization", "Perplexity under quantization",
     "Mean ± sample standard deviation over seeds, in brackets the ratio to the method's own full"
     " precision; the least mean is bold. massive: seeds with massive activations at full"
     " precision.",
     quantization_section,
     "SELECT count(*) FROM table_quantization WHERE suite_id = ? AND"
     " precision <> 'full'",
     OASIS_ROWS("table_quantization")},
    {"gsm8k", "table_gsm8k", "GSM8K Pass@1",
     "Problems whose one generated answer is right, in percent, under each scoring rule. One seed:"
     " in brackets the 95 % Wilson interval over problems; several: mean ± sample standard"
     " deviation. The most is bold, the second in italics.",
     gsm8k_section, OASIS_COUNT("table_gsm8k"), OASIS_ROWS("table_gsm8k")},
    {"sinks", "table_sinks", "Attention sinks, null evidence and the D.4 quantities",
     "Mean ± sample standard deviation over seeds, at full precision.", sinks_section,
     OASIS_COUNT("table_sinks"), OASIS_ROWS("table_sinks")},
    {"depth", "table_depth", "Depth routing",
     "Where each router's weight goes, mean ± sample standard deviation over seeds. Null mass: one"
     " minus the sum of the weights.",
     depth_section, OASIS_COUNT("table_depth"), OASIS_ROWS("table_depth"), true},
    {"speed", "table_speed", "Speed of training",
     "Tokens trained on in a second, without evaluations, checkpoints and the first tenth of the"
     " steps: mean ± sample standard deviation over seeds; the fastest is bold, the second in"
     " italics. Methods may have shared the machine. Operations and steps by themselves: the table"
     " bench.",
     speed_section, OASIS_COUNT("table_speed"), OASIS_ROWS("table_speed")},
    {"massive_activations", "table_massive_activations", "Massive activations",
     "The three largest values of each cell's layer outputs above 100 and 1000 times the median, at"
     " full precision; layers: whose outputs have one there.",
     massive_activations_section, OASIS_COUNT("table_massive_activations"),
     OASIS_ROWS("table_massive_activations"), true},
    {"site_costs", "table_site_costs", "What quantizing one site costs",
     "Perplexity with one quantization point or weight alone quantized, the five costliest of each"
     " cell; ratio: to the perplexity with none, on the same sequences.",
     site_costs_section, OASIS_COUNT("table_site_costs"), OASIS_ROWS("table_site_costs"), true},
    {"training", "table_training", "Training",
     "Final loss: mean over the recorded steps of the last tenth, n of them. Time: sessions that"
     " ended in order.",
     training_section, OASIS_COUNT("table_training"), OASIS_ROWS("table_training")},
    {"failures", "table_failures", "Failed and stopped stages", "", failures_section,
     OASIS_COUNT("table_failures"), OASIS_ROWS("table_failures")},
    {"comparisons", "paired_effects", "Comparisons with attnres",
     "Difference to `attnres` under the same seed: mean ± sample standard deviation over seeds, "
     "with"
     " its 95 % bootstrap interval over seeds (BCa); p of the exact sign-flip test, from five seeds"
     " on, and after Holm's correction inside the table. Not distinguishable: the interval covers"
     " zero. Seeds are the unit: docs/statistics.md.",
     comparisons_section,
     "SELECT count(*) FROM paired_effects WHERE suite_id = ? AND beside = 'attnres'",
     OASIS_ROWS("paired_effects"), true, comparisons_rows},
    {"ablations", "paired_effects", "Ablations and controls beside oasis",
     "Difference to `oasis` under the same seed, as in the comparisons with attnres. Above zero: "
     "more"
     " than `oasis`.",
     ablations_section,
     "SELECT count(*) FROM paired_effects WHERE suite_id = ? AND beside = 'oasis' AND method NOT IN"
     " ('attnres', 'clipped_softmax', 'gated_attention', 'softmax1', 'sparsemax')",
     OASIS_ROWS("paired_effects"), true, ablations_rows},
    {"answers", "gsm8k_pairs", "Answers that changed",
     "GSM8K problems that were right here and wrong there (gained), and the other way round (lost):"
     " beside `attnres` under the same setting, and beside the method's own full precision."
     " McNemar's exact test, and after Holm's correction over all rows of the rule.",
     answer_pairs_section, OASIS_COUNT("gsm8k_pairs"), OASIS_ROWS("gsm8k_pairs"), true,
     answer_pairs_rows},
    {"claims", "claim_effects", "The paper's claims beside our figures",
     "Ours: the method (`oasis` unless the claim says otherwise) beside the reference under the "
     "same seed, averaged over settings (model, data "
     "set"
     " trained on, data set evaluated), then over seeds; 95 % bootstrap interval over seeds (BCa)."
     " Verdict: not distinguishable when the interval covers zero or there are fewer than three "
     "seeds; "
     "contradicted"
     " when it lies on the other side of zero than the paper's figure; reproduced when it reaches"
     " that figure or the paper gives none, else same direction.",
     claims_section, "SELECT ? IS NOT NULL", OASIS_ROWS("claim_effects"), false, claims_rows},
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

ResultRows rows_of(SQLite::Statement& query) {
  ResultRows result;
  for (int i = 0; i < query.getColumnCount(); ++i) {
    result.columns.emplace_back(query.getColumnName(i));
  }
  while (query.executeStep()) {
    auto& row = result.rows.emplace_back();
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
  }
  return result;
}

ResultRows rows_of(const TableScope& scope, const TableKind& kind) {
  if (kind.rows != nullptr) return kind.rows(scope);
  SQLite::Statement query(scope.store.database(), kind.csv);
  query.bind(1, scope.suite.id);
  return rows_of(query);
}

std::string csv_text(const ResultRows& rows) {
  std::ostringstream text;
  const auto writer = make_query_writer(QueryFormat::kCsv, rows.columns, text);
  for (const auto& row : rows.rows) writer->row(row);
  writer->finish();
  return text.str();
}

nlohmann::json json_table(const std::string& name, const std::string& title,
                          const std::string& caption, const ResultRows& rows) {
  auto all = nlohmann::json::array();
  for (const auto& row : rows.rows) {
    auto& cells = all.emplace_back(nlohmann::json::array());
    for (const auto& cell : row) {
      std::visit(
          [&](const auto& value) {
            using Value = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<Value, std::monostate>) {
              cells.push_back(nullptr);
            } else if constexpr (std::is_same_v<Value, std::string>) {
              cells.push_back(printable(value));  // JSON is UTF-8, a text in the file need not be
            } else {
              cells.push_back(value);
            }
          },
          cell);
    }
  }
  return {{"name", name},
          {"title", title},
          {"caption", caption},
          {"columns", rows.columns},
          {"rows", std::move(all)}};
}

// One table's text: Markdown, which LaTeX is made from, CSV, or JSON and a comma.
std::string render(const TableScope& scope, const TableKind& kind, TableFormat format) {
  if (format == TableFormat::kCsv) {
    return fmt::format("# {}\n# {}\n{}\n", kind.description, printable(provenance(scope)),
                       csv_text(rows_of(scope, kind)));
  }
  if (format == TableFormat::kJson) {
    auto table = json_table(kind.name, kind.description, kind.caption, rows_of(scope, kind));
    table["suite"] = printable(scope.suite.name);
    table["hash"] = scope.suite.hash;
    table["provenance"] = printable(provenance(scope));
    return table.dump() + ",\n";
  }
  const std::string caption = *kind.caption == '\0' ? "" : fmt::format("{}\n\n", kind.caption);
  return fmt::format("### {}\n\n{}{}", kind.description, caption, kind.markdown(scope));
}

bool is_text(TableFormat format) {
  return format == TableFormat::kMarkdown || format == TableFormat::kLatex;
}

std::string render_suites(const Store& store, const TableRequest& request,
                          const std::vector<const TableKind*>& asked) {
  std::string text;
  for (const auto& suite : newest_suites(store, request.suite)) {
    const TableScope scope{store, suite, groups_of(store, suite.id)};
    if (is_text(request.format)) {
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
  if (is_text(format)) return render_benchmarks(store);
  SQLite::Statement query(store.database(), "SELECT * FROM table_bench WHERE age = 1 ORDER BY id");
  const auto rows = rows_of(query);
  if (format == TableFormat::kJson) {
    return json_table(kBenchTable, kBenchDescription, "", rows).dump() + ",\n";
  }
  return fmt::format("# {}\n# database {}\n{}\n", kBenchDescription,
                     printable(store.path().filename().string()), csv_text(rows));
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
    const SQLite::Transaction one_state(store.database());  // of all tables, while a suite writes
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
    if (request.format == TableFormat::kLatex) return markdown_to_latex(text);
    if (request.format != TableFormat::kJson) return text;
    if (text.ends_with(",\n")) text.resize(text.size() - 2);
    return "[\n" + text + "\n]\n";
  });
}

}  // namespace oasis
