-- Schema version 5: how problems were asked. Once released a version is never edited.

-- Solved examples in GSM8K prompts.
ALTER TABLE stages ADD COLUMN
  shots INTEGER            -- of a stage that asks problems: solved examples before each; else NULL
  CHECK (shots >= 0);
