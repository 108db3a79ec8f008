-- +goose Up
-- Most operations are in no namespace: those are not listed by it.
DROP INDEX operations_namespace;
CREATE INDEX operations_namespace ON operations (namespace) WHERE namespace <> '';
-- Segments of the text search are put together 16 at a time rather than 4: what was said often is then not written as often.
INSERT INTO operations_text (operations_text, rank) VALUES ('automerge', 16);
