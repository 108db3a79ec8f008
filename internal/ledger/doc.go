// Package ledger is an append-only Merkle log of opaque entries in a folder, laid out as C2SP tlog-tiles: SHA-256 and
// RFC 6962 hashing, checkpoints as signed notes. Any tool that reads such logs can read this one.
//
// It guarantees:
//
//   - What a checkpoint covers is on disk once Checkpoint has returned: in its tiles, or in a file from which Open makes them again.
//   - After a crash at any point Open finds the last checkpoint and all that it covers, tiles included. What lies beyond was never signed,
//     so it is not trusted: it is moved aside and reported, and Size says from where to append again.
//   - Verify needs the folder and the public key alone. It finds an edited, reordered, removed or inserted entry, a missing or
//     altered tile and a foreign signature; against checkpoints kept elsewhere also a shortened or rewritten log.
//   - Memory is bounded: what is not covered by a checkpoint is at most Options.MaxPendingBytes and one bundle.
//
// Who holds the signing key and the folder can sign another history: only a checkpoint kept elsewhere shows that.
//
// It knows nothing of what an entry means. The layout is described in docs/design/ledger.md.
package ledger
