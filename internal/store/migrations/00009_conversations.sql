-- +goose Up
-- Which session a principal's conversation is, so that it goes on there after a restart or days later. Pods have none.
CREATE TABLE conversations (
  principal    TEXT NOT NULL,             -- Principal.Key
  conversation TEXT NOT NULL,             -- the client's name for it
  session      TEXT NOT NULL,
  PRIMARY KEY (principal, conversation)
) WITHOUT ROWID;
CREATE INDEX conversations_session ON conversations (session);

-- Identifiers of calls are the provider's or the client's: in one session the same may come again, in another turn.
CREATE TABLE calls_by_turn (
  session TEXT    NOT NULL,
  id      TEXT    NOT NULL,
  turn    TEXT    NOT NULL,
  tool    TEXT    NOT NULL,
  input   TEXT    NOT NULL,
  emitted INTEGER NOT NULL,
  PRIMARY KEY (session, id, turn)
) WITHOUT ROWID;
INSERT INTO calls_by_turn SELECT session, id, turn, tool, input, emitted FROM calls;
DROP TABLE calls;
ALTER TABLE calls_by_turn RENAME TO calls;
CREATE INDEX calls_turn ON calls (turn);

CREATE TABLE results (
  session TEXT    NOT NULL,
  call    TEXT    NOT NULL,
  time    INTEGER NOT NULL,
  PRIMARY KEY (session, call, time)
) WITHOUT ROWID;
INSERT INTO results SELECT session, call, time FROM call_results;
DROP TABLE call_results;
ALTER TABLE results RENAME TO call_results;
