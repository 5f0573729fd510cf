-- The stages that took longest, and whose they are
-- parameter: rows integer 20 how many
SELECT t.id AS stage_id, t.kind, t.state, t.seconds, t.evaluated_on, t.weight_bits,
       t.activation_bits, t.device,
       (SELECT group_concat(c.label || ' seed ' || c.seed, ', ')
        FROM cell_stages x JOIN cells c ON c.id = x.cell_id WHERE x.stage_id = t.id) AS cells
FROM stages t
WHERE t.seconds > 0
ORDER BY t.seconds DESC, t.id
LIMIT :rows
