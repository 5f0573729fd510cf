#include "results/detail_sections.h"

#include <fmt/format.h>

#include <optional>

#include "results/table_text.h"

namespace oasis {

std::string speed_section(const TableScope& scope) {
  TextTable table{{{"Method", false},
                   {"trained on", false},
                   {"model", false},
                   {"stage", false},
                   {"device", false},
                   {"token/s", true},
                   {"vs attnres", true},
                   {"seeds", true},
                   {"n (steps)", true}},
                  {}};
  each_row(
      scope.store,
      "SELECT v.method, v.trained_on, v.model, v.kind, v.device || ' ' || v.dtype, v.mean,"
      " v.sd, v.percent_vs_attnres, v.seeds, v.n, v.best, v.place FROM table_speed v"
      " JOIN group_states g ON g.suite_id = v.suite_id AND g.trained_on = v.trained_on"
      "  AND g.model = v.model AND g.method = v.method"
      " WHERE v.suite_id = ?"
      " ORDER BY v.trained_on, v.model, v.kind, 5, g.first_cell",
      scope.suite.id, [&](BoundStatement& row) {
        std::string speed =
            format_mean(row.real(5), row.is_null(6) ? std::nullopt : std::optional(row.real(6)));
        if (row.integer(10) != 0) speed = fmt::format("**{}**", speed);
        if (row.integer(11) == 2) speed = fmt::format("*{}*", speed);
        const bool beside = !row.is_null(7) && row.text(0) != "attnres";
        table.rows.push_back({markdown_cell(row.text(0)), markdown_cell(row.text(1)),
                              markdown_cell(row.text(2)), row.text(3), markdown_cell(row.text(4)),
                              speed, beside ? format_percent(row.real(7)) : "–", row.text(8),
                              format_count(row.integer(9))});
      });
  return table.rows.empty() ? "No training came to its end.\n\n" : to_markdown(table) + "\n";
}

std::string massive_activations_section(const TableScope& scope) {
  TextTable table{{{"Method", false},
                   {"trained on", false},
                   {"model", false},
                   {"evaluated on", false},
                   {"seed", true},
                   {"largest", true},
                   {"in layer", true},
                   {"layers", true},
                   {"channel", true},
                   {"position", true},
                   {"token", false},
                   {"n", true}},
                  {}};
  each_row(scope.store,
           "SELECT method, trained_on, model, evaluated_on, seed, largest, largest_layer,"
           " first_layer || ' to ' || last_layer, channel, position, text, n"
           " FROM table_massive_activations WHERE suite_id = ? AND place <= 3"
           " ORDER BY trained_on, model, evaluated_on, method, seed, place",
           scope.suite.id, [&](BoundStatement& row) {
             table.rows.push_back({markdown_cell(row.text(0)), markdown_cell(row.text(1)),
                                   markdown_cell(row.text(2)), markdown_cell(row.text(3)),
                                   row.text(4), format_figure(row.real(5)), row.text(6),
                                   row.text(7), row.text(8), row.text(9),
                                   markdown_cell(row.text(10)), format_count(row.integer(11))});
           });
  return table.rows.empty() ? "No massive activation was found.\n\n" : to_markdown(table) + "\n";
}

std::string site_costs_section(const TableScope& scope) {
  TextTable table{{{"Method", false},
                   {"trained on", false},
                   {"model", false},
                   {"evaluated on", false},
                   {"seed", true},
                   {"setting", false},
                   {"site", false},
                   {"perplexity", true},
                   {"ratio", true},
                   {"n", true}},
                  {}};
  each_row(
      scope.store,
      "SELECT method, trained_on, model, evaluated_on, seed,"
      " printf('W%dA%d %s%s', weight_bits, activation_bits, points,"
      "        CASE quantizer WHEN '' THEN '' ELSE ', ' || quantizer END) AS setting,"
      " site, perplexity, ratio, n FROM table_site_costs WHERE suite_id = ? AND place <= 5"
      " ORDER BY trained_on, model, evaluated_on, method, seed, setting, place",
      scope.suite.id, [&](BoundStatement& row) {
        table.rows.push_back(
            {markdown_cell(row.text(0)), markdown_cell(row.text(1)), markdown_cell(row.text(2)),
             markdown_cell(row.text(3)), row.text(4), markdown_cell(row.text(5)),
             markdown_cell(row.text(6)), row.is_null(7) ? "infinite" : format_figure(row.real(7)),
             row.is_null(8) ? "–" : format_figure(row.real(8)), format_count(row.integer(9))});
      });
  return table.rows.empty() ? "What single sites cost was not measured.\n\n"
                            : to_markdown(table) + "\n";
}

}  // namespace oasis
