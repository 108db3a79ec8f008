package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Recovery is what Open found and did.
type Recovery struct {
	Segment  uint64 // the last segment, which is written on
	At       int64  // where its last whole group ended
	CutBytes int64  // the torn tail that was cut off behind it; 0 after a clean end
	Reason   string // why the first frame of the tail could not be read; empty when nothing was cut, or it was whole but its group was not
}

// recoverTail opens the last segment for appending, or creates the first.
func (j *Journal) recoverTail() error {
	list, err := listSegments(j.dir)
	if err != nil {
		return err
	}
	next, mayCut := uint64(1), true
	if len(list) > 0 {
		last := list[len(list)-1]
		next = last.ID
		unborn, err := j.removeUnborn(last)
		if err != nil {
			return err
		}
		if unborn { // its predecessor was sealed
			list, mayCut = list[:len(list)-1], false
		}
	}
	if len(list) == 0 {
		j.cur, err = j.createSegment(next)
		j.recovered = Recovery{Segment: next, At: segmentHeaderBytes}
		return err
	}
	j.sealed = list[:len(list)-1]
	return j.resume(list[len(list)-1], mayCut)
}

// removeUnborn removes the last segment if the crash came while it was created: before its header was on disk, which it is
// before any frame is written.
func (j *Journal) removeUnborn(last Segment) (bool, error) {
	if last.Bytes > segmentHeaderBytes {
		return false, nil
	}
	path := filepath.Join(j.dir, segmentName(last.ID))
	head, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("reading journal segment: %w", err)
	}
	if _, reason := parseSegmentHeader(head, last.ID, j.table); reason == "" {
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		return false, fmt.Errorf("removing an unfinished journal segment: %w", err)
	}
	return true, syncDir(j.dir)
}

// resume makes s the current segment, cut back to its last whole group and on disk.
func (j *Journal) resume(s Segment, mayCut bool) error {
	f, err := os.OpenFile(filepath.Join(j.dir, segmentName(s.ID)), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening journal segment: %w", err)
	}
	if err := j.cutTail(f, s, mayCut); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

func (j *Journal) cutTail(f *os.File, s Segment, mayCut bool) error {
	if err := syncData(f); err != nil {
		return fmt.Errorf("syncing journal segment %d: %w", s.ID, err)
	}
	if err := dropCache(f); err != nil {
		return err
	}
	r := newReader(f, s.ID, s.Bytes, j.table)
	if err := r.start(0); err != nil {
		return err
	}
	end, why, err := lastGroup(r)
	if err != nil {
		return err
	}
	if why != nil && (!mayCut || r.claimsSynced(end)) {
		return why
	}
	j.recovered = Recovery{Segment: s.ID, At: end, CutBytes: s.Bytes - end}
	if why != nil {
		j.recovered.Reason = why.Reason
	}
	if end < s.Bytes {
		if err := f.Truncate(end); err != nil {
			return fmt.Errorf("cutting the torn tail of journal segment %d: %w", s.ID, err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("syncing journal segment %d: %w", s.ID, err)
		}
	}
	j.cur = current{id: s.ID, seed: r.seed, file: f, written: end, synced: end}
	return nil
}

// lastGroup reads until the segment ends or a frame cannot be read (why), and returns where the last whole group ended.
func lastGroup(r *reader) (end int64, why *CorruptError, err error) {
	end = r.at
	for r.at < r.limit {
		_, h, err := r.frame()
		if errors.As(err, &why) {
			return end, why, nil
		}
		if err != nil {
			return 0, nil, err
		}
		if h.last {
			end = r.at
		}
	}
	if end < r.limit {
		why = &CorruptError{Segment: r.segment, Offset: end, Reason: "the last group has no end"}
	}
	return end, why, nil
}

// claimsSynced looks behind the first unreadable frame for a frame which says that more than end was on disk when it
// was written: then the bytes at end were not torn by a crash but damaged since, and cutting them would lose what was acknowledged.
func (r *reader) claimsSynced(end int64) bool {
	for at := end; r.limit-at >= frameHeaderBytes; {
		b, err := r.window(at, readAheadBytes)
		if err != nil || len(b) < frameHeaderBytes {
			return true // unreadable is not torn
		}
		if r.claimIn(b, at, end) {
			return true
		}
		at += int64(len(b)) - frameHeaderBytes + 1
	}
	return false
}

// claimIn looks for such a frame's header in b, which was read at offset at.
func (r *reader) claimIn(b []byte, at, end int64) bool {
	for i := 0; i+frameHeaderBytes <= len(b); i++ {
		n := bytes.Index(b[i+4:], []byte(frameMarker))
		if n < 0 {
			return false
		}
		i += n
		if h, reason := parseHeader(b[i:], r.seed, at+int64(i), r.table); reason == "" && h.synced > end {
			return true
		}
	}
	return false
}
