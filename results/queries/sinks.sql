-- Layers and heads whose attention rests most on the first token, at full precision
-- parameter: dataset text '' evaluated on; '' for all
-- parameter: rows integer 20 how many
SELECT s.name AS suite, t.evaluated_on, c.label AS method, c.seed, l.layer, l.head,
       l.value AS first_token_mass, l.n
FROM stages t
CROSS JOIN layer_statistics l
  ON l.stage_id = t.id AND l.dataset = t.evaluated_on AND l.quantity = 'first_token_mass'
JOIN cell_stages x ON x.stage_id = t.id
JOIN cells c ON c.id = x.cell_id
JOIN suites s ON s.id = c.suite_id
WHERE t.state = 'done' AND t.weight_bits IS NULL AND (:dataset = '' OR t.evaluated_on = :dataset)
ORDER BY l.value DESC, s.name, c.label, c.seed, l.layer, l.head
LIMIT :rows
