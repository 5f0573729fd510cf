-- Schema version 5: how problems were asked, and one example of what a model does. Once released a
-- version is never edited.

-- Solved examples in GSM8K prompts.
ALTER TABLE stages ADD COLUMN
  shots INTEGER            -- of a stage that asks problems: solved examples before each; else NULL
  CHECK (shots >= 0);

-- One example of what a model does, for figures.
CREATE TABLE examples (
  -- the first sequence of an evaluation at full precision, its first 64 positions at most, at up to
  -- four layers spread evenly: a matrix each. Quantities: attention (query × key: probabilities,
  -- mean over the heads), depth_weight (position × source: a router's weights), hidden_magnitude
  -- (position × channel: |x| of a layer's output)
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  dataset TEXT NOT NULL,             -- evaluated on
  quantity TEXT NOT NULL,
  layer INTEGER,                     -- 0 = first; NULL: the router before the final norm
  part TEXT NOT NULL,                -- router: sa, mlp, final; '' otherwise
  rows INTEGER NOT NULL CHECK (rows BETWEEN 1 AND 64),
  columns INTEGER NOT NULL CHECK (columns >= 1),
  stride INTEGER NOT NULL CHECK (stride >= 1),  -- channels that a column is the largest of, else 1
  contents BLOB NOT NULL,            -- rows · columns IEEE float16, little-endian, row by row;
                                     -- beyond its range: ±65504
  CHECK (length(contents) = 2 * rows * columns)
) STRICT;
CREATE UNIQUE INDEX examples_one ON examples
  (stage_id, dataset, quantity, ifnull(layer, -1), part);
