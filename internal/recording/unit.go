package recording

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/journal"
)

// A unit is the part of the journal that is sealed at once: the segments from one that begins with a unit frame to the
// next such. Its first frames carry over what was open, so that it can be understood without the units before it.
type unit struct {
	id         string // sorts by time; names the unit's files in the archive
	from       uint64 // its first journal segment
	firstFrame uint64
	began      time.Time
	// used is when the first frame came that was not carried over; zero: none has.
	used time.Time
	// sealed says that all of it is in the archive and under a checkpoint.
	sealed bool
}

// units are those in the journal, oldest first; frames go to the last.
type units struct {
	mu   sync.Mutex
	list []unit
}

func (u *units) add(n unit) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = append(u.list, n)
}

// mark changes what is known of a unit.
func (u *units) mark(id string, change func(*unit)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.list {
		if u.list[i].id == id {
			change(&u.list[i])
		}
	}
}

// endUse keeps when the unit in use was first used, which is known elsewhere while it is.
func (u *units) endUse(nanos int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n := len(u.list); n > 0 && nanos != 0 {
		u.list[n-1].used = time.Unix(0, nanos)
	}
}

// all gives the units in the journal, the one in use last.
func (u *units) all() []unit {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.list)
}

func (u *units) current() unit {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.list[len(u.list)-1]
}

func (u *units) drop(id string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.list = slices.DeleteFunc(u.list, func(n unit) bool { return n.id == id })
}

// resumeGroup is how many resume frames go into one group.
const resumeGroup = 64

// beginUnit closes the unit in use and begins the next. Appends wait for it.
func (r *Recorder) beginUnit() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return ErrClosed
	}
	return r.beginUnitLocked()
}

func (r *Recorder) beginUnitLocked() error {
	if err := r.fail("rotate"); err != nil {
		return err
	}
	if _, err := r.journal.Rotate(); err != nil {
		return fmt.Errorf("closing a unit of the journal: %w", err)
	}
	segments, err := r.journal.Segments()
	if err != nil {
		return fmt.Errorf("closing a unit of the journal: %w", err)
	}
	if err := r.fail("unit"); err != nil {
		return err
	}
	r.units.endUse(r.unitUsed.Load())
	u := unit{id: r.nextUnitID(), from: segments[len(segments)-1].ID, firstFrame: r.nextFrame.Load(), began: r.now()}
	g := r.batches.get()
	defer r.batches.put(g)
	g.arena = appendUnit(g.arena, u.id, u.began, r.nextOp.Load(), u.firstFrame)
	g.end()
	r.unitBytes.Store(0)
	if err := r.appendLocked(journal.Written, g); err != nil {
		return err
	}
	r.units.add(u)
	if err := r.carryOver(g); err != nil {
		return err
	}
	err = r.endAbandoned(g)
	r.unitUsed.Store(0)
	return err
}

// nextUnitID sorts behind all units that this gateway made before, also when the clock was set back.
func (r *Recorder) nextUnitID() string {
	now := r.now()
	for {
		if id := access.NewID(now); id > r.sealer.lastUnit() {
			r.sealer.sawUnit(id)
			return id
		}
		now = now.Add(time.Millisecond)
	}
}

// carryOver writes a resume frame for each open operation.
func (r *Recorder) carryOver(g *batch) error {
	g.reset()
	for i, a := range r.open.carry() {
		f, err := a.tally.resume(a.number)
		if err != nil {
			return err
		}
		g.arena = appendResume(g.arena, f)
		g.end()
		if (i+1)%resumeGroup == 0 {
			if err := r.appendGroup(g); err != nil {
				return err
			}
		}
	}
	return r.appendGroup(g)
}

func (r *Recorder) appendGroup(g *batch) error {
	if len(g.ends) == 0 {
		return nil
	}
	defer g.reset()
	if err := r.fail("resume"); err != nil {
		return err
	}
	return r.appendLocked(journal.Written, g)
}

// endAbandoned writes the ends that the journal had no room for. The recorder's lock is held.
func (r *Recorder) endAbandoned(g *batch) error {
	for _, a := range r.open.waiting() {
		g.reset()
		if err := a.tally.appendEnd(g, a.number, a.tally.delta, a.closing); err != nil {
			return err
		}
		err := r.appendLocked(journal.Synced, g)
		if errors.Is(err, journal.ErrNoSpace) {
			return nil
		}
		if err != nil {
			return err
		}
		r.open.remove(a.number)
	}
	r.wakeIndex()
	return nil
}

func (r *Recorder) fail(step string) error {
	if r.o.Fail == nil {
		return nil
	}
	return r.o.Fail(step)
}
