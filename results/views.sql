-- Every figure of every table comes from these views. Recreated whenever this text changes; they
-- hold no data.
--
-- "Group": the cells that differ in the seed only (suite, trained_on, model, method).
-- mean, sd: over the seeds of a group; sd is the sample standard deviation, NULL for one seed.
-- seeds: how many seeds have the figure. n: tokens, sequences, … behind one seed's figure (the
-- smallest). best: 1 for the smallest mean among the methods, where less is better.

CREATE VIEW cell_metrics AS
  -- long form: one row for each metric of each cell; evaluated_on tells how problems were asked
  SELECT s.id AS suite_id, s.name AS suite, c.id AS cell_id, c.dataset AS trained_on, c.model,
         c.label AS method, c.seed, t.id AS stage_id, t.kind, t.weight_bits, t.activation_bits,
         CASE WHEN t.weight_bits IS NULL THEN 'full'
              ELSE printf('W%dA%d', t.weight_bits, t.activation_bits) END AS precision,
         t.points, t.quantizer,
         CASE WHEN t.shots IS NULL THEN m.dataset
              ELSE m.dataset || ', ' || t.shots || '-shot' ||
                   CASE (SELECT kind FROM stages p WHERE p.key = t.parent_key)
                     WHEN 'finetune' THEN ' after fine-tuning' ELSE '' END
         END AS evaluated_on,
         m.name AS metric, m.value, m.low, m.high, m.unit, m.n, m.reason, m.varies
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  JOIN cell_stages x ON x.cell_id = c.id
  JOIN stages t ON t.id = x.stage_id AND t.state = 'done'
  JOIN metrics m ON m.stage_id = t.id;

CREATE VIEW metric_summary AS
  -- one row for each metric of each group, over its seeds
  WITH centred AS (
    SELECT *, avg(value) OVER (
             PARTITION BY suite_id, trained_on, model, method, kind, precision, points, quantizer,
                          evaluated_on, metric, unit) AS mean
    FROM cell_metrics)
  SELECT suite_id, suite, trained_on, model, method, kind, precision, weight_bits, activation_bits,
         points, quantizer,
         CASE precision WHEN 'full' THEN 'full precision'
              ELSE precision || ' ' || points ||
                   CASE quantizer WHEN '' THEN '' ELSE ', ' || quantizer END
         END AS setting,
         -- full precision first, then fewer and fewer bits, published points before others
         ifnull((100 - weight_bits) * 1000 + (100 - activation_bits) * 10
                + (points <> 'published'), 0) AS setting_order,
         evaluated_on, metric, unit, mean,
         CASE WHEN count(value) > 1
              THEN sqrt(sum((value - mean) * (value - mean)) / (count(value) - 1)) END AS sd,
         -- the 95 % interval of one seed's figure; over several seeds the deviation is what counts
         CASE count(value) WHEN 1 THEN max(low) END AS low,
         CASE count(value) WHEN 1 THEN max(high) END AS high,
         min(value) AS lowest, max(value) AS highest, count(value) AS seeds,
         count(*) - count(value) AS seeds_without_value, min(n) AS n,
         group_concat(DISTINCT reason) AS reason
  FROM centred
  GROUP BY suite_id, trained_on, model, method, kind, precision, points, quantizer, evaluated_on,
           metric, unit;

CREATE VIEW cell_states AS
  -- one row for each cell: the worst state among its stages, and the reason when it failed
  SELECT s.id AS suite_id, s.name AS suite, c.id AS cell_id, c.dataset AS trained_on, c.model,
         c.label AS method, c.seed,
         CASE WHEN count(t.id) = 0 THEN 'not run'
              WHEN sum(t.state = 'failed') > 0 THEN 'failed'
              WHEN sum(t.state = 'running') > 0 THEN 'running'
              WHEN sum(t.state = 'stopped') > 0 THEN 'stopped'
              WHEN sum(t.state = 'done') = 0 THEN 'not run'
              WHEN sum(t.state = 'pending') > 0 THEN 'unfinished'
              ELSE 'done' END AS state,
         sum(t.state = 'done') AS stages_done, count(t.id) AS stages,
         (SELECT u.kind || coalesce(' at step ' || u.step, '') || ': ' || u.error
          FROM cell_stages y JOIN stages u ON u.id = y.stage_id
          WHERE y.cell_id = c.id AND u.state = 'failed' ORDER BY u.id LIMIT 1) AS reason
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  LEFT JOIN cell_stages x ON x.cell_id = c.id
  LEFT JOIN stages t ON t.id = x.stage_id
  GROUP BY c.id;

