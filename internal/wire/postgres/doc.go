// Package postgres is the framing of PostgreSQL's frontend/backend protocol, version 3: bytes to messages and back.
// https://www.postgresql.org/docs/current/protocol.html
//
// It guarantees that a message is either given whole, within a bound, or is an error: a length that is too short, too long
// or negative ends the connection, and so does a field that reaches beyond its message. A message's body is a window into the reader's
// buffer, so that reading allocates nothing; it is good until the next read.
//
// It knows nothing of policy, SQL or who speaks.
package postgres
