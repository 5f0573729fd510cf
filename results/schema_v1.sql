-- Schema version 1. Once released a version is never edited: changes go into the next migration.
-- Comments stand inside the statements so that SQLite keeps them (`oasis query --schema`).

CREATE TABLE meta (
  -- facts about the file itself
  name TEXT PRIMARY KEY,  -- 'views_sha256': hash of the view definitions in the file
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
  -- one row for each process that did work: where, when and by what; differs from run to run
  id INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,          -- random 128-bit name, the same after a merge
  machine TEXT NOT NULL,             -- host name
  operating_system TEXT NOT NULL,    -- as /etc/os-release names it
  cpu TEXT NOT NULL,                 -- model name
  cores INTEGER NOT NULL,            -- hardware threads usable by the process
  memory_bytes INTEGER NOT NULL,     -- physical memory, bytes
  gpu TEXT NOT NULL,                 -- model and count, '' without one
  driver TEXT NOT NULL,              -- GPU driver version, '' without one
  libraries TEXT NOT NULL CHECK (json_valid(libraries)),  -- JSON object, library name: version
  source_revision TEXT NOT NULL,     -- commit that was built
  source_dirty INTEGER NOT NULL CHECK (source_dirty IN (0, 1)),  -- 1: the tree differed from it
  build_type TEXT NOT NULL,          -- CMake's: Release, Debug, …
  command_line TEXT NOT NULL,        -- as typed
  process TEXT NOT NULL,             -- machine boot, process id and its start: tells if it still lives
  started TEXT NOT NULL,             -- UTC, ISO 8601
  ended TEXT                         -- UTC, ISO 8601; NULL while running or when killed
) STRICT;

CREATE TABLE suites (
  -- one row for each version of a suite file; the newest `used` of a name is what tables show
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL,
  hash TEXT NOT NULL,                -- SHA-256 of json
  json TEXT NOT NULL CHECK (json_valid(json)),  -- the suite as it was run
  used TEXT NOT NULL,                -- UTC, ISO 8601 with microseconds: last planned or run
  UNIQUE (name, hash)
) STRICT;

CREATE TABLE cells (
  -- one row for each (method, data set, model, seed) of a suite
  id INTEGER PRIMARY KEY,
  suite_id INTEGER NOT NULL REFERENCES suites (id),
  method TEXT NOT NULL,              -- name in the registry of methods
  label TEXT NOT NULL,               -- as tables show it: the method, or its variant in this suite
  dataset TEXT NOT NULL,             -- trained on
  model TEXT NOT NULL,               -- model name in the suite
  seed INTEGER NOT NULL,
  config TEXT NOT NULL CHECK (json_valid(config)),  -- complete: all that determines the outcome
  UNIQUE (suite_id, label, dataset, model, seed)
) STRICT;

CREATE TABLE stages (
  -- one row for each piece of work: a training, a calibration, an evaluation
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,          -- hash of everything that determines the outcome
  kind TEXT NOT NULL,                -- pretrain, finetune, evaluate, calibrate, quantized
  parent_key TEXT NOT NULL,          -- key of the stage whose artifact it starts from, '' for none
  config TEXT NOT NULL CHECK (json_valid(config)),  -- what the key is a hash of
  evaluated_on TEXT NOT NULL,        -- data set evaluated, '' for a training
  weight_bits INTEGER CHECK (weight_bits BETWEEN 2 AND 16),          -- NULL: full precision
  activation_bits INTEGER CHECK (activation_bits BETWEEN 2 AND 16),  -- NULL: full precision
  points TEXT NOT NULL,              -- quantization points: published, all_inputs; '' at full precision
  quantizer TEXT NOT NULL,           -- '' for the published ranges, else how they differ
  state TEXT NOT NULL DEFAULT 'pending'
    CHECK (state IN ('pending', 'running', 'done', 'failed', 'stopped')),
  run_id INTEGER REFERENCES runs (id),  -- run that last worked on it
  device TEXT,                       -- cpu, or the GPU's name
  dtype TEXT,                        -- float32, bfloat16, float64
  step INTEGER,                      -- last step in the stored state, or the one that failed
  started TEXT,                      -- UTC, ISO 8601: first begun
  ended TEXT,                        -- UTC, ISO 8601: done, failed or stopped
  seconds REAL NOT NULL DEFAULT 0,   -- s of work over all sessions that ended in order
  error TEXT,                        -- why it failed
  artifact_path TEXT,                -- checkpoint or ranges written by it
  artifact_sha256 TEXT,              -- of the weights in it
  CHECK ((state = 'failed') = (error IS NOT NULL)),
  CHECK ((weight_bits IS NULL) = (activation_bits IS NULL))
) STRICT;