CREATE VIEW group_states AS
  -- one row for each group: how many of its seeds came through, so that no cell goes missing
  SELECT suite_id, suite, trained_on, model, method, min(cell_id) AS first_cell,
         count(*) AS seeds_planned, sum(state = 'done') AS seeds_done,
         sum(state = 'failed') AS seeds_failed, sum(state = 'running') AS seeds_running,
         sum(state = 'stopped') AS seeds_stopped, sum(state = 'not run') AS seeds_not_run,
         sum(state = 'unfinished') AS seeds_unfinished,
         min(CASE WHEN state = 'failed' THEN 'seed ' || seed || ', ' || reason END) AS reason
  FROM cell_states
  GROUP BY suite_id, trained_on, model, method;

CREATE VIEW group_outliers_kept AS
  -- in how many seeds a massive activation (|x| > 100 and >= 1000 x median) is there at full
  -- precision: runs are bistable, so this count stands beside every mean
  SELECT suite_id, trained_on, model, method, evaluated_on, sum(value > 0) AS seeds_massive,
         count(value) AS seeds_counted
  FROM cell_metrics
  WHERE metric = 'massive_activations' AND precision = 'full'
  GROUP BY suite_id, trained_on, model, method, evaluated_on;

CREATE VIEW table_outliers AS
  -- outlier metrics at full precision
  SELECT m.suite_id, m.suite, m.trained_on, m.model, m.evaluated_on, m.method, m.metric, m.unit,
         m.mean, m.sd, m.lowest, m.highest, m.seeds, m.n, m.reason,
         100 * (m.mean / nullif(b.mean, 0) - 1) AS percent_vs_attnres,
         k.seeds_massive, k.seeds_counted,
         m.mean = min(m.mean) OVER (
           PARTITION BY m.suite_id, m.trained_on, m.model, m.evaluated_on, m.metric) AS best
  FROM metric_summary m
  LEFT JOIN metric_summary b
    ON b.suite_id = m.suite_id AND b.trained_on = m.trained_on AND b.model = m.model
   AND b.kind = m.kind AND b.precision = 'full' AND b.evaluated_on = m.evaluated_on
   AND b.metric = m.metric AND b.unit = m.unit AND b.method = 'attnres'
  LEFT JOIN group_outliers_kept k
    ON k.suite_id = m.suite_id AND k.trained_on = m.trained_on AND k.model = m.model
   AND k.method = m.method AND k.evaluated_on = m.evaluated_on
  WHERE m.precision = 'full'
    AND (m.metric LIKE 'max_inf_norm/%' OR m.metric LIKE 'avg_kurtosis/%'
         OR m.metric LIKE 'max_kurtosis/%' OR m.metric = 'massive_activations');

CREATE VIEW table_perplexity AS
  -- language modelling at full precision: perplexity, bits per byte, loss
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, metric, unit, mean, sd, lowest,
         highest, seeds, n, reason,
         mean = min(mean) OVER (
           PARTITION BY suite_id, trained_on, model, evaluated_on, metric) AS best
  FROM metric_summary
  WHERE precision = 'full' AND kind = 'evaluate'
    AND metric IN ('perplexity', 'bits_per_byte', 'loss', 'word_perplexity');

CREATE VIEW table_quantization AS
  -- perplexity at full precision (precision 'full') and under each quantization setting
  SELECT m.suite_id, m.suite, m.trained_on, m.model, m.evaluated_on, m.method, m.precision,
         m.weight_bits, m.activation_bits, m.points, m.quantizer, m.setting, m.setting_order,
         m.metric, m.unit, m.mean, m.sd, m.lowest, m.highest, m.seeds, m.n, m.reason,
         m.mean / nullif(f.mean, 0) AS ratio_to_full,
         100 * (m.mean / nullif(b.mean, 0) - 1) AS percent_vs_attnres,
         k.seeds_massive, k.seeds_counted,
         m.mean = min(m.mean) OVER (
           PARTITION BY m.suite_id, m.trained_on, m.model, m.evaluated_on, m.precision, m.points,
                        m.quantizer, m.metric) AS best
  FROM metric_summary m
  LEFT JOIN metric_summary f
    ON f.suite_id = m.suite_id AND f.trained_on = m.trained_on AND f.model = m.model
   AND f.method = m.method AND f.kind = 'evaluate' AND f.precision = 'full'
   AND f.evaluated_on = m.evaluated_on AND f.metric = m.metric AND f.unit = m.unit
  LEFT JOIN metric_summary b
    ON b.suite_id = m.suite_id AND b.trained_on = m.trained_on AND b.model = m.model
   AND b.method = 'attnres' AND b.kind = m.kind AND b.precision = m.precision
   AND b.points = m.points AND b.quantizer = m.quantizer AND b.evaluated_on = m.evaluated_on
   AND b.metric = m.metric AND b.unit = m.unit
  LEFT JOIN group_outliers_kept k
    ON k.suite_id = m.suite_id AND k.trained_on = m.trained_on AND k.model = m.model
   AND k.method = m.method AND k.evaluated_on = m.evaluated_on
  WHERE m.metric = 'perplexity' AND m.kind IN ('evaluate', 'quantized');

