#include "suites/bench/row_json.h"

#include <nlohmann/json.hpp>

namespace oasis {
namespace {

using OrderedJson = nlohmann::ordered_json;

OrderedJson labels_json(const BenchmarkRow& row) {
  return {{"device", row.device},
          {"operation", row.operation},
          {"variant", row.variant},
          {"shape", row.shape},
          {"dtype", row.dtype},
          {"pass", row.pass},
          {"formulation", row.formulation},
          {"implementation", row.implementation}};
}

// The spread alone; null where there is none.
OrderedJson spread_json(const BenchmarkRow& row) {
  if (!row.error.empty()) return {{"error", row.error}};
  return {{"median_s", row.median_seconds},
          {"p10_s", row.p10_seconds},
          {"p90_s", row.p90_seconds},
          {"n", row.n}};
}

}  // namespace

OrderedJson rows_json(const BenchSummary& summary, const std::filesystem::path& database) {
  auto rows = OrderedJson::array();
  for (const auto& row : summary.rows) {
    auto json = labels_json(row);
    json.update(spread_json(row));
    json.update({{"parts", row.parts},
                 {"bytes", row.bytes},
                 {"flops", row.flops},
                 {"tokens", row.tokens},
                 {"copy_bytes_per_s", row.copy_bytes_per_second},
                 {"gemm_flops_per_s", row.gemm_flops_per_second}});
    json["peak_bytes"] = row.peak_bytes ? OrderedJson(*row.peak_bytes) : OrderedJson();
    rows.push_back(std::move(json));
  }
  return {{"database", database.string()}, {"run", summary.run_id}, {"rows", std::move(rows)}};
}

OrderedJson comparisons_json(const std::vector<BenchmarkComparison>& comparisons) {
  auto list = OrderedJson::array();
  for (const auto& comparison : comparisons) {
    auto json = labels_json(comparison.after);
    json["before"] = spread_json(comparison.before);
    json["after"] = spread_json(comparison.after);
    const bool both = comparison.before.error.empty() && comparison.after.error.empty();
    json["ratio"] = both ? OrderedJson(comparison.ratio()) : OrderedJson();
    json["verdict"] = to_string(comparison.verdict);
    json["regressed"] = comparison.regressed();
    list.push_back(std::move(json));
  }
  return list;
}

}  // namespace oasis
