#include "suites/commands/outlier_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "suites/stage_results.h"

namespace oasis {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr size_t kPrintedRows = 20;
constexpr size_t kPrintedNames = 8;

// The keys with the most values, "0 (95 %), 1 (5 %)".
std::string shares(const std::map<int64_t, int64_t>& counts) {
  int64_t total = 0;
  std::vector<std::pair<int64_t, int64_t>> ranked(counts.begin(), counts.end());
  for (const auto& [key, count] : ranked) total += count;
  std::ranges::stable_sort(ranked, std::greater(), &std::pair<int64_t, int64_t>::second);
  std::vector<std::string> parts;
  for (size_t i = 0; i < std::min(ranked.size(), kPrintedNames); ++i) {
    parts.push_back(
        fmt::format("{} ({:.0f} %)", ranked[i].first,
                    100.0 * static_cast<double>(ranked[i].second) / static_cast<double>(total)));
  }
  if (ranked.size() > kPrintedNames) {
    parts.push_back(fmt::format("{} more", ranked.size() - kPrintedNames));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

OrderedJson massive_json(const EvaluationResult& result, const Tokenizer* tokenizer) {
  auto rows = OrderedJson::array();
  for (const auto& massive : result.massive_activations) {
    OrderedJson row = {{"token", massive.token}};
    if (tokenizer != nullptr) row["text"] = token_text(*tokenizer, massive.token);
    row["position"] = massive.position;
    row["channel"] = massive.channel;
    row["layers"] = {massive.first_layer, massive.last_layer};
    row["largest"] = massive.largest;
    row["largest_layer"] = massive.largest_layer;
    row["n"] = massive.n;
    rows.push_back(std::move(row));
  }
  return {{"places", result.massive_places}, {"rows", std::move(rows)}};
}

void print_massive(const EvaluationResult& result, const Tokenizer* tokenizer) {
  const auto& rows = result.massive_activations;
  if (rows.empty()) return;
  int64_t first = rows[0].first_layer, last = rows[0].last_layer;
  std::map<int64_t, int64_t> channels, positions;
  for (const auto& row : rows) {
    first = std::min(first, row.first_layer);
    last = std::max(last, row.last_layer);
    channels[row.channel] += row.n;
    positions[row.position] += row.n;
  }
  fmt::print("\nmassive activations: {} places, layers {} to {}\n  channels {}\n  positions {}\n",
             result.massive_places, first, last, shares(channels), shares(positions));
  fmt::print("{:>8}  {:>8}  {:>7}  {:>9}  {:>11}  {:>8}  {:>6}  {}\n", "token", "position",
             "channel", "layers", "largest", "in layer", "values", "text");
  for (size_t i = 0; i < std::min(rows.size(), kPrintedRows); ++i) {
    const auto& row = rows[i];
    const auto text =
        tokenizer == nullptr ? "" : fmt::format("\"{}\"", token_text(*tokenizer, row.token));
    fmt::print("{:>8}  {:>8}  {:>7}  {:>9}  {:>11.6g}  {:>8}  {:>6}  {}\n", row.token, row.position,
               row.channel, fmt::format("{}-{}", row.first_layer, row.last_layer), row.largest,
               row.largest_layer, row.n, text);
  }
  if (rows.size() > kPrintedRows) {
    fmt::print("  … {} more (--json)\n",
               result.massive_places - static_cast<int64_t>(kPrintedRows));
  }
}

OrderedJson site_costs_json(const SiteCosts& costs) {
  const auto number = [](double value) {
    return std::isfinite(value) ? OrderedJson(value) : OrderedJson();
  };
  auto sites = OrderedJson::array();
  for (const auto& cost : costs.sites) {
    sites.push_back({{"site", cost.site}, {"perplexity", number(cost.perplexity)}});
  }
  return {{"perplexity", number(costs.perplexity)}, {"n", costs.n}, {"sites", std::move(sites)}};
}

void print_site_costs(const SiteCosts& costs) {
  size_t width = 4;
  const auto shown = std::min(costs.sites.size(), kPrintedRows);
  for (size_t i = 0; i < shown; ++i) width = std::max(width, costs.sites[i].site.size());
  fmt::print("\nperplexity with one site quantized, {:.6g} with none (n = {})\n", costs.perplexity,
             costs.n);
  fmt::print("{:<{}}  {:>12}  {:>8}\n", "site", width, "perplexity", "ratio");
  for (size_t i = 0; i < shown; ++i) {
    const auto& cost = costs.sites[i];
    fmt::print("{:<{}}  {:>12.6g}  {:>8.4g}\n", cost.site, width, cost.perplexity,
               cost.perplexity / costs.perplexity);
  }
  if (costs.sites.size() > shown) fmt::print("  … {} more (--json)\n", costs.sites.size() - shown);
}

}  // namespace oasis
