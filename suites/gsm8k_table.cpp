#include "suites/gsm8k_table.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "results/table_text.h"

namespace oasis {
namespace {

std::string in_percent(double share) {
  return fmt::format("{:.2f}", 100 * share);
}

}  // namespace

std::string pass_at_1_table(const std::vector<gsm8k::PassAt1>& counts) {
  TextTable table{{{"Rule", false},
                   {"Pass@1, %", true},
                   {"95 % interval", true},
                   {"right", true},
                   {"no answer found", true},
                   {"n", true}},
                  {}};
  for (const auto& count : counts) {
    const auto interval = count.interval();
    table.rows.push_back(
        {std::string(to_string(count.rule)), in_percent(count.value()),
         fmt::format("{} to {}", in_percent(interval.low), in_percent(interval.high)),
         format_count(count.correct), format_count(count.unanswered), format_count(count.n)});
  }
  return to_plain(table);
}

nlohmann::ordered_json pass_at_1_json(const gsm8k::PassAt1& count) {
  const auto interval = count.interval();
  return {{"name", count.metric_name()},
          {"value", count.value()},
          {"unit", "1"},
          {"n", count.n},
          {"low", interval.low},
          {"high", interval.high},
          {"correct", count.correct},
          {"unanswered", count.unanswered}};
}

}  // namespace oasis
