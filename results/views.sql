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
         CASE WHEN t.weight_bits IS NULL THEN 'full precision'
              ELSE printf('W%dA%d %s', t.weight_bits, t.activation_bits, t.points) ||
                   CASE t.quantizer WHEN '' THEN '' ELSE ', ' || t.quantizer END
         END AS setting,
         -- full precision first, then fewer and fewer bits, published points before others
         ifnull((100 - t.weight_bits) * 1000 + (100 - t.activation_bits) * 10
                + (t.points <> 'published'), 0) AS setting_order,
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
  -- one row for each metric of each group, over its seeds. Windows and no GROUP BY, so that SQLite
  -- takes the condition on a suite down to the rows
  WITH centred AS (
    SELECT *, avg(value) OVER alike AS mean, row_number() OVER alike AS place
    FROM cell_metrics
    WINDOW alike AS (PARTITION BY suite_id, trained_on, model, method, kind, precision, points,
                                  quantizer, evaluated_on, metric, unit)),
  summed AS (
    SELECT suite_id, suite, trained_on, model, method, kind, precision, weight_bits,
           activation_bits, points, quantizer, setting, setting_order, evaluated_on, metric, unit,
           mean, place, sum((value - mean) * (value - mean)) OVER alike AS squares,
           max(low) OVER alike AS low, max(high) OVER alike AS high,
           min(value) OVER alike AS lowest, max(value) OVER alike AS highest,
           count(value) OVER alike AS seeds, count(*) OVER alike AS planned,
           count(*) FILTER (WHERE value > 0) OVER alike AS seeds_above_zero, min(n) OVER alike AS n,
           min(reason) OVER alike AS reason, max(reason) OVER alike AS other_reason
    FROM centred
    WINDOW alike AS (PARTITION BY suite_id, trained_on, model, method, kind, precision, points,
                                  quantizer, evaluated_on, metric, unit))
  SELECT suite_id, suite, trained_on, model, method, kind, precision, weight_bits, activation_bits,
         points, quantizer, setting, setting_order, evaluated_on, metric, unit, mean,
         CASE WHEN seeds > 1 THEN sqrt(squares / (seeds - 1)) END AS sd,
         -- the 95 % interval of one seed's figure; over several seeds the deviation is what counts
         CASE seeds WHEN 1 THEN low END AS low, CASE seeds WHEN 1 THEN high END AS high,
         lowest, highest, seeds, planned - seeds AS seeds_without_value, seeds_above_zero, n,
         reason || CASE WHEN other_reason <> reason THEN ',' || other_reason ELSE '' END AS reason
  FROM summed WHERE place = 1;

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
  GROUP BY s.id, c.id;

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

CREATE VIEW table_outliers AS
  -- outlier metrics at full precision; seeds_massive: in how many of seeds_counted a massive
  -- activation (|x| > 100 and >= 1000 x median) is there, since runs are bistable
  WITH counted AS (
    SELECT *,
           max(seeds_above_zero) FILTER (WHERE metric = 'massive_activations') OVER of_method
             AS seeds_massive,
           max(seeds) FILTER (WHERE metric = 'massive_activations') OVER of_method AS seeds_counted
    FROM metric_summary
    WHERE precision = 'full'
      AND (metric LIKE 'max_inf_norm/%' OR metric LIKE 'avg_kurtosis/%'
           OR metric LIKE 'max_kurtosis/%' OR metric = 'massive_activations')
    WINDOW of_method AS (PARTITION BY suite_id, trained_on, model, evaluated_on, method))
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, metric, unit, mean, sd, lowest,
         highest, seeds, n, reason,
         100 * (mean / nullif(max(mean) FILTER (WHERE method = 'attnres') OVER of_metric, 0) - 1)
           AS percent_vs_attnres,
         seeds_massive, seeds_counted, mean = min(mean) OVER of_metric AS best
  FROM counted
  WINDOW of_metric AS (PARTITION BY suite_id, trained_on, model, evaluated_on, metric);

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
  -- perplexity at full precision (precision 'full') and under each quantization setting,
  -- seeds_massive: in how many of seeds_counted a massive activation is there at full precision
  WITH counted AS (
    SELECT *,
           max(mean) FILTER (WHERE metric = 'perplexity' AND precision = 'full') OVER of_method
             AS full_mean,
           max(seeds_above_zero) FILTER (WHERE metric = 'massive_activations') OVER of_method
             AS seeds_massive,
           max(seeds) FILTER (WHERE metric = 'massive_activations') OVER of_method AS seeds_counted
    FROM metric_summary
    WHERE kind IN ('evaluate', 'quantized')
      AND (metric = 'perplexity' OR (metric = 'massive_activations' AND precision = 'full'))
    WINDOW of_method AS (PARTITION BY suite_id, trained_on, model, evaluated_on, method))
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, precision, weight_bits,
         activation_bits, points, quantizer, setting, setting_order, metric, unit, mean, sd, lowest,
         highest, seeds, n, reason, mean / nullif(full_mean, 0) AS ratio_to_full,
         100 * (mean / nullif(max(mean) FILTER (WHERE method = 'attnres') OVER of_setting, 0) - 1)
           AS percent_vs_attnres,
         seeds_massive, seeds_counted, mean = min(mean) OVER of_setting AS best
  FROM counted WHERE metric = 'perplexity'
  WINDOW of_setting AS (PARTITION BY suite_id, trained_on, model, evaluated_on, setting);

