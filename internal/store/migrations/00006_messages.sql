-- +goose Up
CREATE TABLE messages (
  id       TEXT    NOT NULL PRIMARY KEY,    -- sorts by time; the same at each attempt
  created  INTEGER NOT NULL,
  due      INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  body     BLOB    NOT NULL
);
CREATE INDEX messages_due ON messages (due, id);
