#include "suites/gsm8k_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <utility>

#include "datasets/gsm8k/pass_at_1.h"
#include "support/error.h"
#include "support/text.h"

namespace oasis {
namespace {

std::vector<std::string> chosen_stages(const Store& store, std::string_view key_prefix) {
  const auto all = store.stages_with_generations();
  std::vector<std::string> chosen;
  for (const auto& key : all) {
    if (key.starts_with(key_prefix)) chosen.push_back(key);
  }
  const auto where = store.path().string();
  if (all.empty()) {
    throw bad_input("{}: holds no generated answers of a finished stage", where);
  }
  if (chosen.empty()) {
    throw bad_input(
        "{}: no finished stage with generated answers has a key that begins with '{}'; "
        "there are: {}",
        where, key_prefix, join(all, ", "));
  }
  if (!key_prefix.empty() && chosen.size() > 1) {
    throw bad_input("{}: more than one stage has a key that begins with '{}': {}", where,
                    key_prefix, join(chosen, ", "));
  }
  return chosen;
}

using ScoreKey = std::pair<std::string, std::int64_t>;  // rule, problem

std::vector<RescoredRule> differences(const std::vector<GenerationScore>& before,
                                      const std::vector<GenerationScore>& now) {
  std::map<ScoreKey, const GenerationScore*> earlier;
  for (const auto& score : before) earlier[{score.rule, score.problem}] = &score;
  std::vector<RescoredRule> rules;
  for (const auto rule : gsm8k::kAnswerRules) {
    RescoredRule found{.rule = std::string(gsm8k::to_string(rule))};
    for (const auto& score : now) {
      if (score.rule != found.rule) continue;
      found.correct_now += score.correct ? 1 : 0;
      const auto old = earlier.find({score.rule, score.problem});
      if (old == earlier.end()) {
        ++found.scored_first;
        continue;
      }
      found.correct_before += old->second->correct ? 1 : 0;
      found.extracted_otherwise += old->second->extracted != score.extracted ? 1 : 0;
      if (old->second->correct == score.correct) continue;
      (score.correct ? found.turned_right : found.turned_wrong).push_back(score.problem);
    }
    rules.push_back(std::move(found));
  }
  return rules;
}

bool differs(const RescoredRule& rule) {
  return rule.scored_first > 0 || rule.extracted_otherwise > 0 || !rule.turned_right.empty() ||
         !rule.turned_wrong.empty();
}

bool holds(const std::vector<MetricRow>& stored, const MetricRow& wanted) {
  return std::ranges::any_of(stored, [&wanted](const MetricRow& row) {
    return row.name == wanted.name && row.value == wanted.value && row.n == wanted.n &&
           row.interval && row.interval->low == wanted.interval->low &&
           row.interval->high == wanted.interval->high;
  });
}

RescoredStage rescore_one(Store& store, const std::string& key) {
  RescoredStage report{.stage = *store.find_stage(key)};
  const auto texts = store.generations(report.stage.id);
  const auto before = store.generation_scores(report.stage.id);
  const auto now = score_generations(texts);
  report.n = static_cast<std::int64_t>(texts.size());
  report.rules = differences(before, now.scores);
  const auto metrics = store.metrics(report.stage.id);
  report.changed =
      std::ranges::any_of(report.rules, differs) ||
      std::ranges::any_of(now.metrics, [&](const auto& metric) { return !holds(metrics, metric); });
  if (report.changed) store.rescore_stage(report.stage.id, now.scores, now.metrics);
  return report;
}

}  // namespace

Gsm8kScores score_generations(const std::vector<GenerationRow>& generations) {
  Gsm8kScores result;
  std::vector<gsm8k::Verdicts> all;
  for (const auto& generation : generations) {
    all.push_back(gsm8k::judge_all(generation.text, generation.gold));
    for (std::size_t i = 0; i < gsm8k::kAnswerRules.size(); ++i) {
      const auto& verdict = all.back()[i];
      result.scores.push_back({.problem = generation.problem,
                               .rule = std::string(gsm8k::to_string(gsm8k::kAnswerRules[i])),
                               .extracted = verdict.extracted,
                               .correct = verdict.correct});
    }
  }
  for (const auto& count : gsm8k::pass_at_1(all)) {
    MetricRow metric{.name = count.metric_name(), .unit = "1", .n = count.n};
    if (count.n > 0) {
      metric.value = count.value();
      metric.interval = count.interval();
    } else {
      metric.value = std::numeric_limits<double>::quiet_NaN();
      metric.reason = "no problem was asked";
    }
    result.metrics.push_back(std::move(metric));
  }
  return result;
}

std::vector<RescoredStage> rescore(Store& store, std::string_view key_prefix) {
  std::vector<RescoredStage> reports;
  for (const auto& key : chosen_stages(store, key_prefix)) {
    reports.push_back(rescore_one(store, key));
  }
  return reports;
}

}  // namespace oasis