CREATE VIEW table_gsm8k AS
  -- GSM8K Pass@1 (a share of problems) under each scoring rule and quantization setting; low, high:
  -- 95 % Wilson interval of the one seed there is
  SELECT m.suite_id, m.suite, m.trained_on, m.model, m.evaluated_on, m.method, m.precision,
         m.weight_bits, m.activation_bits, m.points, m.quantizer, m.setting, m.setting_order,
         substr(m.metric, length('gsm8k_pass1_') + 1) AS rule, m.unit, m.mean, m.sd, m.low, m.high,
         m.lowest, m.highest, m.seeds, m.n, m.reason,
         100 * (m.mean - b.mean) AS points_vs_attnres,
         m.mean = max(m.mean) OVER (
           PARTITION BY m.suite_id, m.trained_on, m.model, m.evaluated_on, m.kind, m.setting,
                        m.metric) AS best
  FROM metric_summary m
  LEFT JOIN metric_summary b
    ON b.suite_id = m.suite_id AND b.trained_on = m.trained_on AND b.model = m.model
   AND b.method = 'attnres' AND b.kind = m.kind AND b.setting = m.setting
   AND b.evaluated_on = m.evaluated_on AND b.metric = m.metric AND b.unit = m.unit
  WHERE m.metric GLOB 'gsm8k_pass1_*';

CREATE VIEW table_sinks AS
  -- attention sinks, null evidence and the D.4 quantities at full precision; no order is implied
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, metric, unit, mean, sd, lowest,
         highest, seeds, n, reason
  FROM metric_summary
  WHERE precision = 'full'
    AND (metric LIKE 'first_token_mass%' OR metric LIKE 'sink_rate%'
         OR metric LIKE 'd4_%'
         OR metric IN ('null_posterior', 'null_mass', 'attention_entropy', 'attention_max',
                       'largest_probability', 'massive_activations', 'depth_null_mass'));

CREATE VIEW cell_layer_statistics AS
  -- long form: one row for each per-layer figure of each cell
  SELECT s.id AS suite_id, s.name AS suite, c.id AS cell_id, c.dataset AS trained_on, c.model,
         c.label AS method, c.seed, t.id AS stage_id,
         CASE WHEN t.weight_bits IS NULL THEN 'full'
              ELSE printf('W%dA%d', t.weight_bits, t.activation_bits) END AS precision,
         l.dataset AS evaluated_on, l.quantity, l.layer, l.part, l.head, l.source, l.value, l.unit,
         l.n
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  JOIN cell_stages x ON x.cell_id = c.id
  JOIN stages t ON t.id = x.stage_id AND t.state = 'done'
  JOIN layer_statistics l ON l.stage_id = t.id;

CREATE VIEW table_depth AS
  -- depth routing by router: the weight on the embedding, on the newest source, on everything
  -- between, and the null mass
  WITH per_seed AS (
    SELECT suite_id, suite, trained_on, model, evaluated_on, method, layer, part, stage_id, seed, n,
           unit,
           CASE WHEN quantity = 'depth_null_mass' THEN 'null'
                WHEN source = 0 THEN 'embedding'
                WHEN source = max(source) OVER (
                  PARTITION BY suite_id, cell_id, stage_id, evaluated_on, layer, part)
                THEN 'newest' ELSE 'between' END AS share,
           value
    FROM cell_layer_statistics
    WHERE precision = 'full' AND quantity IN ('depth_weight', 'depth_null_mass')),
  summed AS (
    SELECT suite_id, suite, trained_on, model, evaluated_on, method, layer, part, seed, share, unit,
           sum(value) AS value, min(n) AS n
    FROM per_seed
    GROUP BY suite_id, trained_on, model, evaluated_on, method, layer, part, seed, share, unit),
  centred AS (
    SELECT *, avg(value) OVER (
             PARTITION BY suite_id, trained_on, model, evaluated_on, method, layer, part, share,
                          unit) AS mean
    FROM summed)
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, layer, part,
         share, unit, mean,
         CASE WHEN count(value) > 1
              THEN sqrt(sum((value - mean) * (value - mean)) / (count(value) - 1)) END AS sd,
         count(value) AS seeds, min(n) AS n
  FROM centred
  GROUP BY suite_id, trained_on, model, evaluated_on, method, layer, part, share, unit;

