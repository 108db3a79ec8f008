package recording

import (
	"errors"
	"fmt"

	"gatebook/internal/journal"
)

// cursor is a place in the journal between two frames.
type cursor struct {
	segment uint64
	at      int64
}

// ErrLagged says that the journal was sealed and removed under a reader that was too slow for it. What it missed is in
// the archive.
var ErrLagged = errors.New("the reader fell behind: what it missed is in the archive")

// errStop ends a reading early; it never leaves this package.
var errStop = errors.New("enough")

// readOn gives fn every frame from c to the end of the journal as it is now, or to the end of the last segment below
// until (0: none), and moves c behind what fn took. frame is valid until fn returns.
func readOn(j *journal.Journal, c *cursor, until uint64, fn func(frame []byte) error) error {
	for {
		segments, err := j.Segments()
		if err != nil {
			return err
		}
		s, ok := segmentAt(segments, c.segment)
		if !ok || until != 0 && s.ID >= until {
			return nil
		}
		if s.ID != c.segment {
			if c.at != 0 {
				return ErrLagged
			}
			c.segment = s.ID
		}
		c.at, err = j.Read(c.segment, c.at, func(_ int64, frame []byte) error { return fn(frame) })
		if errors.Is(err, journal.ErrUnknownSegment) {
			return ErrLagged
		}
		if err != nil {
			return err
		}
		if !s.Sealed {
			return nil
		}
		c.segment, c.at = c.segment+1, 0
	}
}

// segmentAt is the first segment from id on.
func segmentAt(segments []journal.Segment, id uint64) (journal.Segment, bool) {
	for _, s := range segments {
		if s.ID >= id {
			return s, true
		}
	}
	return journal.Segment{}, false
}

// findUnits reads the first frame of each segment.
func findUnits(j *journal.Journal) ([]unit, error) {
	segments, err := j.Segments()
	if err != nil {
		return nil, err
	}
	var out []unit
	for _, s := range segments {
		var first *Frame
		_, err := j.Read(s.ID, 0, func(_ int64, raw []byte) error {
			f, err := Decode(raw)
			if err != nil {
				return fmt.Errorf("segment %d of the journal: %w", s.ID, err)
			}
			first = &Frame{Kind: f.Kind, ID: f.ID, Time: f.Time, NextFrame: f.NextFrame}
			return errStop
		})
		if err != nil && !errors.Is(err, errStop) {
			return nil, err
		}
		switch {
		case first == nil:
		case first.Kind == KindUnit:
			out = append(out, unit{id: first.ID, from: s.ID, firstFrame: first.NextFrame, began: first.Time})
		case len(out) == 0:
			return nil, fmt.Errorf("segment %d of the journal begins with a %s frame, and no unit is before it", s.ID, first.Kind)
		}
	}
	return out, nil
}
