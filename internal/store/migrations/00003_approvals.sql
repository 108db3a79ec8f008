-- +goose Up
CREATE TABLE approvals (
  id          TEXT    NOT NULL PRIMARY KEY, -- sorts by time
  binding     TEXT    NOT NULL,
  slot        TEXT    UNIQUE,               -- what no second open question may be asked about; NULL when closed
  principal   TEXT    NOT NULL,             -- Principal.Key of who asks
  session     TEXT    NOT NULL,
  state       TEXT    NOT NULL,
  scope       TEXT    NOT NULL,
  created     INTEGER NOT NULL,
  expires     INTEGER NOT NULL,
  valid_until INTEGER NOT NULL,
  used_by     TEXT    NOT NULL,
  body        TEXT    NOT NULL,             -- Operation and Decision, as JSON; never changes
  card        TEXT    NOT NULL              -- Card, as JSON; never changes
);
CREATE INDEX approvals_binding   ON approvals (binding, id);
CREATE INDEX approvals_principal ON approvals (principal, id);
CREATE INDEX approvals_open      ON approvals (state, id) WHERE slot IS NOT NULL;

CREATE TABLE answers (
  approval TEXT    NOT NULL,
  n        INTEGER NOT NULL,                -- from 0, in order
  body     TEXT    NOT NULL,                -- Answer, as JSON
  PRIMARY KEY (approval, n)
) WITHOUT ROWID;

CREATE TABLE approval_uses (
  approval  TEXT NOT NULL,
  operation TEXT NOT NULL,
  PRIMARY KEY (approval, operation)
) WITHOUT ROWID;