CREATE VIEW table_massive_activations AS
  -- tokens, positions and channels with massive activations at full precision, the largest of a
  -- cell first; layers: whose outputs have one there
  SELECT s.id AS suite_id, s.name AS suite, c.dataset AS trained_on, c.model, c.label AS method,
         c.seed, a.dataset AS evaluated_on,
         row_number() OVER (PARTITION BY c.id, t.id, a.dataset
                            ORDER BY abs(a.largest) DESC, a.token, a.position, a.channel) AS place,
         a.token, a.text, a.position, a.channel, a.first_layer, a.last_layer, a.largest,
         a.largest_layer, a.n
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  JOIN cell_stages x ON x.cell_id = c.id
  JOIN stages t ON t.id = x.stage_id AND t.state = 'done'
  JOIN massive_activations a ON a.stage_id = t.id;

CREATE VIEW table_site_costs AS
  -- perplexity with one quantization point or weight alone quantized, the costliest of a cell and
  -- setting first; ratio: to the perplexity with none, on the same sequences
  SELECT s.id AS suite_id, s.name AS suite, c.dataset AS trained_on, c.model, c.label AS method,
         c.seed, i.dataset AS evaluated_on, t.weight_bits, t.activation_bits, t.points, t.quantizer,
         row_number() OVER (PARTITION BY c.id, t.id, i.dataset
                            ORDER BY i.value IS NOT NULL, i.value DESC, i.site) AS place,
         i.site, i.value AS perplexity, i.value / b.value AS ratio, i.n
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  JOIN cell_stages x ON x.cell_id = c.id
  JOIN stages t ON t.id = x.stage_id AND t.state = 'done'
  JOIN site_statistics i ON i.stage_id = t.id AND i.quantity = 'perplexity_alone'
  JOIN site_statistics b ON b.stage_id = t.id AND b.dataset = i.dataset
   AND b.quantity = 'perplexity_none';

CREATE VIEW table_training AS
  -- one row for each training of each cell
  SELECT s.id AS suite_id, s.name AS suite, c.dataset AS trained_on, c.model, c.label AS method,
         c.seed, t.id AS stage_id, t.kind, t.state, p.steps, p.tokens,
         -- nat per token, mean over the last tenth of the recorded steps, n of them
         (SELECT avg(q.loss) FROM curves q WHERE q.stage_id = t.id AND q.step > 0.9 * p.steps)
           AS final_loss,
         (SELECT nullif(count(q.loss), 0) FROM curves q WHERE q.stage_id = t.id AND q.step > 0.9 * p.steps)
           AS n,
         p.tokens / (p.steps * p.seconds_per_step) AS tokens_per_second,
         t.seconds, t.device, t.dtype, r.source_revision, r.source_dirty, t.error
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  JOIN cell_stages x ON x.cell_id = c.id
  JOIN stages t ON t.id = x.stage_id AND t.kind IN ('pretrain', 'finetune')
  LEFT JOIN runs r ON r.id = t.run_id
  LEFT JOIN (
    SELECT stage_id, max(step) AS steps, max(tokens) AS tokens,
           avg(seconds_per_step) AS seconds_per_step
    FROM curves GROUP BY stage_id) p ON p.stage_id = t.id;

