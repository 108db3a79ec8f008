// Package kubernetes is the protocol of a Kubernetes API server. It reads each request as the API server itself would
// read it, asks the gate, forwards it with the client's bytes, and masks what comes back.
//
// It guarantees that what could be read in two ways never reaches the API server; that nothing is sent without a
// permit; that what policy hides leaves in no representation, error or stream; that a placeholder which comes back is
// replaced by the value it stands for, or refused; and that every operation it was permitted is ended once, with what
// the client was given.
//
// It refuses to know where records go, who approves, and how a caller proved who they are.
package kubernetes