CREATE TABLE cell_stages (
  -- which cells a stage belongs to: work done once counts for every cell that needs it
  cell_id INTEGER NOT NULL REFERENCES cells (id),
  stage_id INTEGER NOT NULL REFERENCES stages (id),
  PRIMARY KEY (cell_id, stage_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX cell_stages_by_stage ON cell_stages (stage_id);

CREATE TABLE metrics (
  -- the figures of a finished stage
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  name TEXT NOT NULL,                -- perplexity, max_inf_norm/seq, …
  dataset TEXT NOT NULL,             -- evaluated on, '' for figures of a training
  value REAL,                        -- NULL when there is none: see reason
  reason TEXT,                       -- why there is no value
  unit TEXT NOT NULL CHECK (unit <> ''),  -- '1' for a pure number
  n INTEGER NOT NULL CHECK (n >= 0), -- how many tokens, sequences, … were averaged
  varies INTEGER NOT NULL CHECK (varies IN (0, 1)),  -- 1: a time, speed or memory figure
  PRIMARY KEY (stage_id, name, dataset),
  CHECK ((value IS NULL) = (reason IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE curves (
  -- one row for each recorded training step
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  step INTEGER NOT NULL CHECK (step > 0),  -- optimizer steps done
  tokens INTEGER NOT NULL,           -- tokens seen up to and with this step
  loss REAL,                         -- nat per token of this step's batch; NULL: not finite
  learning_rate REAL NOT NULL,
  gradient_norm REAL,                -- before clipping; NULL: not finite
  seconds_per_step REAL,             -- s, measured
  PRIMARY KEY (stage_id, step)
) STRICT, WITHOUT ROWID;

CREATE TABLE site_statistics (
  -- activation statistics of each recorded module
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  dataset TEXT NOT NULL,             -- evaluated on
  quantity TEXT NOT NULL,            -- max_inf_norm/seq, avg_kurtosis/seq, …
  site TEXT NOT NULL,                -- module name, model.layers.0.mlp
  value REAL,                        -- NULL: not finite
  unit TEXT NOT NULL CHECK (unit <> ''),
  n INTEGER NOT NULL CHECK (n >= 0), -- sequences or tokens averaged
  PRIMARY KEY (stage_id, dataset, quantity, site)
) STRICT, WITHOUT ROWID;

CREATE TABLE layer_statistics (
  -- statistics of each layer, head or depth-routing source
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  dataset TEXT NOT NULL,             -- evaluated on
  quantity TEXT NOT NULL,            -- first_token_mass, null_posterior, depth_weight, …
  layer INTEGER,                     -- 0 = first; NULL: the router before the final norm
  part TEXT NOT NULL,                -- router: sa, mlp, final; '' otherwise
  head INTEGER,                      -- NULL: over all heads
  source INTEGER,                    -- routed source, 0 = the embedding; NULL: over all
  value REAL,                        -- NULL: not finite
  unit TEXT NOT NULL CHECK (unit <> ''),
  n INTEGER NOT NULL CHECK (n >= 0)  -- sequences or tokens averaged
) STRICT;
CREATE UNIQUE INDEX layer_statistics_one ON layer_statistics
  (stage_id, dataset, quantity, ifnull(layer, -1), part, ifnull(head, -1), ifnull(source, -1));

CREATE TABLE events (
  -- what happened on the way: resumed, micro-batch halved; differs from run to run
  id INTEGER PRIMARY KEY,
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  run_id INTEGER REFERENCES runs (id),
  step INTEGER,                      -- training step, NULL when not in training
  kind TEXT NOT NULL,                -- resumed, micro_batch_halved, …
  message TEXT NOT NULL,
  at TEXT NOT NULL                   -- UTC, ISO 8601
) STRICT;
CREATE INDEX events_by_stage ON events (stage_id);

CREATE TABLE paper_claims (
  -- what the paper says, to be set beside our figures
  id TEXT PRIMARY KEY,               -- stable name
  text TEXT NOT NULL,
  value REAL NOT NULL,               -- the paper's figure
  unit TEXT NOT NULL CHECK (unit <> ''),
  source TEXT NOT NULL               -- where it is said
) STRICT, WITHOUT ROWID;
INSERT INTO paper_claims (id, text, value, unit, source) VALUES
  ('max_inf_norm', 'maximum infinity norm, against attention residuals', -9.26, '%',
   'arXiv 2605.17887, headline: average over the evaluated settings, three data sets'),
  ('avg_kurtosis', 'average kurtosis, against attention residuals', -2.60, '%',
   'arXiv 2605.17887, headline: average over the evaluated settings, three data sets'),
  ('perplexity_w8a8', 'perplexity under W8A8, against attention residuals', -75.85, '%',
   'arXiv 2605.17887, headline: average over the evaluated settings, three data sets'),
  ('gsm8k_pass1_w4a4', 'GSM8K Pass@1 under W4A4, against attention residuals', 12.42, 'points',
   'arXiv 2605.17887, headline: average over the evaluated settings');
