#include "results/table_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace oasis {
namespace {

constexpr int kSignificant = 4;
constexpr double kHuge = 1e5;
constexpr double kTiny = 1e-4;

bool is_scientific(double value) {
  const double size = std::abs(value);
  return size >= kHuge || (size > 0 && size < kTiny);
}

// "1.23e6": fmt writes e+06.
std::string scientific(double value, int significant) {
  const std::string text = fmt::format("{:.{}e}", value, significant - 1);
  const auto mark = text.find('e');
  return fmt::format("{}e{}", text.substr(0, mark), std::stoi(text.substr(mark + 1)));
}

// Decimals that give `value` four significant digits after rounding: 9.9999 is 10.00.
int decimals_for(double value) {
  if (value == 0) return kSignificant - 1;
  const std::string rounded = fmt::format("{:.{}e}", std::abs(value), kSignificant - 1);
  const int exponent = std::stoi(rounded.substr(rounded.find('e') + 1));
  return std::max(0, kSignificant - 1 - exponent);
}

std::string not_finite(double value) {
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

// Bytes of the UTF-8 character at the start of `text`; 0 when it is not one.
std::size_t character_bytes(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const std::size_t bytes = lead < 0x80       ? 1
                            : lead >> 5 == 6  ? 2
                            : lead >> 4 == 14 ? 3
                            : lead >> 3 == 30 ? 4
                                              : 0;
  if (bytes == 0 || bytes > text.size()) return 0;
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) return 0;
  }
  return bytes;
}

std::vector<std::size_t> column_widths(const TextTable& table, std::size_t least) {
  std::vector<std::size_t> widths;
  for (const auto& column : table.columns) {
    widths.push_back(std::max(least, display_width(column.header)));
  }
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row.at(i)));
    }
  }
  return widths;
}

std::string padded(std::string_view text, std::size_t width, bool right) {
  const std::string blanks(width - std::min(width, display_width(text)), ' ');
  return right ? blanks + std::string(text) : std::string(text) + blanks;
}

}  // namespace

std::string format_figure(double value) {
  if (!std::isfinite(value)) return not_finite(value);
  if (is_scientific(value)) return scientific(value, 3);
  return fmt::format("{:.{}f}", value, decimals_for(value));
}

std::string format_mean(double mean, std::optional<double> deviation) {
  std::string text = format_figure(mean);
  if (!deviation || !std::isfinite(mean)) return text;
  if (is_scientific(mean) || is_scientific(*deviation)) {
    if (std::abs(*deviation) >= kHuge || is_scientific(mean)) {
      return fmt::format("{} ± {}", text, *deviation == 0 ? "0" : scientific(*deviation, 2));
    }
  }
  const int decimals = decimals_for(mean);
  const double least = std::pow(10.0, -decimals);
  if (*deviation > 0 && *deviation < least / 2) {
    return fmt::format("{} ± < {:.{}f}", text, least, decimals);
  }
  return fmt::format("{} ± {:.{}f}", text, *deviation, decimals);
}

std::string format_percent(double value) {
  if (!std::isfinite(value)) return not_finite(value);
  if (std::abs(value) >= kHuge) {
    return fmt::format("{}{} %", value > 0 ? "+" : "", scientific(value, 3));
  }
  return fmt::format("{:+.1f} %", value);
}

std::string format_count(std::int64_t value) {
  std::string text = std::to_string(value);
  const std::size_t sign = value < 0 ? 1 : 0;
  for (auto at = text.size(); at > sign + 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const auto letter = static_cast<unsigned char>(text[0]);
    const std::size_t bytes = character_bytes(text);
    // U+0080 to U+009F, C2 80 to C2 9F, steer terminals as well
    const bool steers =
        letter < 0x20 || letter == 0x7F ||
        (bytes == 2 && letter == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0);
    if (bytes == 0 || steers) {
      result += letter == '\n' ? "\\n" : letter == '\t' ? "\\t" : fmt::format("\\x{:02x}", letter);
      text.remove_prefix(1);
    } else {
      result += text.substr(0, bytes);
      text.remove_prefix(bytes);
    }
  }
  return result;
}

std::size_t display_width(std::string_view utf8) {
  return static_cast<std::size_t>(std::count_if(utf8.begin(), utf8.end(), [](char letter) {
    return (static_cast<unsigned char>(letter) & 0xC0) != 0x80;
  }));
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (const char letter : text) {
    if (letter == '"') quoted += '"';
    quoted += letter;
  }
  return quoted + '"';
}

std::string markdown_cell(std::string_view text) {
  std::string result;
  for (const char letter : printable(text)) {
    if (letter == '|') result += '\\';
    result += letter;
  }
  return result;
}

std::string to_markdown(const TextTable& table) {
  const auto widths = column_widths(table, 3);
  std::string text = "|";
  for (std::size_t i = 0; i < widths.size(); ++i) {
    text +=
        fmt::format(" {} |", padded(table.columns[i].header, widths[i], table.columns[i].right));
  }
  text += "\n|";
  for (std::size_t i = 0; i < widths.size(); ++i) {
    const bool right = table.columns[i].right;
    text += fmt::format(" {}{} |", std::string(widths[i] - (right ? 1 : 0), '-'), right ? ":" : "");
  }
  text += "\n";
  for (const auto& row : table.rows) {
    text += "|";
    for (std::size_t i = 0; i < widths.size(); ++i) {
      text += fmt::format(" {} |", padded(row[i], widths[i], table.columns[i].right));
    }
    text += "\n";
  }
  return text;
}

std::string to_plain(const TextTable& table) {
  const auto widths = column_widths(table, 1);
  std::string text;
  const auto add_line = [&](const auto& cell) {
    std::string line;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      if (i > 0) line += "  ";
      line += padded(cell(i), widths[i], table.columns[i].right);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line([&](std::size_t i) { return table.columns[i].header; });
  add_line([&](std::size_t i) { return std::string(widths[i], '-'); });
  for (const auto& row : table.rows) add_line([&](std::size_t i) { return row[i]; });
  return text;
}

}  // namespace oasis