CREATE VIEW table_speed AS
  -- tokens trained on in a second, over the seeds of a group, on each device; place: 1 for the
  -- fastest method, 2 for the one after it; without the first tenth of the steps, in which a
  -- process loads its kernels
  WITH measured AS (
    SELECT t.suite_id, t.suite, t.trained_on, t.model, t.method, t.kind, t.device, t.dtype, t.steps,
           t.tokens / (t.steps * (SELECT avg(q.seconds_per_step) FROM curves q
                                  WHERE q.stage_id = t.stage_id AND q.step > 0.1 * t.steps))
             AS tokens_per_second
    FROM table_training t WHERE t.state = 'done'),
  centred AS (
    SELECT *, avg(tokens_per_second) OVER (
             PARTITION BY suite_id, trained_on, model, method, kind, device, dtype) AS mean
    FROM measured WHERE tokens_per_second IS NOT NULL),
  summed AS (
    SELECT suite_id, suite, trained_on, model, method, kind, device, dtype, mean,
           CASE WHEN count(*) > 1
                THEN sqrt(sum((tokens_per_second - mean) * (tokens_per_second - mean))
                          / (count(*) - 1)) END AS sd,
           count(*) AS seeds, min(steps) AS n
    FROM centred
    GROUP BY suite_id, trained_on, model, method, kind, device, dtype),
  ranked AS (
    SELECT *, rank() OVER (PARTITION BY suite_id, trained_on, model, kind, device, dtype
                           ORDER BY mean DESC) AS place
    FROM summed)
  SELECT m.*, m.place = 1 AS best, 100 * (m.mean / b.mean - 1) AS percent_vs_attnres
  FROM ranked m
  LEFT JOIN summed b
    ON b.suite_id = m.suite_id AND b.trained_on = m.trained_on AND b.model = m.model
   AND b.kind = m.kind AND b.device = m.device AND b.dtype = m.dtype AND b.method = 'attnres';

CREATE VIEW table_failures AS
  -- every stage that failed or was stopped before its end
  SELECT s.id AS suite_id, s.name AS suite, c.dataset AS trained_on, c.model, c.label AS method,
         c.seed, t.kind, t.evaluated_on,
         CASE WHEN t.weight_bits IS NULL THEN 'full'
              ELSE printf('W%dA%d', t.weight_bits, t.activation_bits) END AS precision,
         t.state, t.step, coalesce(t.error, 'stopped by request; run the suite again to continue')
           AS reason, t.artifact_path AS last_checkpoint
  FROM suites s
  JOIN cells c ON c.suite_id = s.id
  JOIN cell_stages x ON x.cell_id = c.id
  JOIN stages t ON t.id = x.stage_id AND t.state IN ('failed', 'stopped');

CREATE VIEW suite_provenance AS
  -- by what the stages of a suite were computed
  SELECT s.id AS suite_id, s.name AS suite, substr(s.hash, 1, 12) AS suite_hash, s.used,
         (SELECT count(*) FROM suites o WHERE o.name = s.name AND o.used > s.used) = 0 AS newest,
         (SELECT group_concat(DISTINCT substr(r.source_revision, 1, 12) ||
                              CASE r.source_dirty WHEN 1 THEN ' with changes' ELSE '' END)
          FROM cells c JOIN cell_stages x ON x.cell_id = c.id JOIN stages t ON t.id = x.stage_id
          JOIN runs r ON r.id = t.run_id WHERE c.suite_id = s.id) AS source_revisions,
         (SELECT group_concat(DISTINCT t.device || ' ' || t.dtype)
          FROM cells c JOIN cell_stages x ON x.cell_id = c.id JOIN stages t ON t.id = x.stage_id
          WHERE c.suite_id = s.id AND t.device IS NOT NULL) AS devices,
         (SELECT count(*) FROM cells c WHERE c.suite_id = s.id) AS cells
  FROM suites s;

CREATE VIEW paired_effects AS
  -- each method's figure beside that of another, attnres or oasis, under the same seed, one row for
  -- each figure that comparisons are made of; percent: the difference in percent of the other's
  -- figure, points: of shares, in points
  SELECT m.suite_id, m.suite, m.trained_on, m.model, m.evaluated_on, m.method,
         b.method AS beside, m.seed, m.metric,
         m.unit, m.precision, m.points, m.quantizer,
         CASE m.precision WHEN 'full' THEN 'full precision'
              ELSE m.precision || ' ' || m.points ||
                   CASE m.quantizer WHEN '' THEN '' ELSE ', ' || m.quantizer END
         END AS setting,
         ifnull((100 - m.weight_bits) * 1000 + (100 - m.activation_bits) * 10
                + (m.points <> 'published'), 0) AS setting_order,
         m.value, b.value AS reference, m.n,
         CASE WHEN (m.metric LIKE 'gsm8k_pass1%' OR m.metric IN ('first_token_mass', 'sink_rate'))
              THEN 100 * (m.value - b.value)
              ELSE 100 * (m.value / nullif(b.value, 0) - 1) END AS effect,
         CASE WHEN (m.metric LIKE 'gsm8k_pass1%' OR m.metric IN ('first_token_mass', 'sink_rate'))
              THEN 'points' ELSE '%' END AS effect_unit
  FROM cell_metrics m
  JOIN cell_metrics b
    ON b.suite_id = m.suite_id AND b.trained_on = m.trained_on AND b.model = m.model
   AND b.seed = m.seed AND b.kind = m.kind AND b.precision = m.precision AND b.points = m.points
   AND b.quantizer = m.quantizer AND b.evaluated_on = m.evaluated_on AND b.metric = m.metric
   AND b.method IN ('attnres', 'oasis')
  WHERE m.method <> b.method AND m.value IS NOT NULL AND b.value IS NOT NULL
    AND (m.metric IN ('perplexity', 'gsm8k_pass1_strict', 'gsm8k_pass1_flexible')
         OR (m.precision = 'full' AND m.metric IN ('max_inf_norm/seq', 'avg_kurtosis/seq',
                                                   'first_token_mass', 'sink_rate')));

