package recording

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// Unsealed is what the journal alone has: its checksums find accidents, and nothing proves that it was not rewritten.
type Unsealed struct {
	// Operations and Notes count those that the ledger does not have.
	Operations int `json:"operations"`
	Notes      int `json:"notes"`
	// Since is when the first of them began.
	Since time.Time `json:"since,omitzero"`
}

func (u *Unsealed) count(n *int, at time.Time) {
	*n++
	if u.Since.IsZero() || at.Before(u.Since) {
		u.Since = at
	}
}

// journal reads the journal, and counts what the ledger does not have.
func (v *verifier) journal() error {
	if v.b.Journal == "" {
		return nil
	}
	s := &journalScan{v: v, unsealed: &Unsealed{}, met: map[access.OperationID]bool{}}
	tail, err := journal.Scan(v.b.Journal, s.frame)
	var damage *journal.CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // a copy without it
	case errors.As(err, &damage):
		v.findJournal(damage.Segment, damage.Error())
	case err != nil:
		return err
	case tail.Bytes > 0 && !tail.InUse:
		v.findJournal(tail.Segment, fmt.Sprintf("%d bytes from offset %d on cannot be read: the gateway died while it wrote them, and cuts them off when it starts, or they were touched", tail.Bytes, tail.At))
	case s.frames == 0:
		v.find(Finding{Kind: FoundMissing, Entry: -1, Name: "journal", Detail: "it holds nothing, and a gateway never leaves it so"})
	}
	v.out.Unsealed = s.unsealed
	return nil
}

func (v *verifier) findJournal(segment uint64, detail string) {
	v.find(Finding{Kind: FoundAltered, Entry: -1, Name: fmt.Sprintf("journal/%016x.journal", segment), Detail: detail})
}

type journalScan struct {
	v        *verifier
	unsealed *Unsealed
	met      map[access.OperationID]bool
	frames   int
}

func (s *journalScan) frame(segment uint64, raw []byte) error {
	f, err := Decode(raw)
	if s.frames++; s.frames == 1 && err == nil && f.Kind != KindUnit {
		err = errors.New("it does not begin a unit: what was before it is gone")
	}
	if err != nil {
		return &journal.CorruptError{Segment: segment, Reason: err.Error()}
	}
	leaves := s.v.sessions[f.Session]
	switch id := access.OperationID(f.ID); f.Kind {
	case KindBegin, KindResume:
		if !s.met[id] && !leaves.hasOperation(id) {
			s.unsealed.count(&s.unsealed.Operations, f.Time)
		}
		s.met[id] = true
	case KindNote:
		if !leaves.hasNote(raw) {
			s.unsealed.count(&s.unsealed.Notes, f.Time)
		}
	}
	return nil
}

func (s *sessionLeaves) hasOperation(id access.OperationID) bool {
	if s == nil {
		return false
	}
	_, ok := s.operations[id]
	return ok
}

func (s *sessionLeaves) hasNote(raw []byte) bool {
	if s == nil {
		return false
	}
	t := tally{sum: sha256.New()}
	t.hash(t.sum, raw)
	_, ok := s.notes[t.digest()]
	return ok
}

// coverage says what was not checked, so that nobody takes «no findings» for more than it is.
func (v *verifier) coverage() {
	b, out := v.b, v.out
	say := func(format string, a ...any) { out.NotCovered = append(out.NotCovered, fmt.Sprintf(format, a...)) }
	switch u := out.Unsealed; {
	case v.stopped:
		say("Anything but the ledger: where that is touched, its entries mean nothing, and nothing else can be compared with them.")
		return
	case u == nil:
		say("What the gateway had not sealed yet: no journal was given.")
	case u.Operations+u.Notes > 0:
		say("%d operations and %d notes since %s: they are in the journal alone, and nothing proves them until they are sealed.", u.Operations, u.Notes, u.Since.UTC().Format(time.RFC3339))
	}
	switch n := len(out.Unopened); {
	case len(b.Identities) == 0:
		say("What is in the recordings: their content was not compared, only their files, since no key was given.")
	case n > 0:
		say("What is in the recordings of %d sessions, which this key does not open.", n)
	}
	out.Complete = out.Whole && len(out.NotCovered) == 0
	if len(b.Known) == 0 {
		say("No checkpoint from elsewhere was given: that the end was cut off, or all was rewritten, would not be seen.")
	}
	say("The index: it finds what the book has, and proves nothing.")
}
