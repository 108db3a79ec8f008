-- +goose Up
CREATE TABLE sessions (
  id         TEXT    NOT NULL PRIMARY KEY,
  principal  TEXT    NOT NULL,           -- Principal.Key
  name       TEXT    NOT NULL,           -- Principal.Name
  body       TEXT    NOT NULL,           -- Principal, as JSON
  started    INTEGER NOT NULL,           -- times are Unix nanoseconds; 0: none
  last       INTEGER NOT NULL,
  operations INTEGER NOT NULL DEFAULT 0,
  refused    INTEGER NOT NULL DEFAULT 0,
  risk       INTEGER NOT NULL DEFAULT 0  -- the highest of its operations
) WITHOUT ROWID;
CREATE INDEX sessions_started ON sessions (started, id);

CREATE TABLE session_targets (
  session TEXT NOT NULL,
  target  TEXT NOT NULL,
  PRIMARY KEY (session, target)
) WITHOUT ROWID;
