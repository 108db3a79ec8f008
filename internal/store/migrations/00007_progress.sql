-- +goose Up
CREATE TABLE progress (
  one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  frames INTEGER NOT NULL                   -- the index has all frames of the recording below this one
);
-- An index of an earlier version followed the journal, and is trusted until it says so itself.
INSERT INTO progress (one, frames) SELECT 1, iif(EXISTS (SELECT 1 FROM sessions), 9223372036854775807, 0);
