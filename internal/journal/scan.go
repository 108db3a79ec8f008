package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Tail is what the end of the last segment has behind its last whole group: what a crash tore, or a hand touched. Its Bytes are 0
// where there is nothing of the kind.
type Tail struct {
	Segment uint64
	At      int64
	Bytes   int64
	// InUse says that a process has the journal open, and may be writing there.
	InUse bool
}

// Scan calls fn for each frame of the journal in dir, oldest first, and changes nothing: for those who have a copy, or look on
// while a process writes. The frame is valid until fn returns; an error from fn ends the scan and is returned.
//
// Damage is a *CorruptError, and so is a segment that is missing between others. Of the last segment what is behind its last whole group
// is not given, and returned as the Tail.
func Scan(dir string, fn func(segment uint64, frame []byte) error) (Tail, error) {
	list, err := listSegments(dir)
	if err != nil {
		return Tail{}, err
	}
	for i, s := range list {
		if i > 0 && s.ID != list[i-1].ID+1 {
			return Tail{}, &CorruptError{Segment: list[i-1].ID + 1, Reason: "the segment is gone"}
		}
		tail, err := scanSegment(dir, s, i == len(list)-1, fn)
		if i == 0 && errors.Is(err, fs.ErrNotExist) { // its process has removed it meanwhile
			continue
		}
		if err != nil || tail.Bytes > 0 {
			return tail, err
		}
	}
	return Tail{}, nil
}

func scanSegment(dir string, s Segment, last bool, fn func(segment uint64, frame []byte) error) (Tail, error) {
	f, err := os.Open(filepath.Join(dir, segmentName(s.ID)))
	if err != nil {
		return Tail{}, fmt.Errorf("opening journal segment: %w", err)
	}
	defer f.Close() // only read
	r := newReader(f, s.ID, s.Bytes, castagnoli())
	if err := r.start(0); err != nil {
		return Tail{}, err
	}
	end, why, err := lastGroup(r)
	switch {
	case err != nil:
		return Tail{}, err
	case why != nil && (!last || r.claimsSynced(end)):
		return Tail{}, why
	}
	for r.at = segmentHeaderBytes; r.at < end; {
		frame, _, err := r.frame()
		if err != nil {
			return Tail{}, err
		}
		if err := fn(s.ID, frame); err != nil {
			return Tail{}, err
		}
	}
	tail := Tail{Segment: s.ID, At: end, Bytes: s.Bytes - end}
	if tail.Bytes > 0 {
		tail.InUse, err = inUse(filepath.Join(dir, "lock"))
	}
	return tail, err
}

// inUse reports whether a process holds the lock, which needs no right to write.
func inUse(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a copy
	}
	if err != nil {
		return false, fmt.Errorf("opening journal lock: %w", err)
	}
	defer f.Close() // and so gives up the lock
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}
