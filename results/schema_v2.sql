-- Schema version 2: benchmarks. Once released a version is never edited.

CREATE TABLE benchmarks (
  -- one row for each formulation of each case that a run of `oasis bench` timed or refused to time
  id INTEGER PRIMARY KEY,            -- in the order in which they were run
  run_id INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  device TEXT NOT NULL,              -- the processor's model and the threads, or the GPU's name
  operation TEXT NOT NULL,           -- attention, depth_route, …; step: a whole training step
  variant TEXT NOT NULL,             -- normaliser, form, or method of a step; '' where there is one
  shape TEXT NOT NULL,               -- 'B64 H32 T512 d64'
  dtype TEXT NOT NULL,               -- float32, bfloat16, …
  pass TEXT NOT NULL CHECK (pass IN ('forward', 'forward+backward', 'step')),
  formulation TEXT NOT NULL CHECK (formulation IN ('ours', 'eager', 'library')),
  implementation TEXT NOT NULL,      -- which library, '' for the others
  median_seconds REAL,               -- s of one repetition; NULL: see error
  p10_seconds REAL,                  -- a tenth of the repetitions were faster
  p90_seconds REAL,                  -- a tenth of them were slower
  n INTEGER NOT NULL CHECK (n >= 0), -- repetitions timed
  parts REAL NOT NULL CHECK (parts >= 1),  -- > 1: 1/parts of the batch was timed, times parts
  error TEXT,                        -- why it was not timed: failed its check, did not fit, …
  bytes REAL NOT NULL,               -- that one repetition must read and write at least
  flops REAL NOT NULL,               -- multiply-adds counted as two
  tokens INTEGER NOT NULL,           -- trained on in one repetition, 0 for an operation
  peak_bytes INTEGER,                -- most memory held meanwhile; NULL: not measured
  copy_bytes_per_second REAL NOT NULL,  -- of a large copy in the same run, read + written
  gemm_flops_per_second REAL NOT NULL,  -- of a large matrix product in the same run
  UNIQUE (run_id, device, operation, variant, shape, dtype, pass, formulation, implementation),
  CHECK ((median_seconds IS NULL) = (error IS NOT NULL)),
  CHECK ((median_seconds IS NULL) = (p10_seconds IS NULL)),
  CHECK ((median_seconds IS NULL) = (p90_seconds IS NULL))
) STRICT;