CREATE VIEW table_gsm8k AS
  -- GSM8K Pass@1 (a share of problems) under each scoring rule and quantization setting; low, high:
  -- 95 % Wilson interval of the one seed there is
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, precision, weight_bits,
         activation_bits, points, quantizer, setting, setting_order,
         substr(metric, length('gsm8k_pass1_') + 1) AS rule, unit, mean, sd, low, high, lowest,
         highest, seeds, n, reason,
         100 * (mean - max(mean) FILTER (WHERE method = 'attnres') OVER alike) AS points_vs_attnres,
         mean = max(mean) OVER alike AS best
  FROM metric_summary
  WHERE metric GLOB 'gsm8k_pass1_*'
  WINDOW alike AS (PARTITION BY suite_id, trained_on, model, evaluated_on, kind, setting, metric);

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
  -- between, and the null mass; over seeds, of each seed's sum
  WITH weights AS (
    SELECT s.*,
           CASE WHEN quantity = 'depth_null_mass' THEN 'null'
                WHEN source = 0 THEN 'embedding'
                WHEN source = (SELECT max(ifnull(z.source, -1)) FROM layer_statistics z
                               WHERE z.stage_id = s.stage_id AND z.dataset = s.evaluated_on
                                 AND z.quantity = 'depth_weight'
                                 AND ifnull(z.layer, -1) = ifnull(s.layer, -1)
                                 AND z.part = s.part AND ifnull(z.head, -1) = -1)
                THEN 'newest' ELSE 'between' END AS share
    FROM cell_layer_statistics s
    WHERE precision = 'full' AND quantity IN ('depth_weight', 'depth_null_mass')),
  by_seed AS (
    SELECT suite_id, suite, trained_on, model, evaluated_on, method, layer, part, share, unit, n,
           sum(value) OVER router AS value, row_number() OVER router AS place
    FROM weights
    WINDOW router AS (PARTITION BY suite_id, cell_id, evaluated_on, layer, part, share)),
  centred AS (
    SELECT suite_id, suite, trained_on, model, evaluated_on, method, layer, part, share, unit,
           value, avg(value) OVER alike AS mean, count(value) OVER alike AS seeds,
           min(n) OVER alike AS n, row_number() OVER alike AS place
    FROM by_seed WHERE place = 1
    WINDOW alike AS (PARTITION BY suite_id, layer, part, share, method, trained_on, evaluated_on,
                                  model)),
  summed AS (
    SELECT *, sum((value - mean) * (value - mean)) OVER (
             PARTITION BY suite_id, layer, part, share, method, trained_on, evaluated_on, model)
             AS squares
    FROM centred)
  SELECT suite_id, suite, trained_on, model, evaluated_on, method, layer, part, share, unit, mean,
         CASE WHEN seeds > 1 THEN sqrt(squares / (seeds - 1)) END AS sd, seeds, n
  FROM summed WHERE place = 1;

