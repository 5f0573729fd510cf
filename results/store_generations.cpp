#include <SQLiteCpp/Database.h>

#include "results/bound_statement.h"
#include "results/stage_rows.h"
#include "results/store.h"
#include "results/transaction.h"
#include "support/error.h"

namespace oasis {

void Store::add_generations(std::int64_t stage_id, const std::vector<GenerationRow>& rows) {
  changed(path_, *database_, [&] {
    BoundStatement row(*database_,
                       "INSERT INTO generations (stage_id, problem, gold, text, tokens)"
                       " VALUES (?, ?, ?, ?, ?) ON CONFLICT (stage_id, problem) DO UPDATE SET"
                       " gold = excluded.gold, text = excluded.text, tokens = excluded.tokens");
    for (const auto& generation : rows) {
      row.run(stage_id, generation.problem, generation.gold, generation.text, generation.tokens);
    }
  });
}

std::vector<GenerationRow> Store::generations(std::int64_t stage_id) const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(*database_,
                         "SELECT problem, gold, text, tokens FROM generations WHERE stage_id = ?"
                         " ORDER BY problem");
    query.bind_all(stage_id);
    std::vector<GenerationRow> rows;
    while (query.step()) {
      rows.push_back({.problem = query.integer(0),
                      .gold = query.text(1),
                      .text = query.text(2),
                      .tokens = query.integer(3)});
    }
    return rows;
  });
}

std::vector<GenerationScore> Store::generation_scores(std::int64_t stage_id) const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(*database_,
                         "SELECT problem, rule, extracted, correct FROM generations g"
                         " JOIN generation_scores s ON s.generation_id = g.id"
                         " WHERE stage_id = ? ORDER BY problem, rule");
    query.bind_all(stage_id);
    std::vector<GenerationScore> scores;
    while (query.step()) {
      GenerationScore score{.problem = query.integer(0),
                            .rule = query.text(1),
                            .extracted = std::nullopt,
                            .correct = query.integer(3) != 0};
      if (!query.is_null(2)) score.extracted = query.text(2);
      scores.push_back(std::move(score));
    }
    return scores;
  });
}

std::vector<std::string> Store::stages_with_generations() const {
  return guarded(path_, *database_, [&] {
    BoundStatement query(*database_,
                         "SELECT key FROM stages WHERE state = 'done' AND"
                         " id IN (SELECT stage_id FROM generations) ORDER BY id");
    std::vector<std::string> keys;
    while (query.step()) keys.push_back(query.text(0));
    return keys;
  });
}

void Store::rescore_stage(std::int64_t stage_id, const std::vector<GenerationScore>& scores,
                          const std::vector<MetricRow>& metrics) {
  changed(path_, *database_, [&] {
    BoundStatement query(*database_, "SELECT evaluated_on, state FROM stages WHERE id = ?");
    query.bind_all(stage_id);
    if (!query.step() || query.text(1) != "done") {
      throw failed("stage {} is not done: there is nothing to score again", stage_id);
    }
    const std::string dataset = query.text(0);
    insert_scores(*database_, stage_id, scores);
    for (const auto& metric : metrics) {
      BoundStatement(*database_,
                     "DELETE FROM metrics WHERE stage_id = ? AND name = ? AND dataset = ?")
          .run(stage_id, metric.name, metric.dataset.empty() ? dataset : metric.dataset);
    }
    insert_metrics(*database_, stage_id, dataset, metrics);
  });
}

}  // namespace oasis
