// Package archive keeps sealed recordings: compressed, encrypted, and put away under a name that is never used twice.
//
// It guarantees that a name is there whole or not at all, also after a power cut; that nothing that is there is ever
// overwritten or removed through it; and that a file of a session can be read only with that session's key, which
// exists in clear in memory alone, for as long as it takes to encrypt it to the auditors. It refuses to know what a
// recording means.
package archive