CREATE VIEW table_massive_activations AS
  -- tokens, positions and channels with massive activations at full precision, the largest of a
  -- cell first; layers: whose outputs have one there
  SELECT s.id AS suite_id, s.name AS suite, c.dataset AS trained_on, c.model, c.label AS method,
         c.seed, a.dataset AS evaluated_on,
         row_number() OVER (PARTITION BY s.id, c.id, t.id, a.dataset
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
         row_number() OVER (PARTITION BY s.id, c.id, t.id, i.dataset
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
  SELECT suite_id, suite, trained_on, model, method, seed, stage_id, kind, state, steps,
         (SELECT q.tokens FROM curves q WHERE q.stage_id = t.stage_id AND q.step = steps) AS tokens,
         -- nat per token, mean over the last tenth of the recorded steps, n of them
         (SELECT avg(q.loss) FROM curves q WHERE q.stage_id = t.stage_id AND q.step > 0.9 * steps)
           AS final_loss,
         (SELECT nullif(count(q.loss), 0) FROM curves q
          WHERE q.stage_id = t.stage_id AND q.step > 0.9 * steps) AS n,
         (SELECT q.tokens FROM curves q WHERE q.stage_id = t.stage_id AND q.step = steps)
           / (steps * (SELECT avg(q.seconds_per_step) FROM curves q WHERE q.stage_id = t.stage_id))
           AS tokens_per_second,
         seconds, device, dtype, source_revision, source_dirty, error
  FROM (
    SELECT s.id AS suite_id, s.name AS suite, c.dataset AS trained_on, c.model, c.label AS method,
           c.seed, t.id AS stage_id, t.kind, t.state,
           (SELECT max(q.step) FROM curves q WHERE q.stage_id = t.id) AS steps,
           t.seconds, t.device, t.dtype, r.source_revision, r.source_dirty, t.error
    FROM suites s
    JOIN cells c ON c.suite_id = s.id
    JOIN cell_stages x ON x.cell_id = c.id
    JOIN stages t ON t.id = x.stage_id AND t.kind IN ('pretrain', 'finetune')
    LEFT JOIN runs r ON r.id = t.run_id) t;

CREATE VIEW table_speed AS
  -- tokens trained on in a second, over the seeds of a group, on each device; place: 1 for the
  -- fastest method, 2 for the one after it; without the first tenth of the steps, in which a
  -- process loads its kernels
  WITH measured AS (
    SELECT t.*, t.tokens / (t.steps * (SELECT avg(q.seconds_per_step) FROM curves q
                                       WHERE q.stage_id = t.stage_id AND q.step > 0.1 * t.steps))
             AS speed
    FROM table_training t WHERE t.state = 'done'),
  centred AS (
    SELECT suite_id, suite, trained_on, model, method, kind, device, dtype, speed, steps,
           avg(speed) OVER alike AS mean, row_number() OVER alike AS one
    FROM measured WHERE speed IS NOT NULL
    WINDOW alike AS (PARTITION BY suite_id, trained_on, model, method, kind, device, dtype)),
  summed AS (
    SELECT *, sum((speed - mean) * (speed - mean)) OVER alike AS squares,
           count(*) OVER alike AS seeds, min(steps) OVER alike AS n
    FROM centred
    WINDOW alike AS (PARTITION BY suite_id, trained_on, model, method, kind, device, dtype))
  SELECT suite_id, suite, trained_on, model, method, kind, device, dtype, mean,
         CASE WHEN seeds > 1 THEN sqrt(squares / (seeds - 1)) END AS sd, seeds, n,
         rank() OVER (alike ORDER BY mean DESC) AS place, mean = max(mean) OVER alike AS best,
         100 * (mean / max(mean) FILTER (WHERE method = 'attnres') OVER alike - 1)
           AS percent_vs_attnres
  FROM summed WHERE one = 1
  WINDOW alike AS (PARTITION BY suite_id, trained_on, model, kind, device, dtype);

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
         m.setting, m.setting_order,
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
           c.setting
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
