#include "results/queries/named_queries.h"

#include <charconv>
#include <sstream>
#include <utility>

#include "results/queries/query_texts.h"
#include "results/table_text.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

NamedQuery parse(std::string_view name, std::string_view sql) {
  constexpr std::string_view kParameter = "-- parameter: ";
  NamedQuery query{std::string(name), "", {}, sql};
  std::istringstream lines{std::string(sql)};
  for (std::string line; std::getline(lines, line) && line.starts_with("-- ");) {
    if (!line.starts_with(kParameter)) {
      query.title = line.substr(3);
      continue;
    }
    std::istringstream words(line.substr(kParameter.size()));
    NamedQuery::Parameter parameter;
    std::string type;
    words >> parameter.name >> type >> parameter.default_value >> std::ws;
    std::getline(words, parameter.description);
    parameter.integer = type == "integer";
    if (parameter.default_value == "''") parameter.default_value.clear();
    query.parameters.push_back(std::move(parameter));
  }
  return query;
}

std::int64_t to_integer(const NamedQuery& query, const std::string& name, const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, value);
  if (code != std::errc() || stop != end || text.empty()) {
    throw bad_input("query {}: parameter {} is '{}', but must be an integer", query.name, name,
                    printable(text));
  }
  return value;
}

}  // namespace

std::span<const NamedQuery> named_queries() {
  static const std::vector<NamedQuery> queries = [] {
    std::vector<NamedQuery> parsed;
    for (const auto& [name, sql] : query_texts()) parsed.push_back(parse(name, sql));
    return parsed;
  }();
  return queries;
}

const NamedQuery& find_named_query(std::string_view name) {
  std::vector<std::string> names;
  for (const auto& query : named_queries()) {
    if (query.name == name) return query;
    names.push_back(query.name);
  }
  throw bad_input("query: no query is named '{}'{}; `oasis query --list` lists all",
                  printable(name), suggestion(std::string(name), names));
}

QueryParameters complete_parameters(const NamedQuery& query, const QueryParameters& given) {
  QueryParameters all;
  std::vector<std::string> names;
  for (const auto& parameter : query.parameters) {
    names.push_back(parameter.name);
    const auto found = given.find(parameter.name);
    std::string text = parameter.default_value;
    if (found != given.end()) text = std::get<std::string>(found->second);
    if (parameter.integer) {
      all[parameter.name] = to_integer(query, parameter.name, text);
    } else {
      all[parameter.name] = text;
    }
  }
  for (const auto& [name, value] : given) {
    if (!all.contains(name)) {
      throw bad_input("query {}: has no parameter '{}'{}; it has: {}", query.name, printable(name),
                      suggestion(name, names), names.empty() ? "none" : join(names, ", "));
    }
  }
  return all;
}

}  // namespace oasis