CREATE VIEW gsm8k_pairs AS
  -- the same problems answered by two stages of one seed: a method beside attnres under the same
  -- setting, and each setting beside the method's own full precision; gained: right here and wrong
  -- there, lost: the other way round
  WITH answered AS (
    SELECT DISTINCT c.suite_id, c.suite, c.trained_on, c.model, c.method, c.seed, c.evaluated_on,
           c.stage_id, c.kind,
           CASE c.precision WHEN 'full' THEN 'full precision'
                ELSE c.precision || ' ' || c.points ||
                     CASE c.quantizer WHEN '' THEN '' ELSE ', ' || c.quantizer END END AS setting
    FROM cell_metrics c WHERE c.metric LIKE 'gsm8k_pass1%'),
  pairs AS (
    SELECT a.*, b.stage_id AS other_stage, 'attnres' AS beside
    FROM answered a JOIN answered b USING (suite_id, trained_on, model, seed, evaluated_on, setting, kind)
    WHERE b.method = 'attnres' AND a.method <> 'attnres'
    UNION ALL
    SELECT a.*, b.stage_id, 'full precision'
    FROM answered a JOIN answered b USING (suite_id, trained_on, model, seed, evaluated_on, method)
    WHERE b.setting = 'full precision' AND a.setting <> 'full precision')
  SELECT p.suite_id, p.suite, p.trained_on, p.model, p.evaluated_on, p.method, p.seed, p.setting,
         p.beside, s.rule, sum(s.correct AND NOT o.correct) AS gained,
         sum(o.correct AND NOT s.correct) AS lost, count(*) AS n
  FROM pairs p
  JOIN generations g ON g.stage_id = p.stage_id
  JOIN generations h ON h.stage_id = p.other_stage AND h.problem = g.problem
  JOIN generation_scores s ON s.generation_id = g.id
  JOIN generation_scores o ON o.generation_id = h.id AND o.rule = s.rule
  GROUP BY p.suite_id, p.stage_id, p.other_stage, p.beside, s.rule;

