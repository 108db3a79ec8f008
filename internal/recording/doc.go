// Package recording is the book: what was asked, decided, sent and answered, byte for byte, with times.
//
// It guarantees that
//
//   - Begin returns a nil error only once the operation, its decision, its approval and its whole request payload are in
//     the journal, and Write only once the bytes are: no record, no action;
//   - a journal that fails once fails every later call (fail-stop), so nothing is recorded in part;
//   - every operation ends in exactly one leaf of the ledger, which covers each of its frames in order, also when the
//     process is killed at any point: what was open is then ended as truncated;
//   - a frame leaves the journal only after it is encrypted in the archive, in the ledger, under a signed checkpoint,
//     and known to the index.
//
// It refuses to know how an operation was decided, and it masks nothing: what it is given is what is kept.
//
// The format is docs/reference/recording-format.md, the reasons docs/design/recording.md.
package recording
