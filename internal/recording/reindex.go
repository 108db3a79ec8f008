package recording

import (
	"fmt"
	"slices"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

// Reindex gives a new index everything that is sealed, session by session, and note every note, in the order of its
// session; it returns how many sessions there were. What is still in the journal the index gets when a recorder opens.
// ids must open every session.
func Reindex(a Archive, index Index, note func(Event) error, ids ...age.Identity) (int, error) {
	sessions, err := sealedSessions(a)
	if err != nil {
		return 0, err
	}
	for _, id := range sessions {
		if err := reindexSession(a, id, index, note, ids); err != nil {
			return 0, fmt.Errorf("session %s: %w", id, err)
		}
	}
	return len(sessions), nil
}

func sealedSessions(a Archive) ([]access.SessionID, error) {
	files, err := a.List("")
	if err != nil {
		return nil, err
	}
	var out []access.SessionID
	for _, f := range files {
		if id, _, segment, _, ok := archive.ParseName(f.Name); ok && segment {
			out = append(out, access.SessionID(id))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func reindexSession(a Archive, id access.SessionID, index Index, note func(Event) error, ids []age.Identity) error {
	x := &indexer{recent: new(recent), ids: map[uint64]access.OperationID{}, seen: map[access.SessionID]access.Session{}}
	flush := func() error {
		defer func() { x.pending = x.pending[:0] }()
		if len(x.pending) == 0 {
			return nil
		}
		return index.PutBatch(x.pending)
	}
	err := ReadSession(a, id, func(e Event) error {
		if e.Kind == KindNote {
			if err := note(e); err != nil {
				return err
			}
		}
		if err := x.take(&e.Frame); err != nil || len(x.pending) < maxPending {
			return err
		}
		return flush()
	}, ids...)
	if err != nil {
		return err
	}
	return flush()
}
