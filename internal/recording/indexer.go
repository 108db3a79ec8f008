package recording

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"gatebook/internal/access"
)

// indexer feeds the index from the journal, behind the operations: the journal is its queue, so nothing waits for the
// index, nothing is lost when it is down, and memory stays bounded.
type indexer struct {
	r      *Recorder
	recent *recent
	kick   chan struct{}
	// hurry ends the pause in which operations wait for each other: somebody looks for them.
	hurry chan struct{}
	// passed counts the frames that the index has.
	passed atomic.Uint64
	// even is when it last had all there was, in Unix nanoseconds.
	even atomic.Int64

	at     cursor
	number uint64
	// ids names the operations that are open where the indexer is; seen the sessions it met in this unit.
	ids  map[uint64]access.OperationID
	seen map[access.SessionID]access.Session
	// pending is read and not given to the index yet.
	pending []access.IndexEntry
}

const (
	// maxPending bounds a batch: one durable step of the index costs little more than one of its entries.
	maxPending = 1024
	// busy is how many entries in one step say that many operations come, and patience how many times longer they then wait
	// for each other: nobody looks for one of so many that soon.
	busy     = 64
	patience = 5
)

// lastStep is how far a session's last time may be behind in the index.
const lastStep = 10 * time.Second

func newIndexer(r *Recorder) *indexer {
	first := r.units.all()[0]
	x := &indexer{
		r: r, recent: &r.recent, kick: make(chan struct{}, 1), hurry: make(chan struct{}, 1), at: cursor{segment: first.from}, number: first.firstFrame,
		ids: map[uint64]access.OperationID{}, seen: map[access.SessionID]access.Session{},
	}
	x.even.Store(r.now().UnixNano())
	x.passed.Store(first.firstFrame)
	return x
}

func (x *indexer) wake() { poke(x.kick) }

// poke leaves a word on a channel with room for one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// indexed reports whether the index has every frame below number.
func (r *Recorder) indexed(number uint64) bool {
	return r.indexer == nil || r.indexer.passed.Load() >= number
}

// CatchUp waits until the index has everything that was recorded before the call, or ctx ends: then what is found is
// what there was a while ago. It is safe for concurrent use.
func (r *Recorder) CatchUp(ctx context.Context) {
	number := r.nextFrame.Load()
	if r.indexed(number) {
		return
	}
	t := time.NewTicker(2 * time.Millisecond)
	defer t.Stop()
	for !r.indexed(number) {
		poke(r.indexer.hurry)
		select {
		case <-ctx.Done():
			return
		case <-r.stopped.Done():
			return
		case <-t.C:
		}
	}
}

func (x *indexer) run() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		before, began := x.number, x.r.now()
		err := readOn(x.r.journal, &x.at, 0, x.frame)
		delay := x.r.o.IndexDelay
		if x.number-before > busy {
			delay *= patience
		}
		if err == nil {
			err = x.flush()
		}
		if err == nil {
			x.even.Store(began.UnixNano())
		}
		if err != nil && !errors.Is(err, ErrClosed) {
			x.r.o.Log.Error("reading the journal for the index", "error", err)
		}
		select {
		case <-x.r.stopped.Done():
			return
		case <-x.kick:
			if !x.pause(delay, x.hurry) {
				return
			}
		case <-x.hurry:
		case <-t.C:
		}
	}
}

// pause reports whether the recorder still runs after d, or when hurry has a word.
func (x *indexer) pause(d time.Duration, hurry <-chan struct{}) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-x.r.stopped.Done():
		return false
	case <-hurry:
	case <-t.C:
	}
	return true
}

func (x *indexer) frame(raw []byte) error {
	f, err := Decode(raw)
	if err != nil {
		return err
	}
	if err := x.take(&f); err != nil {
		return err
	}
	if f.Kind == KindUnit { // no unit is removed before the index has said that it was there
		passed := f.NextFrame
		x.pending = append(x.pending, access.IndexEntry{Passed: &passed})
	}
	x.number++
	if len(x.pending) >= maxPending {
		return x.flush()
	}
	return nil
}

// flush gives the index what was read, and counts it as passed.
func (x *indexer) flush() error {
	if len(x.pending) > 0 {
		if err := x.try(func() error { return x.r.o.Index.PutBatch(x.pending) }); err != nil {
			return err
		}
		clear(x.pending)
		x.pending = x.pending[:0]
	}
	x.passed.Store(x.number)
	return nil
}

func (x *indexer) take(f *Frame) error {
	switch f.Kind {
	case KindUnit:
		x.number = f.NextFrame
		x.recent.forget(f.NextOp)
		clear(x.ids)
		clear(x.seen)
	case KindResume:
		x.ids[f.Op] = access.OperationID(f.ID)
	case KindBegin:
		x.ids[f.Op] = access.OperationID(f.ID)
		return x.begin(f)
	case KindEnd:
		id := x.ids[f.Op]
		delete(x.ids, f.Op)
		return x.end(id, f)
	case KindNote:
		if f.Name == NoteCause {
			return x.cause(f)
		}
	}
	return nil
}

// NoteCause is the name of a note that holds an access.Cause, found after its operation began.
const NoteCause = "attribution"

func (x *indexer) cause(f *Frame) error {
	var c access.Cause
	if err := json.Unmarshal(f.Data, &c); err != nil {
		return fmt.Errorf("reading what caused an operation: %w", err)
	}
	x.pending = append(x.pending, access.IndexEntry{Cause: &c})
	return nil
}

func (x *indexer) begin(f *Frame) error {
	record := x.recent.takeBegun(f.Op)
	if record == nil || string(record.Operation.ID) != f.ID {
		var o Opening
		if err := json.Unmarshal(f.Data, &o); err != nil {
			return fmt.Errorf("reading the beginning of operation %s: %w", f.ID, err)
		}
		decoded := o.record()
		record = &decoded
	}
	op := &record.Operation
	s, ok := x.seen[op.Session]
	if !ok {
		s = access.Session{ID: op.Session, Principal: op.Principal, Started: op.Time}
	}
	if op.Time.Sub(s.Last) >= lastStep {
		s.Last = op.Time
		x.pending = append(x.pending, access.IndexEntry{Session: &s})
		x.seen[op.Session] = s
	}
	x.pending = append(x.pending, access.IndexEntry{Record: record})
	return nil
}

// record is what the index is told of an operation when it begins.
func (o *Opening) record() access.Record {
	r := access.Record{Operation: o.Operation, Decision: o.Decision}
	if o.Approval != nil {
		r.Approval = o.Approval.ID
	}
	if o.Refused != nil {
		out := refusedOutcome(o.Refused)
		r.Refused, r.Outcome, r.Approval = o.Refused, &out, o.Refused.Approval
	}
	return r
}

func (x *indexer) end(id access.OperationID, f *Frame) error {
	out := x.recent.takeEnded(f.Op)
	if out == nil {
		var c Closing
		if err := json.Unmarshal(f.Data, &c); err != nil {
			return fmt.Errorf("reading the end of operation %s: %w", id, err)
		}
		out = &c.Outcome
	}
	x.pending = append(x.pending, access.IndexEntry{End: &access.Ended{ID: id, Outcome: *out}})
	return nil
}

// try calls the index until it succeeds or the recorder stops.
func (x *indexer) try(call func() error) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := call()
		if err == nil {
			return nil
		}
		x.r.o.Log.Error("the index refused a record; it is tried again", "error", err, "in", wait)
		if !x.pause(wait, nil) {
			return ErrClosed
		}
	}
}
