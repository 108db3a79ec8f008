package recording

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// stopped is why an operation is truncated that was open when the gateway died or closed.
const stopped = "gateway stopped"

// recover finds what an earlier process left in the journal, begins a new unit, and ends in it what was open. It can be
// interrupted at any point and run again: until it is through, no unit before it is sealed.
func (r *Recorder) recover() error {
	if err := r.sealer.finishRemoving(); err != nil {
		return err
	}
	found, err := findUnits(r.journal)
	if err != nil {
		return err
	}
	if err := r.indexHas(found); err != nil {
		return err
	}
	open := map[uint64]*tally{}
	if len(found) > 0 {
		if open, err = r.replay(found[0]); err != nil {
			return err
		}
	}
	for _, u := range found {
		u.used, u.sealed = u.began, slices.Contains(r.sealer.state.Sealed, u.id)
		r.units.add(u)
		r.sealer.sawUnit(u.id)
	}
	for _, number := range slices.Sorted(maps.Keys(open)) {
		out := access.Outcome{ExitCode: -1, Truncated: stopped, Duration: open[number].delta}
		out.RequestBytes, out.ResponseBytes = int64(open[number].leaf.FromClient), int64(open[number].leaf.ToClient)
		r.open.abandoned[number] = &abandoned{number: number, tally: open[number], closing: &Closing{Outcome: out}}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.beginUnitLocked(); err != nil {
		return err
	}
	if r.open.len() > 0 {
		return errors.New("the journal has no room for the ends of what was open")
	}
	return r.journal.Append(journal.Synced)
}

// ErrIndexLost says that an index does not have what the journal has already let go of: it was lost, or an older one is in
// its place.
var ErrIndexLost = errors.New("the index lacks what was recorded before")

// indexHas reports whether the index goes on where the journal begins.
func (r *Recorder) indexHas(found []unit) error {
	if r.o.Indexed == nil {
		return nil
	}
	has, err := r.o.Indexed()
	switch {
	case err != nil:
		return err
	case len(found) > 0 && has < found[0].firstFrame:
		return fmt.Errorf("%w: it has the first %d frames, and the journal begins with number %d", ErrIndexLost, has, found[0].firstFrame)
	case len(found) == 0 && has == 0 && r.o.Ledger.Size() > 0:
		return fmt.Errorf("%w: index and journal are empty, and the ledger has %d entries", ErrIndexLost, r.o.Ledger.Size())
	}
	return nil
}

// replay reads the whole journal from the first unit on and gives the operations that have no end.
func (r *Recorder) replay(first unit) (map[uint64]*tally, error) {
	open := map[uint64]*tally{}
	var frames, nextOp uint64
	err := readOn(r.journal, &cursor{segment: first.from}, 0, func(raw []byte) error {
		f, err := Decode(raw)
		if err != nil {
			return err
		}
		if f.Kind == KindUnit {
			frames, nextOp = f.NextFrame, max(nextOp, f.NextOp)
		}
		frames++
		if f.Op >= nextOp && f.Kind != KindUnit && f.Kind != KindNote && f.Kind != KindLeaf {
			nextOp = f.Op + 1
		}
		if f.Kind == KindNote && r.o.Notes != nil {
			if err := r.o.Notes(f.Name, f.Data); err != nil {
				return fmt.Errorf("following note %s: %w", f.Name, err)
			}
		}
		return replayFrame(open, raw, &f)
	})
	if err != nil {
		return nil, err
	}
	r.nextFrame.Store(frames)
	r.nextOp.Store(nextOp)
	return open, nil
}

// replayFrame brings the open operations up to date with one frame.
func replayFrame(open map[uint64]*tally, raw []byte, f *Frame) error {
	switch f.Kind {
	case KindUnit, KindNote, KindLeaf:
		return nil
	case KindResume:
		t, err := resumeTally(f)
		if err != nil {
			return err
		}
		open[f.Op] = t
		return nil
	case KindBegin:
		var o Opening
		if err := json.Unmarshal(f.Data, &o); err != nil {
			return fmt.Errorf("reading the beginning of operation %s: %w", f.ID, err)
		}
		open[f.Op] = newTally(&o, f.Time)
	}
	t := open[f.Op]
	if t == nil {
		return fmt.Errorf("a %s frame of an operation that is not open", f.Kind)
	}
	t.addDecoded(raw, f)
	if f.Kind == KindEnd {
		delete(open, f.Op)
	}
	return nil
}
