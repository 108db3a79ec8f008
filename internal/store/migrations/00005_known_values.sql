-- +goose Up
CREATE TABLE known_values (
  one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
  body BLOB    NOT NULL                     -- keyed hashes, in a form that only the masker reads
);
