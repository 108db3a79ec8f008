-- +goose Up
-- Tool calls that models emitted. A result, and with it the end, is told of by a later operation; either may come first.
CREATE TABLE calls (
  session TEXT    NOT NULL,
  id      TEXT    NOT NULL,               -- the provider's
  turn    TEXT    NOT NULL,               -- the model operation whose answer holds it
  tool    TEXT    NOT NULL,
  input   TEXT    NOT NULL,
  emitted INTEGER NOT NULL,
  PRIMARY KEY (session, id)
) WITHOUT ROWID;
CREATE INDEX calls_turn ON calls (turn);

CREATE TABLE call_results (
  session TEXT    NOT NULL,
  call    TEXT    NOT NULL,
  time    INTEGER NOT NULL,
  PRIMARY KEY (session, call)
) WITHOUT ROWID;

-- What caused an operation, as it was known at each time.
CREATE TABLE causes (
  operation TEXT    NOT NULL,
  time      INTEGER NOT NULL,
  rung      INTEGER NOT NULL,
  call      TEXT    NOT NULL,             -- the call that it names alone; empty where that is none or several
  body      TEXT    NOT NULL,             -- Cause, as JSON
  PRIMARY KEY (operation, time, rung)
) WITHOUT ROWID;
CREATE INDEX causes_call ON causes (call) WHERE call <> '';
