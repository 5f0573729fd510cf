#include "results/table_sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "results/table_layout.h"
#include "support/text.h"

namespace oasis {
namespace {

using Shows = FigureColumn::Shows;

struct Labelled {
  const char* name;
  const char* label;
};

// As PROTOCOLS.md names them; what is not listed comes after, under its own name.
constexpr Labelled kOutliers[] = {{"max_inf_norm/seq", "max inf norm"},
                                  {"avg_kurtosis/seq", "avg kurtosis"},
                                  {"max_inf_norm/seq/mlp", "max inf norm, MLP"},
                                  {"max_inf_norm/seq/layer", "max inf norm, layers"}};
constexpr Labelled kPerplexities[] = {{"perplexity", "perplexity"}, {"bits_per_byte", "bits/byte"}};
constexpr Labelled kSinks[] = {
    {"first_token_mass", "first-token mass"},
    {"first_token_mass/without_first", "first-token mass, query 0 left out"},
    {"first_token_mass/without_first_query", "first-token mass, query 0 left out"},
    {"first_token_mass/renormalized", "first-token mass / (1 − ρ)"},
    {"sink_rate", "sink rate, ε = 0.3"},
    {"null_posterior", "null posterior ρ"},
    {"null_mass", "null posterior ρ"},
    {"attention_entropy", "attention entropy"},
    {"attention_max", "largest probability"},
    {"largest_probability", "largest probability"},
    {"massive_activations", "massive activations"},
    {"d4_leakage", "D.4 leakage L"},
    {"d4_concentration", "D.4 concentration C"},
    {"d4_negative_entropy", "D.4 negative entropy E"},
    {"depth_null_mass", "depth null mass"}};
constexpr const char* kGsm8kRules[] = {"strict", "flexible", "openai", "numeric"};
constexpr Labelled kShares[] = {{"null", "null mass"},
                                {"embedding", "weight on the embedding"},
                                {"newest", "weight on the newest source"},
                                {"between", "weight on all sources between"}};

using Distinct = std::set<std::string>;

Distinct values_of(const TableFigures& figures, std::string FigureKey::*member,
                   const CellGroup& like, const std::string* evaluated_on = nullptr) {
  Distinct values;
  for (const auto& [key, figure] : figures) {
    const bool fits = key.trained_on == like.trained_on && key.model == like.model &&
                      (evaluated_on == nullptr || key.evaluated_on == *evaluated_on);
    if (fits) values.insert(key.*member);
  }
  return values;
}

// The groups of each training set and model, in the suite's order.
std::vector<std::vector<CellGroup>> by_training_set_and_model(
    const std::vector<CellGroup>& groups) {
  std::vector<std::vector<CellGroup>> parts;
  for (const auto& group : groups) {
    const auto same = std::find_if(parts.begin(), parts.end(), [&](const auto& part) {
      return part[0].trained_on == group.trained_on && part[0].model == group.model;
    });
    if (same == parts.end()) {
      parts.push_back({group});
    } else {
      same->push_back(group);
    }
  }
  return parts;
}

std::string part_heading(const CellGroup& group, const std::string& evaluated_on) {
  std::string text = fmt::format("Model {} trained on {}", markdown_cell(group.model),
                                 markdown_cell(group.trained_on));
  if (!evaluated_on.empty()) text += ", evaluated on " + markdown_cell(evaluated_on);
  return text;
}

std::string section(const std::string& heading, const std::string& n, const TextTable& table,
                    const TableNotes& notes) {
  std::string text =
      fmt::format("**{}**{}\n\n{}", heading, n.empty() ? "" : " · " + n, to_markdown(table));
  if (const std::string remarks = notes.text(); !remarks.empty()) text += "\n" + remarks;
  return text + "\n";
}

// Where no method has a figure: the state of each, so that nothing goes missing silently.
std::string states_only(const std::vector<CellGroup>& part) {
  TableNotes notes;
  TextTable table{{{"Method", false}, {"state", false}, {"seeds", true}}, {}};
  for (const auto& group : part) {
    std::string state = group.missing();
    if (state == "–") state = "not measured";
    if (state == "failed") state += notes.mark(fmt::format("{}: {}", group.method, group.reason));
    table.rows.push_back({markdown_cell(group.method), state, group.seeds(0)});
  }
  return section(part_heading(part[0], ""), "", table, notes);
}

using Columns = std::vector<FigureColumn>;
using ColumnMaker = Columns (*)(const Distinct& names, const std::string& evaluated_on);

// Methods as rows, one table for each data set evaluated.
std::string rows_per_evaluation(const TableScope& scope, const TableFigures& figures,
                                ColumnMaker columns) {
  std::string text;
  for (const auto& part : by_training_set_and_model(scope.groups)) {
    bool any = false;
    for (const auto& evaluated : values_of(figures, &FigureKey::evaluated_on, part[0])) {
      const auto names = values_of(figures, &FigureKey::column, part[0], &evaluated);
      const Columns shown = columns(names, evaluated);
      if (shown.empty()) continue;
      TableNotes notes;
      std::string n;
      const auto table = methods_as_rows(part, figures, shown, notes, n);
      text += section(part_heading(part[0], evaluated), n, table, notes);
      any = true;
    }
    if (!any) text += states_only(part);
  }
  return text;
}

struct TableRows {
  std::string heading;  // after the part's own; "" for none
  std::vector<FigureRow> rows;
};
using RowMaker =
    std::function<std::vector<TableRows>(const CellGroup& group, const std::string& evaluated_on)>;

// Methods as columns, the tables that `tables` names for each data set evaluated.
std::string columns_per_evaluation(const TableScope& scope, const TableFigures& figures,
                                   const std::string& first, const RowMaker& tables) {
  std::string text;
  for (const auto& part : by_training_set_and_model(scope.groups)) {
    const auto evaluations = values_of(figures, &FigureKey::evaluated_on, part[0]);
    for (const auto& evaluated : evaluations) {
      for (const auto& [heading, rows] : tables(part[0], evaluated)) {
        TableNotes notes;
        const auto table = methods_as_columns(part, figures, evaluated, rows, first, notes);
        text += section(part_heading(part[0], evaluated) + (heading.empty() ? "" : ": " + heading),
                        "", table, notes);
      }
    }
    if (evaluations.empty()) text += states_only(part);
  }
  return text;
}

std::string or_dash(BoundStatement& query, int column, std::string (*format)(double)) {
  return query.is_null(column) ? "–" : format(query.real(column));
}

std::string whole(double value) {
  return format_count(static_cast<std::int64_t>(value));
}

}  // namespace

std::string outliers_section(const TableScope& scope) {
  return rows_per_evaluation(
      scope, outlier_figures(scope.store, scope.suite.id),
      [](const Distinct& names, const std::string& evaluated) {
        Columns columns;
        for (const auto& [name, label] : kOutliers) {
          if (!names.contains(name)) continue;
          columns.push_back({evaluated, name, label, Shows::kMean});
          const bool headline = columns.size() <= 3;
          if (headline)
            columns.push_back({evaluated, name, "vs attnres", Shows::kPercentVsAttnres});
        }
        if (!columns.empty() && names.contains("massive_activations")) {
          columns.push_back({evaluated, "massive_activations", "massive", Shows::kSeedsMassive});
        }
        return columns;
      });
}

std::string outlier_variants_section(const TableScope& scope) {
  return rows_per_evaluation(scope, outlier_figures(scope.store, scope.suite.id),
                             [](const Distinct& names, const std::string& evaluated) {
                               Columns columns;
                               for (const auto& name : names) {
                                 const bool listed = std::any_of(
                                     std::begin(kOutliers), std::end(kOutliers),
                                     [&](const Labelled& known) { return name == known.name; });
                                 if (listed || name == "massive_activations") continue;
                                 columns.push_back({evaluated, name, name, Shows::kMean});
                               }
                               return columns;
                             });
}

std::string quantization_section(const TableScope& scope) {
  return rows_per_evaluation(
      scope, quantization_figures(scope.store, scope.suite.id),
      [](const Distinct& names, const std::string& evaluated) {
        Columns columns;
        for (const auto& name : names) {
          const bool full = columns.empty();
          columns.push_back(
              {evaluated, name, without_order(name), full ? Shows::kMean : Shows::kMeanAndRatio});
        }
        if (!columns.empty()) {
          columns.push_back({evaluated, columns[0].column, "massive", Shows::kSeedsMassive});
        }
        return columns;
      });
}

// Perplexities of all evaluated data sets stand side by side.
std::string perplexity_section(const TableScope& scope) {
  const auto figures = perplexity_figures(scope.store, scope.suite.id);
  std::string text;
  for (const auto& part : by_training_set_and_model(scope.groups)) {
    Columns columns;
    for (const auto& evaluated : values_of(figures, &FigureKey::evaluated_on, part[0])) {
      const auto names = values_of(figures, &FigureKey::column, part[0], &evaluated);
      for (const auto& [name, label] : kPerplexities) {
        if (!names.contains(name)) continue;
        columns.push_back(
            {evaluated, name, fmt::format("{} {}", markdown_cell(evaluated), label), Shows::kMean});
      }
    }
    if (columns.empty()) {
      text += states_only(part);
      continue;
    }
    TableNotes notes;
    std::string n;
    const auto table = methods_as_rows(part, figures, columns, notes, n);
    text += section(part_heading(part[0], ""), n, table, notes);
  }
  return text;
}

std::string gsm8k_section(const TableScope& scope) {
  const auto figures = gsm8k_figures(scope.store, scope.suite.id);
  return columns_per_evaluation(
      scope, figures, "Rule", [&](const CellGroup& group, const std::string& evaluated) {
        auto names = values_of(figures, &FigureKey::column, group, &evaluated);
        std::vector<std::string> rules;
        for (const char* rule : kGsm8kRules) {
          if (names.erase(rule) > 0) rules.emplace_back(rule);
        }
        rules.insert(rules.end(), names.begin(), names.end());
        std::vector<TableRows> tables;
        for (const auto& setting : values_of(figures, &FigureKey::row, group, &evaluated)) {
          tables.push_back({without_order(setting), {}});
          for (const auto& rule : rules) tables.back().rows.push_back({setting, rule, rule});
        }
        return tables;
      });
}

std::string sinks_section(const TableScope& scope) {
  const auto figures = sink_figures(scope.store, scope.suite.id);
  return columns_per_evaluation(
      scope, figures, "Quantity", [&](const CellGroup& group, const std::string& evaluated) {
        auto names = values_of(figures, &FigureKey::column, group, &evaluated);
        std::vector<FigureRow> rows;
        for (const auto& [name, label] : kSinks) {
          if (names.erase(name) > 0) rows.push_back({"", name, label});
        }
        for (const auto& name : names) rows.push_back({"", name, name});
        return std::vector<TableRows>{{"", rows}};
      });
}

std::string depth_section(const TableScope& scope) {
  const auto figures = depth_figures(scope.store, scope.suite.id);
  return columns_per_evaluation(
      scope, figures, "Router", [&](const CellGroup& group, const std::string& evaluated) {
        const auto routers = values_of(figures, &FigureKey::row, group, &evaluated);
        const auto shares = values_of(figures, &FigureKey::column, group, &evaluated);
        std::vector<TableRows> tables;
        for (const auto& [share, label] : kShares) {
          if (!shares.contains(share)) continue;
          tables.push_back({label, {}});
          auto& rows = tables.back().rows;
          for (const auto& router : routers) {
            rows.push_back({router, share, without_order(router)});
          }
        }
        return tables;
      });
}

std::string training_section(const TableScope& scope) {
  TextTable table{{{"Method", false},
                   {"trained on", false},
                   {"model", false},
                   {"seed", true},
                   {"stage", false},
                   {"state", false},
                   {"steps", true},
                   {"tokens", true},
                   {"final loss (nat/token)", true},
                   {"n (steps)", true},
                   {"token/s", true},
                   {"time", true},
                   {"device", false}},
                  {}};
  each_row(scope.store,
           "SELECT method, trained_on, model, seed, kind, state, steps, tokens, final_loss, n,"
           " tokens_per_second, seconds, device, dtype FROM table_training"
           " WHERE suite_id = ? ORDER BY trained_on, model, stage_id",
           scope.suite.id, [&](BoundStatement& row) {
             table.rows.push_back(
                 {markdown_cell(row.text(0)), markdown_cell(row.text(1)),
                  markdown_cell(row.text(2)), row.text(3), markdown_cell(row.text(4)), row.text(5),
                  or_dash(row, 6, whole), or_dash(row, 7, whole), or_dash(row, 8, format_figure),
                  or_dash(row, 9, whole), or_dash(row, 10, format_figure),
                  human_duration(row.real(11)), markdown_cell(row.text(12) + " " + row.text(13))});
           });
  return table.rows.empty() ? "No training is planned.\n\n" : to_markdown(table) + "\n";
}

std::string failures_section(const TableScope& scope) {
  TextTable table{{{"Method", false},
                   {"trained on", false},
                   {"model", false},
                   {"seed", true},
                   {"stage", false},
                   {"state", false},
                   {"step", true},
                   {"reason", false},
                   {"last checkpoint", false}},
                  {}};
  each_row(scope.store,
           "SELECT method, trained_on, model, seed, kind, evaluated_on, precision, state, step,"
           " reason, last_checkpoint FROM table_failures WHERE suite_id = ?"
           " ORDER BY trained_on, model, method, seed, kind, evaluated_on, precision",
           scope.suite.id, [&](BoundStatement& row) {
             std::string stage = row.text(4);
             if (!row.text(5).empty()) stage += " " + row.text(5);
             if (row.text(6) != "full") stage += " " + row.text(6);
             table.rows.push_back({markdown_cell(row.text(0)), markdown_cell(row.text(1)),
                                   markdown_cell(row.text(2)), row.text(3), markdown_cell(stage),
                                   row.text(7), or_dash(row, 8, whole), markdown_cell(row.text(9)),
                                   row.is_null(10) ? "–" : markdown_cell(row.text(10))});
           });
  return table.rows.empty() ? "No stage failed or was stopped.\n\n" : to_markdown(table) + "\n";
}

}  // namespace oasis
