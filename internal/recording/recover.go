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
	open := map[uint64]*tally{}
	if len(found) > 0 {
		if open, err = r.replay(found[0]); err != nil {
			return err
		}
	}
	for _, u := range found {
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
