package journal

import (
	"errors"
	"fmt"
)

// ErrClosed is returned by every method that needs an open journal after Close.
var ErrClosed = errors.New("journal is closed")

// ErrNoSpace wraps the refusal of a group that the disk or the quota has no room for. No byte of the group was
// kept, the journal is as it was before, and a later Append may succeed.
var ErrNoSpace = errors.New("journal has no space left")

// ErrTooLarge refuses a frame above MaxFrameBytes, or a group above Options.MaxPendingBytes.
var ErrTooLarge = errors.New("journal group is too large")

// ErrLocked is returned by Open while another process has the journal open.
var ErrLocked = errors.New("journal is in use by another process")

// ErrUnknownSegment is returned for a segment that is not there, or was removed.
var ErrUnknownSegment = errors.New("journal has no such segment")

// CorruptError says that bytes which were once written whole are not what was written.
type CorruptError struct {
	Segment uint64
	Offset  int64 // of the frame that cannot be read, in bytes from the start of the segment's file
	Reason  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal segment %d is damaged at offset %d: %s", e.Segment, e.Offset, e.Reason)
}

// FailedError is the state of a journal after its first failed write or sync. It is final for this process.
type FailedError struct {
	Cause error
}

func (e *FailedError) Error() string { return "journal has stopped: " + e.Cause.Error() }

func (e *FailedError) Unwrap() error { return e.Cause }
