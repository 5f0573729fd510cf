#include "results/query_writer.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "results/table_text.h"
#include "support/error.h"

namespace oasis {
namespace {

constexpr std::size_t kWidestCell = 100;  // characters, in a table for people

// Numbers in the shortest form that reads back to the same bits; a real keeps its point.
std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string plain_text(const QueryCell& cell) {
  if (const auto* integer = std::get_if<std::int64_t>(&cell)) return std::to_string(*integer);
  if (const auto* real = std::get_if<double>(&cell)) return number_text(*real);
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  return "";
}

std::string cut_to(std::size_t width, const std::string& utf8) {
  if (display_width(utf8) <= width) return utf8;
  std::size_t bytes = 0;
  for (std::size_t seen = 0; bytes < utf8.size(); ++bytes) {
    const bool starts = (static_cast<unsigned char>(utf8[bytes]) & 0xC0) != 0x80;
    if (starts && ++seen == width) break;
  }
  return utf8.substr(0, bytes) + "…";
}

class TableWriter : public QueryWriter {
 public:
  TableWriter(const std::vector<std::string>& columns, std::ostream& output, bool markdown)
      : output_(output), markdown_(markdown) {
    for (const auto& name : columns)
      table_.columns.push_back({markdown ? markdown_cell(name) : printable(name), true});
  }
  void row(const std::vector<QueryCell>& cells) override {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const bool is_null = std::holds_alternative<std::monostate>(cells[i]);
      if (std::holds_alternative<std::string>(cells[i])) table_.columns[i].right = false;
      texts.push_back(is_null ? "NULL" : text_of(plain_text(cells[i])));
    }
    table_.rows.push_back(std::move(texts));
  }
  void finish() override { output_ << (markdown_ ? to_markdown(table_) : to_plain(table_)); }

 private:
  // Markdown is for documents: whole; a terminal gets the start.
  std::string text_of(const std::string& text) const {
    return markdown_ ? markdown_cell(text) : cut_to(kWidestCell, printable(text));
  }

  TextTable table_;
  std::ostream& output_;
  bool markdown_;
};

class CsvWriter : public QueryWriter {
 public:
  CsvWriter(const std::vector<std::string>& columns, std::ostream& output) : output_(output) {
    write(columns, [](const std::string& name) { return name; });
  }
  void row(const std::vector<QueryCell>& cells) override { write(cells, plain_text); }
  void finish() override {}

 private:
  template <typename Fields, typename Text>
  void write(const Fields& fields, Text&& text) {
    const char* separator = "";
    for (const auto& field : fields) {
      output_ << separator << csv_field(text(field));
      separator = ",";
    }
    output_ << '\n';
  }
  std::ostream& output_;
};

class JsonWriter : public QueryWriter {
 public:
  JsonWriter(const std::vector<std::string>& columns, std::ostream& output) : output_(output) {
    std::set<std::string> seen;
    for (const auto& name : columns) {
      std::string unique = name;
      for (int number = 2; !seen.insert(unique).second; ++number) {
        unique = fmt::format("{}_{}", name, number);
      }
      keys_.push_back(unique);
    }
  }
  void row(const std::vector<QueryCell>& cells) override {
    nlohmann::ordered_json object = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < cells.size(); ++i) {
      std::visit(
          [&](const auto& value) {
            if constexpr (std::is_same_v<std::decay_t<decltype(value)>, std::monostate>) {
              object[keys_[i]] = nullptr;
            } else {
              object[keys_[i]] = value;
            }
          },
          cells[i]);
    }
    output_ << (first_ ? "[\n" : ",\n")
            << object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    first_ = false;
  }
  void finish() override { output_ << (first_ ? "[]\n" : "\n]\n"); }

 private:
  std::vector<std::string> keys_;
  std::ostream& output_;
  bool first_ = true;
};

}  // namespace

std::unique_ptr<QueryWriter> make_query_writer(QueryFormat format,
                                               const std::vector<std::string>& columns,
                                               std::ostream& output) {
  switch (format) {
    case QueryFormat::kTable:
      return std::make_unique<TableWriter>(columns, output, false);
    case QueryFormat::kCsv:
      return std::make_unique<CsvWriter>(columns, output);
    case QueryFormat::kMarkdown:
      return std::make_unique<TableWriter>(columns, output, true);
    case QueryFormat::kJson:
      return std::make_unique<JsonWriter>(columns, output);
  }
  throw failed("no such query format: {}", static_cast<int>(format));
}

}  // namespace oasis
