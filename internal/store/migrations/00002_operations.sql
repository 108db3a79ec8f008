-- +goose Up
CREATE TABLE operations (
  seq       INTEGER PRIMARY KEY,         -- its time, in Unix nanoseconds; a few more where that is taken
  id        TEXT    NOT NULL UNIQUE,
  time      INTEGER NOT NULL,
  session   TEXT    NOT NULL,
  principal TEXT    NOT NULL,            -- Principal.Key
  name      TEXT    NOT NULL,            -- Principal.Name
  target    TEXT    NOT NULL,
  verb      TEXT    NOT NULL,
  namespace TEXT    NOT NULL,
  resource  TEXT    NOT NULL,            -- resource or resource/subresource
  effect    INTEGER NOT NULL,
  risk      INTEGER NOT NULL,
  running   INTEGER NOT NULL,            -- 1 until its end is known
  approval  TEXT    NOT NULL,
  names     TEXT    NOT NULL,            -- what it acts on, for the text search
  message   TEXT    NOT NULL,            -- why it was refused, or the error it ended with
  command   TEXT    NOT NULL,
  body      TEXT    NOT NULL,            -- Operation without command and documents, as JSON
  decision  TEXT    NOT NULL,
  outcome   TEXT,
  refused   TEXT,
  documents TEXT                         -- the decoded and the stored object; last, for they are large
);
-- Each of these is sorted by seq, and so by time, within its column.
CREATE INDEX operations_session   ON operations (session);
CREATE INDEX operations_name      ON operations (name);
CREATE INDEX operations_namespace ON operations (namespace);
CREATE INDEX operations_running   ON operations (session) WHERE running = 1;

CREATE VIRTUAL TABLE operations_text USING fts5 (
  command, name, names, message,
  content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);
