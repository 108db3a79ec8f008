// Package postgres is the protocol of a PostgreSQL server. It lets clients in by their token, reads every statement with
// the server's own grammar, asks the gate, forwards the client's bytes, and masks what comes back.
//
// It guarantees that nothing is spoken before TLS; that each statement, of the simple and of the extended protocol, is
// permitted by itself before a byte of it leaves; that what is not understood is refused; that a refusal stands in its place in
// the sequence of answers, and what follows it in a pipeline does not run; and that every operation is ended once, with
// what the client was given.
//
// It refuses to know where records go, who approves, and how a caller proved who they are.
package postgres
