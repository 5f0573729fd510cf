-- Schema version 4: where massive activations are. Once released a version is never edited.

CREATE TABLE massive_activations (
  -- values of layer outputs with |x| > 100 and >= 1000 times the median |x|, one row for each
  -- token, position and channel that an evaluation saw them at; of many, those of largest magnitude
  stage_id INTEGER NOT NULL REFERENCES stages (id) ON DELETE CASCADE,
  dataset TEXT NOT NULL,             -- evaluated on
  token INTEGER NOT NULL CHECK (token >= 0),        -- its id
  text TEXT NOT NULL,                -- that the token stands for
  position INTEGER NOT NULL CHECK (position >= 0),  -- in its sequence, from 0
  channel INTEGER NOT NULL CHECK (channel >= 0),    -- of the hidden state, from 0
  first_layer INTEGER NOT NULL,      -- the lowest whose output has one here
  last_layer INTEGER NOT NULL,       -- the highest
  largest REAL NOT NULL,             -- the value of largest magnitude, with its sign
  largest_layer INTEGER NOT NULL,    -- whose output it is in
  n INTEGER NOT NULL CHECK (n >= 1), -- values, over sequences and layers
  PRIMARY KEY (stage_id, dataset, token, position, channel),
  CHECK (0 <= first_layer AND first_layer <= largest_layer AND largest_layer <= last_layer)
) STRICT, WITHOUT ROWID;
