// How figures and tables look as text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace oasis {

// Four significant digits, trailing zeros kept: "123.4", "0.01230"; from 1e5 on and below 1e-4
// three in the form 1.23e6.
std::string format_figure(double value);

// "123.4 ± 5.6": the deviation to the decimals of the mean, "< 0.1" where those hide it.
std::string format_mean(double mean, std::optional<double> deviation);

std::string format_percent(double value);          // "+3.2 %", "-75.9 %", "+1.23e5 %"
std::string format_count(std::int64_t value);      // "65,536"
std::string printable(std::string_view text);      // control characters and bad UTF-8 as \n, \x1b
std::size_t display_width(std::string_view utf8);  // in code points
std::string csv_field(std::string_view text);      // quoted where RFC 4180 asks for it
std::string markdown_cell(std::string_view text);  // printable, with | escaped

struct TextTable {
  struct Column {
    std::string header;
    bool right = false;  // numbers are aligned on the right
  };
  std::vector<Column> columns;
  std::vector<std::vector<std::string>> rows;  // each as long as `columns`
};

// A GitHub table, columns padded to one width so that the source reads well too.
std::string to_markdown(const TextTable& table);

// The same with blanks between columns and a rule under the header, for a terminal.
std::string to_plain(const TextTable& table);

}  // namespace oasis