CREATE VIEW claim_effects AS
  -- what answers a claim of the paper: a method beside a reference under the same seed, one row for
  -- each claim, reading, setting (trained on x model x evaluated on) and seed. Readings of claims
  -- against all baselines: beside attnres, and beside the mean of the five; else the one method
  WITH asked (id, metric, precision, method, beside, unit) AS (
    VALUES ('max_inf_norm', 'max_inf_norm/seq', 'full', 'oasis', '', '%'),
           ('avg_kurtosis', 'avg_kurtosis/seq', 'full', 'oasis', '', '%'),
           ('perplexity_w8a8', 'perplexity', 'W8A8', 'oasis', '', '%'),
           ('gsm8k_pass1_w4a4', 'gsm8k_pass1_strict', 'W4A4', 'oasis', '', 'points'),
           ('depth_softmax_sinks', 'first_token_mass', 'full', 'attnres', 'prenorm', 'points'),
           ('depth_softmax_outliers', 'max_inf_norm/seq', 'full', 'attnres', 'prenorm', '%'),
           ('depth_softmax_w8a8', 'perplexity', 'W8A8', 'attnres', 'prenorm', '%'),
           ('depth_null_outliers', 'max_inf_norm/seq', 'full', 'oasis', 'oasis_token_null_only', '%'),
           ('token_null_outliers', 'max_inf_norm/seq', 'full', 'oasis', 'oasis_depth_null_only', '%'),
           ('coupling_outliers', 'max_inf_norm/seq', 'full', 'oasis', 'oasis_no_coupling', '%'),
           ('coupling_w8a8', 'perplexity', 'W8A8', 'oasis', 'oasis_no_coupling', '%')),
  figures AS (
    SELECT a.id, a.method AS claimed, a.beside, a.unit, c.suite_id, c.trained_on, c.model,
           c.evaluated_on, c.seed, c.method, c.value, c.n
    FROM asked a JOIN cell_metrics c ON c.metric = a.metric AND c.precision = a.precision
    WHERE c.value IS NOT NULL
      AND (c.precision = 'full' OR (c.points = 'published' AND c.quantizer = ''))),
  refs AS (
    SELECT method AS reading, id, suite_id, trained_on, model, evaluated_on, seed, value
    FROM figures WHERE method = CASE beside WHEN '' THEN 'attnres' ELSE beside END
    UNION ALL
    SELECT 'five baselines', id, suite_id, trained_on, model, evaluated_on, seed, avg(value)
    FROM figures
    WHERE beside = ''
      AND method IN ('attnres', 'clipped_softmax', 'gated_attention', 'softmax1', 'sparsemax')
    GROUP BY id, suite_id, trained_on, model, evaluated_on, seed
    HAVING count(DISTINCT method) = 5)
  SELECT o.suite_id, o.id, o.method, r.reading, o.trained_on, o.model, o.evaluated_on, o.seed,
         o.value, r.value AS reference, o.n,
         CASE o.unit WHEN '%' THEN 100 * (o.value / nullif(r.value, 0) - 1)
                     ELSE 100 * (o.value - r.value) END AS effect, o.unit
  FROM figures o
  JOIN refs r ON r.id = o.id AND r.suite_id = o.suite_id AND r.trained_on = o.trained_on
             AND r.model = o.model AND r.evaluated_on = o.evaluated_on AND r.seed = o.seed
  WHERE o.method = o.claimed;

