-- +goose Up
CREATE TABLE revocations (
  id    TEXT    NOT NULL PRIMARY KEY,
  until INTEGER NOT NULL,                   -- 0: never lapses
  body  TEXT    NOT NULL                    -- Revocation, as JSON
) WITHOUT ROWID;
