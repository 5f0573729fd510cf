#include "suites/stage_results.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <string_view>

#include "datasets/utf8.h"
#include "support/error.h"

namespace oasis {
namespace {

std::optional<std::int64_t> number_in(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Where a layer statistic belongs. Places: "model.layers.3.self_attn", "…self_attn/head2",
// "3.sa/source1", "final/source1".
LayerStatistic place_of(std::string_view place) {
  LayerStatistic row;
  if (const auto slash = place.find('/'); slash != std::string_view::npos) {
    const std::string_view rest = place.substr(slash + 1);
    if (rest.starts_with("head")) row.head = number_in(rest.substr(4));
    if (rest.starts_with("source")) row.source = number_in(rest.substr(6));
    if (!row.head && !row.source) throw failed("statistic of an unknown place: '{}'", place);
    place = place.substr(0, slash);
  }
  constexpr std::string_view kLayers = "model.layers.";
  if (place.starts_with(kLayers)) place.remove_prefix(kLayers.size());
  if (place == "final") {
    row.part = "final";
    return row;
  }
  const auto dot = place.find('.');
  row.layer = number_in(place.substr(0, dot));
  if (!row.layer) throw failed("statistic of an unknown place: '{}'", place);
  const std::string_view part = dot == std::string_view::npos ? "" : place.substr(dot + 1);
  if (part == "sa" || part == "mlp") row.part = part;
  return row;
}

bool is_site_quantity(const std::string& quantity) {
  return quantity.find('/') != std::string::npos;
}

}  // namespace

std::string token_text(const Tokenizer& tokenizer, std::int64_t token) {
  const auto id = static_cast<std::uint32_t>(token);
  if (token >= tokenizer.vocab_size()) return "";
  if (id == tokenizer.end_of_text()) return "<end of text>";
  const std::string bytes = tokenizer.decode({&id, 1});
  const bool is_text = valid_prefix(bytes) == bytes.size();
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_text && byte >= 0x20 && byte != 0x7F) {
      text += c;
    } else {
      text += fmt::format("<0x{:02X}>", byte);
    }
  }
  return text;
}

StageResult to_stage_result(const EvaluationResult& evaluation, const Tokenizer& tokenizer) {
  StageResult result;
  for (const Metric& metric : evaluation.metrics) {
    MetricRow row;
    row.name = metric.name;
    row.value = metric.value.value_or(std::numeric_limits<double>::quiet_NaN());
    row.unit = metric.unit;
    row.n = metric.n;
    if (!metric.value) row.reason = metric.note;
    result.metrics.push_back(std::move(row));
  }
  for (const Statistic& statistic : evaluation.statistics) {
    if (is_site_quantity(statistic.quantity)) {
      result.site_statistics.push_back(
          {statistic.place, statistic.quantity, statistic.value, "1", statistic.n, ""});
      continue;
    }
    LayerStatistic row = place_of(statistic.place);
    row.quantity = statistic.quantity;
    row.value = statistic.value;
    row.unit = "1";
    row.n = statistic.n;
    result.layer_statistics.push_back(std::move(row));
  }
  for (const MassiveActivation& massive : evaluation.massive_activations) {
    result.massive_activations.push_back({.token = massive.token,
                                          .text = token_text(tokenizer, massive.token),
                                          .position = massive.position,
                                          .channel = massive.channel,
                                          .first_layer = massive.first_layer,
                                          .last_layer = massive.last_layer,
                                          .largest = massive.largest,
                                          .largest_layer = massive.largest_layer,
                                          .n = massive.n});
  }
  for (const Example& example : evaluation.examples) {
    const LayerStatistic place = place_of(example.place);
    result.examples.push_back({.quantity = example.quantity,
                               .layer = place.layer,
                               .part = place.part,
                               .rows = example.rows,
                               .columns = example.columns,
                               .stride = example.stride,
                               .contents = example.contents});
  }
  return result;
}

std::vector<SiteStatistic> site_cost_statistics(const SiteCosts& costs) {
  std::vector<SiteStatistic> rows = {{"", "perplexity_none", costs.perplexity, "1", costs.n, ""}};
  for (const SiteCost& cost : costs.sites) {
    rows.push_back({cost.site, "perplexity_alone", cost.perplexity, "1", costs.n, ""});
  }
  return rows;
}

std::vector<SiteStatistic> range_statistics(const QuantizedModel& model, std::int64_t sequences) {
  std::vector<SiteStatistic> rows;
  for (const auto& [point, range] : model.ranges()) {
    rows.push_back({point, "range_lo", range.first, "1", sequences, ""});
    rows.push_back({point, "range_hi", range.second, "1", sequences, ""});
  }
  return rows;
}

}  // namespace oasis
