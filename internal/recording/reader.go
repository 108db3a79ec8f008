package recording

import (
	"context"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

// ErrNoKey says that none of the identities given opens a file.
var ErrNoKey = errors.New("none of the keys given opens it")

// ReadSession gives fn the frames of a session that are sealed, in order. ids are an auditor's, or the session's own.
// Resume frames, which repeat what the segment before held, are given as well. The event's bytes are valid until fn
// returns; an error of fn ends the reading.
func ReadSession(a Archive, session access.SessionID, fn func(Event) error, ids ...age.Identity) error {
	keys, err := SessionKeys(a, session, ids...)
	if err != nil {
		return err
	}
	files, err := a.List(archive.SessionPrefix(string(session)))
	if err != nil {
		return err
	}
	for _, f := range files {
		if _, _, segment, _, ok := archive.ParseName(f.Name); !ok || !segment {
			continue
		}
		if err := readSegment(a, f.Name, keys, fn); err != nil {
			return fmt.Errorf("reading %s: %w", f.Name, err)
		}
	}
	return nil
}

// SessionKeys opens the session's keys that ids can open, and adds ids themselves. What it returns opens this session
// and can be handed on: with an auditor's identities left out, it opens no other.
func SessionKeys(a Archive, session access.SessionID, ids ...age.Identity) ([]age.Identity, error) {
	if err := archive.CheckSession(string(session)); err != nil {
		return nil, err
	}
	files, err := a.List(archive.SessionPrefix(string(session)))
	if err != nil {
		return nil, err
	}
	var out []age.Identity
	for _, f := range files {
		if _, _, _, key, ok := archive.ParseName(f.Name); !ok || !key {
			continue
		}
		id, err := openKey(a, f.Name, ids)
		var mismatch *age.NoIdentityMatchError
		if errors.As(err, &mismatch) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f.Name, err)
		}
		out = append(out, id)
	}
	return append(out, ids...), nil
}

func openKey(a Archive, name string, ids []age.Identity) (*age.X25519Identity, error) {
	f, err := a.Open(name)
	if err != nil {
		return nil, err
	}
	id, err := archive.OpenKey(f, ids...)
	return id, errors.Join(err, f.Close())
}

func readSegment(a Archive, name string, keys []age.Identity, fn func(Event) error) error {
	if len(keys) == 0 {
		return ErrNoKey
	}
	f, err := a.Open(name)
	if err != nil {
		return err
	}
	plain, err := archive.Unseal(f, keys...)
	var mismatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &mismatch):
		err = ErrNoKey
	case err == nil:
		err = ReadFrames(plain, fn)
	}
	return errors.Join(err, f.Close())
}

// Session gives fn all frames of a session so far: those that are sealed, for which ids are needed, and those that are
// still in the journal. Each frame is given once.
func (r *Recorder) Session(session access.SessionID, fn func(Event) error, ids ...age.Identity) error {
	defer r.sealer.pins.hold()()
	met := map[string]bool{}
	err := ReadSession(r.o.Archive, session, func(e Event) error {
		if e.Kind == KindUnit {
			met[e.ID] = true
		}
		return fn(e)
	}, ids...)
	if err != nil {
		return err
	}
	skip := false
	return r.readJournal(&follower{at: r.oldest(), session: session}, func(e Event, _ []byte) error {
		if e.Kind == KindUnit {
			skip = met[e.ID]
		}
		if skip {
			return nil
		}
		return fn(e)
	})
}

// Follow gives fn the frames of a session (empty: of all) as they are recorded, until ctx ends: first, where history is
// set, those that are still in the journal. It never slows recording; a reader too slow for the journal gets ErrLagged.
func (r *Recorder) Follow(ctx context.Context, session access.SessionID, history bool, fn func(Event) error) error {
	return r.follow(ctx, session, history, true, func(e Event, _ []byte) error { return fn(e) })
}

// Frames writes the frames of a session (empty: of all) that are still in the journal, in the form that ReadFrames
// reads, and goes on as they come while follow is set. Each Write to w is whole records. To have a session whole, open
// this before listing the archive, and leave out units whose frames are met there.
func (r *Recorder) Frames(ctx context.Context, w io.Writer, session access.SessionID, follow bool) error {
	if _, err := w.Write(appendSegmentHead(nil, session)); err != nil {
		return err
	}
	var number uint64
	var buf []byte
	return r.follow(ctx, session, true, follow, func(e Event, raw []byte) error {
		buf = append(appendRecordHead(buf[:0], e.Number-number, len(raw)), raw...)
		number = e.Number
		_, err := w.Write(buf)
		return err
	})
}

func (r *Recorder) follow(ctx context.Context, session access.SessionID, history, on bool, fn func(Event, []byte) error) error {
	at := &follower{at: r.oldest(), session: session}
	if !history {
		at = &follower{at: cursor{segment: r.units.current().from}, session: session, from: r.nextFrame.Load()}
	}
	for {
		changed := r.journal.Watch()
		if err := r.readJournal(at, fn); err != nil || !on {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.stopped.Done():
			return ErrClosed
		case <-changed:
			if err := r.journal.Err(); err != nil {
				return err
			}
		}
	}
}

// follower is somebody who reads the journal.
type follower struct {
	at      cursor
	session access.SessionID
	from    uint64 // frames below are not given
	number  uint64
	names   resolver
}

func (r *Recorder) oldest() cursor { return cursor{segment: r.units.all()[0].from} }

// readJournal gives fn what there is for the follower.
func (r *Recorder) readJournal(at *follower, fn func(Event, []byte) error) error {
	return readOn(r.journal, &at.at, 0, func(raw []byte) error {
		e, err := at.names.event(at.number, raw)
		if err != nil {
			return err
		}
		if e.Kind == KindUnit {
			at.number, e.Number = e.NextFrame, e.NextFrame
		}
		at.number++
		if e.Number < at.from || at.session != "" && e.Session != at.session && e.Kind != KindUnit {
			return nil
		}
		return fn(e, raw)
	})
}
