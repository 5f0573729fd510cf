-- Schema version 3: generated answers, their scores, and intervals of metrics. Once released a
-- version is never edited.

ALTER TABLE metrics RENAME TO metrics_without_interval;
CREATE TABLE metrics (
  -- the figures of a finished stage
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  name TEXT NOT NULL,                -- perplexity, max_inf_norm/seq, …
  dataset TEXT NOT NULL,             -- evaluated on, '' for figures of a training
  value REAL,                        -- NULL when there is none: see reason
  low REAL,                          -- lower end of its 95 % interval; NULL: none was computed
  high REAL,                         -- upper end
  reason TEXT,                       -- why there is no value
  unit TEXT NOT NULL CHECK (unit <> ''),  -- '1' for a pure number
  n INTEGER NOT NULL CHECK (n >= 0), -- how many tokens, sequences, … were averaged
  varies INTEGER NOT NULL CHECK (varies IN (0, 1)),  -- 1: a time, speed or memory figure
  PRIMARY KEY (stage_id, name, dataset),
  CHECK ((value IS NULL) = (reason IS NOT NULL)),
  CHECK ((low IS NULL) = (high IS NULL)),
  CHECK (low <= value AND value <= high)
) STRICT, WITHOUT ROWID;
INSERT INTO metrics (stage_id, name, dataset, value, reason, unit, n, varies)
  SELECT stage_id, name, dataset, value, reason, unit, n, varies FROM metrics_without_interval;
DROP TABLE metrics_without_interval;

CREATE TABLE generations (
  -- one row for each problem that a stage let a model answer: its text, stored once, whatever the
  -- rules that score it
  id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  problem INTEGER NOT NULL CHECK (problem >= 0),  -- its place in the split evaluated, from 0
  gold TEXT NOT NULL,                -- the right answer as the data set writes it: '18', '1,234'
  text TEXT NOT NULL,                -- what was generated after the prompt
  tokens INTEGER NOT NULL CHECK (tokens >= 0),  -- generated
  UNIQUE (stage_id, problem)
) STRICT;

CREATE TABLE generation_scores (
  -- one row for each generation and scoring rule; `oasis gsm8k rescore` makes them anew
  generation_id INTEGER NOT NULL REFERENCES generations (id) ON DELETE CASCADE,
  rule TEXT NOT NULL,                -- strict, flexible, openai, numeric
  extracted TEXT,                    -- answer found in the text, as it stands there; NULL: none
  correct INTEGER NOT NULL CHECK (correct IN (0, 1)),
  PRIMARY KEY (generation_id, rule),
  CHECK (extracted IS NOT NULL OR correct = 0)
) STRICT, WITHOUT ROWID;
