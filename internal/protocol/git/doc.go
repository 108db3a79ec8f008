// Package git is the protocol of git over HTTP: clone, fetch, push, and the batches of LFS. It decodes what is asked into
// operations, asks the gate, forwards, and relays.
//
// It guarantees that each ref update of a push is an operation of its own, and that all of them are admitted before one byte
// of the push goes upstream, or none runs; that what is judged is what is sent: a push waits on disk, whole and decoded;
// that history is told as its objects have it, whose names are hashes of their content, and what is not in the pack, and
// cannot be asked of the upstream, is unknown, never empty; that every operation it was permitted is ended once.
//
// A pack that comes back is recorded byte for byte and is not looked into: a secret that is in a file of a repository is not
// masked in a clone of it. It refuses to know where records go, who approves, and how a caller proved who they are.
package git
