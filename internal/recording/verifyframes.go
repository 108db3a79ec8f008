package recording

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

// session compares a session's frames with its leaves.
func (v *verifier) session(id access.SessionID, s *sessionLeaves) error {
	keys, err := SessionKeys(v.b.Archive, id, v.b.Identities...)
	if err != nil && s.damaged { // a key that was touched, which is found already, cannot be read
		v.out.Unopened = append(v.out.Unopened, id)
		return nil
	}
	if err != nil {
		return err
	}
	slices.SortFunc(s.segments, func(a, b summary) int { return strings.Compare(a.name, b.name) })
	c := &comparison{v: v, id: id, leaves: s, open: map[uint64]*tally{}, met: map[access.OperationID]bool{}}
	for _, at := range s.segments {
		err := c.segment(at, keys)
		if errors.Is(err, ErrNoKey) {
			v.out.Unopened = append(v.out.Unopened, id)
			return nil
		}
		if err != nil {
			return err
		}
	}
	v.out.Open += len(c.open)
	if s.damaged {
		return nil
	}
	for op, at := range s.operations {
		if !c.met[op] {
			v.find(Finding{Kind: FoundMissing, Entry: at.entry, Session: id, Operation: op, Detail: "no segment holds its frames"})
		}
	}
	for _, entry := range s.notes {
		v.find(Finding{Kind: FoundMissing, Entry: entry, Session: id, Detail: "no segment holds this note"})
	}
	return nil
}

// comparison is one session being read.
type comparison struct {
	v      *verifier
	id     access.SessionID
	leaves *sessionLeaves
	open   map[uint64]*tally
	met    map[access.OperationID]bool
	last   uint64 // the last frame's number
}

func (c *comparison) segment(at summary, keys []age.Identity) error {
	if len(keys) == 0 {
		return ErrNoKey
	}
	f, err := c.v.b.Archive.Open(at.name)
	if err != nil {
		return err
	}
	plain, err := archive.Unseal(f, keys...)
	var mismatch *age.NoIdentityMatchError
	if errors.As(err, &mismatch) {
		return errors.Join(ErrNoKey, f.Close())
	}
	var first, frames uint64
	var session access.SessionID
	if err == nil {
		session, err = readRun(plain, func(number uint64, raw []byte) error {
			d, err := Decode(raw)
			if err != nil {
				return fmt.Errorf("frame %d: %w", number, err)
			}
			if d.Kind != KindUnit {
				frames++
				if frames == 1 {
					first = number
				}
			}
			return c.frame(at, number, raw, &d)
		})
	}
	if closing := f.Close(); closing != nil {
		return closing
	}
	if err == nil && (session != c.id || first != at.first || c.last != at.last || frames != at.frames) {
		err = fmt.Errorf("it holds %d frames of session %s, %d to %d; recorded were %d, %d to %d", frames, session, first, c.last, at.frames, at.first, at.last)
	}
	if err != nil {
		c.v.find(Finding{Kind: FoundAltered, Entry: at.entry, Name: at.name, Session: c.id, Detail: err.Error()})
	}
	return nil
}

func (c *comparison) frame(at summary, number uint64, raw []byte, f *Frame) error {
	if number <= c.last && c.last > 0 {
		c.v.find(Finding{Kind: FoundOrder, Entry: at.entry, Name: at.name, Session: c.id, Detail: fmt.Sprintf("frame %d comes behind frame %d", number, c.last)})
	}
	c.last = number
	if f.Kind == KindNote {
		c.note(at, number, raw)
	}
	t := c.open[f.Op]
	if f.Kind == KindResume && t != nil {
		return c.resumed(f, t)
	}
	if err := replayFrame(c.open, raw, f); err != nil {
		return fmt.Errorf("frame %d: %w", number, err)
	}
	if f.Kind == KindEnd {
		c.ended(t) // not nil: replayFrame would have failed
	}
	return nil
}

// resumed checks that what was carried over is what the segments before have given.
func (c *comparison) resumed(f *Frame, t *tally) error {
	carried, err := resumeTally(f)
	if err != nil {
		return err
	}
	if carried.digest() != t.digest() || carried.leaf.Frames != t.leaf.Frames {
		c.v.find(Finding{Kind: FoundAltered, Entry: -1, Session: c.id, Operation: t.leaf.Operation,
			Detail: fmt.Sprintf("%d frames were carried over, and %d are there", carried.leaf.Frames, t.leaf.Frames)})
		c.open[f.Op] = carried
	}
	return nil
}

// ended compares an operation's frames with its leaf.
func (c *comparison) ended(t *tally) {
	op := t.leaf.Operation
	f := Finding{Kind: FoundAltered, Entry: -1, Session: c.id, Operation: op}
	at, ok := c.leaves.operations[op]
	switch {
	case !ok:
		f.Kind, f.Detail = FoundAdded, "its frames are in the recording, and the ledger does not have it"
	case c.met[op]:
		f.Kind, f.Entry, f.Detail = FoundAdded, at.entry, "its frames are in the recording twice"
	case at.digest != t.digest() || at.frames != t.leaf.Frames:
		f.Entry, f.Detail = at.entry, fmt.Sprintf("its %d frames have SHA-256 %s; recorded were %d and %s", t.leaf.Frames, t.digest(), at.frames, at.digest)
	}
	c.met[op] = true
	c.v.out.Compared++
	if f.Detail != "" {
		c.v.find(f)
	}
}

func (c *comparison) note(at summary, number uint64, raw []byte) {
	t := tally{sum: sha256.New()}
	t.hash(t.sum, raw)
	if _, ok := c.leaves.notes[t.digest()]; !ok {
		c.v.find(Finding{Kind: FoundAltered, Entry: at.entry, Name: at.name, Session: c.id, Detail: fmt.Sprintf("the note in frame %d is not in the ledger", number)})
		return
	}
	delete(c.leaves.notes, t.digest())
	c.v.out.Compared++
}