CREATE VIEW comparable AS
  -- all that two runs of one suite must agree on, ids replaced by what they stand for; left out:
  -- runs, events, suites.used, stages.{run_id, started, ended, seconds, artifact_path},
  -- curves.seconds_per_step and metrics marked `varies`
  SELECT 'suite' AS kind, name || '|' || hash AS subject, json AS contents FROM suites
  UNION ALL
  SELECT 'cell', s.name || '|' || s.hash || '|' || c.label || '|' || c.dataset || '|' || c.model ||
                 '|' || c.seed, c.method || '|' || c.config
  FROM cells c JOIN suites s ON s.id = c.suite_id
  UNION ALL
  SELECT 'cell stage', s.name || '|' || s.hash || '|' || c.label || '|' || c.dataset || '|' ||
                       c.model || '|' || c.seed, t.key
  FROM cell_stages x JOIN cells c ON c.id = x.cell_id JOIN suites s ON s.id = c.suite_id
  JOIN stages t ON t.id = x.stage_id
  UNION ALL
  SELECT 'stage', key, kind || '|' || parent_key || '|' || evaluated_on || '|' ||
                       quote(weight_bits) || '|' || quote(activation_bits) || '|' || points || '|' ||
                       quantizer || '|' || state || '|' || quote(device) || '|' || quote(dtype) ||
                       '|' || quote(step) || '|' || quote(error) || '|' || quote(artifact_sha256) ||
                       '|' || config
  FROM stages
  UNION ALL
  SELECT 'metric', t.key || '|' || m.dataset || '|' || m.name,
         quote(m.value) || '|' || quote(m.low) || '|' || quote(m.high) || '|' || quote(m.reason) ||
         '|' || m.unit || '|' || m.n
  FROM metrics m JOIN stages t ON t.id = m.stage_id WHERE NOT m.varies
  UNION ALL
  SELECT 'curve', t.key || '|' || printf('%012d', p.step),
         p.tokens || '|' || quote(p.loss) || '|' || quote(p.learning_rate) || '|' ||
         quote(p.gradient_norm)
  FROM curves p JOIN stages t ON t.id = p.stage_id
  UNION ALL
  SELECT 'site', t.key || '|' || i.dataset || '|' || i.quantity || '|' || i.site,
         quote(i.value) || '|' || i.unit || '|' || i.n
  FROM site_statistics i JOIN stages t ON t.id = i.stage_id
  UNION ALL
  SELECT 'layer', t.key || '|' || l.dataset || '|' || l.quantity || '|' || quote(l.layer) || '|' ||
                  l.part || '|' || quote(l.head) || '|' || quote(l.source),
         quote(l.value) || '|' || l.unit || '|' || l.n
  FROM layer_statistics l JOIN stages t ON t.id = l.stage_id
  UNION ALL
  SELECT 'massive activation', t.key || '|' || a.dataset || '|' || printf('%08d', a.token) || '|' ||
                               printf('%08d', a.position) || '|' || printf('%08d', a.channel),
         a.text || '|' || a.first_layer || '|' || a.last_layer || '|' || quote(a.largest) || '|' ||
         a.largest_layer || '|' || a.n
  FROM massive_activations a JOIN stages t ON t.id = a.stage_id
  UNION ALL
  SELECT 'example', t.key || '|' || e.dataset || '|' || e.quantity || '|' || quote(e.layer) || '|' ||
                    e.part,
         e.rows || '|' || e.columns || '|' || e.stride || '|' || hex(e.contents)
  FROM examples e JOIN stages t ON t.id = e.stage_id
  UNION ALL
  SELECT 'generation', t.key || '|' || printf('%08d', g.problem),
         g.gold || '|' || g.tokens || '|' || replace(replace(g.text, '\', '\\'), char(10), '\n')
  FROM generations g JOIN stages t ON t.id = g.stage_id
  UNION ALL
  SELECT 'generation score', t.key || '|' || printf('%08d', g.problem) || '|' || c.rule,
         quote(c.extracted) || '|' || c.correct
  FROM generation_scores c JOIN generations g ON g.id = c.generation_id
  JOIN stages t ON t.id = g.stage_id
  UNION ALL
  SELECT 'claim', id, text || '|' || value || '|' || unit || '|' || source FROM paper_claims;

CREATE VIEW table_bench AS
  -- benchmarks; age: 1 for the newest row of each formulation of each case on each device, 2 for
  -- the one before it, …
  WITH ranked AS (
    SELECT b.*, row_number() OVER (
             PARTITION BY device, operation, variant, shape, dtype, pass, formulation,
                          implementation ORDER BY run_id DESC) AS age
    FROM benchmarks b),
  in_run AS (  -- what a row is set beside, of its own run
    SELECT run_id, device, operation, variant, shape, dtype, pass,
           max(CASE WHEN formulation = 'ours' THEN median_seconds END) AS ours_seconds
    FROM benchmarks GROUP BY run_id, device, operation, variant, shape, dtype, pass)
  SELECT b.id, b.run_id, r.started, r.source_revision, r.source_dirty, r.machine, r.driver, r.libraries,
         b.device, b.operation, b.variant, b.shape, b.dtype, b.pass, b.formulation,
         b.implementation, b.median_seconds, b.p10_seconds, b.p90_seconds, b.n, b.parts, b.bytes,
         b.flops,
         -- the time that copies and matrix products of this size take, over the time taken
         max(b.bytes / b.copy_bytes_per_second, b.flops / b.gemm_flops_per_second)
           / b.median_seconds AS share_of_ceiling,
         o.ours_seconds / b.median_seconds AS ours_over_this,
         nullif(b.tokens, 0) AS tokens,
         nullif(b.tokens, 0) / b.median_seconds AS tokens_per_second,
         -- of a step: its FLOPs over what a large matrix product reached in the same run
         CASE WHEN b.tokens > 0 THEN b.flops / b.gemm_flops_per_second / b.median_seconds END
           AS mfu,
         b.peak_bytes,
         -- of a step: its time over that of the plain residual sum in the same run
         CASE WHEN b.tokens > 0 THEN b.median_seconds / p.ours_seconds END AS ratio_to_prenorm,
         b.copy_bytes_per_second, b.gemm_flops_per_second, b.error, b.age
  FROM ranked b
  JOIN runs r ON r.id = b.run_id
  LEFT JOIN in_run o
    ON o.run_id = b.run_id AND o.device = b.device AND o.operation = b.operation
   AND o.variant = b.variant AND o.shape = b.shape AND o.dtype = b.dtype AND o.pass = b.pass
  LEFT JOIN in_run p
    ON p.run_id = b.run_id AND p.device = b.device AND p.operation = b.operation
   AND p.variant = 'prenorm' AND p.shape = b.shape AND p.dtype = b.dtype AND p.pass = b.pass;
