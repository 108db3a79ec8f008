// Package journal is a durable, append-only file of opaque frames, kept as numbered segments in one folder.
//
// It guarantees:
//
//   - A group of frames that Append acknowledged at level Synced survives a power cut; at level Written, the death of the process.
//   - A group is whole or absent after recovery, never in part, and groups keep the order in which they were written.
//   - The first write or sync that fails is final. Nothing is retried, and every waiter and every later Append gets that error.
//     A full disk is the one exception: the batch is refused, the file is cut back to its last whole group and synced, and
//     the journal goes on once there is room. If the cutting back fails, that is final too.
//   - Recovery cuts a torn tail of the last segment and reports it. Damage anywhere else, and damage to bytes that a later
//     frame says were already on disk, is an error that names the segment and the offset.
//   - Memory is bounded: Append blocks while Options.MaxPendingBytes wait to be written.
//   - One process at a time: the folder is locked.
//
// An Append that failed may or may not be found after recovery, unless it failed with ErrNoSpace: then it is not there.
//
// It knows nothing of what a frame means. The format is described in docs/design/journal.md.
package journal
