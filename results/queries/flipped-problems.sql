-- Problems right at full precision and wrong under quantization, or the other way
-- parameter: rule text strict scoring rule: strict, flexible, openai, numeric
-- parameter: weight_bits integer 4 of the quantized answers
-- parameter: activation_bits integer 4 of the quantized answers
SELECT c.label AS method, c.seed, q.points, q.quantizer, h.problem, h.gold,
       i.extracted AS full_answer, j.extracted AS quantized_answer,
       CASE WHEN i.correct THEN 'lost' ELSE 'gained' END AS change
FROM cells c
CROSS JOIN cell_stages x ON x.cell_id = c.id
CROSS JOIN stages f ON f.id = x.stage_id AND f.weight_bits IS NULL
CROSS JOIN cell_stages y ON y.cell_id = c.id
CROSS JOIN stages q ON q.id = y.stage_id AND q.weight_bits = :weight_bits
                   AND q.activation_bits = :activation_bits AND q.evaluated_on = f.evaluated_on
                   AND q.shots IS f.shots AND q.parent_key = f.parent_key
CROSS JOIN generations g ON g.stage_id = f.id
CROSS JOIN generation_scores i ON i.generation_id = g.id AND i.rule = :rule
CROSS JOIN generations h ON h.stage_id = q.id AND h.problem = g.problem
CROSS JOIN generation_scores j ON j.generation_id = h.id AND j.rule = i.rule
WHERE i.correct <> j.correct
ORDER BY c.id, q.id, h.problem
