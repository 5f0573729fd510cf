-- Layers and heads whose attention rests most on the first token, at full precision
-- parameter: dataset text '' evaluated on; '' for all
-- parameter: rows integer 20 how many
SELECT suite, evaluated_on, method, seed, layer, head, value AS first_token_mass, n
FROM cell_layer_statistics
WHERE quantity = 'first_token_mass' AND precision = 'full'
  AND (:dataset = '' OR evaluated_on = :dataset)
ORDER BY value DESC, suite, method, seed, layer, head
LIMIT :rows
