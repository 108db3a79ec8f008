package recording

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/archive"
	"gatebook/internal/journal"
)

// Recorder is the book of one gateway. It is safe for concurrent use.
type Recorder struct {
	o       Options
	journal *journal.Journal
	now     func() time.Time
	// own is the session of notes that belong to none, and of operations refused before a session was known.
	own access.SessionID

	batches batches
	open    openSet
	recent  recent

	// mu is read-locked while frames are appended, and locked while a new unit begins: so what a unit's first frames
	// carry over is what the unit before it holds.
	mu sync.RWMutex
	numbers
	closed bool

	units   units
	sealer  *sealer
	indexer *indexer

	stopped context.Context // ends when the recorder does
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// numbers are given out under the recorder's read lock and are exact under its write lock.
type numbers struct {
	nextOp    atomic.Uint64
	nextFrame atomic.Uint64
	unitBytes atomic.Int64
	unitUsed  atomic.Int64 // when the unit in use was first used, in Unix nanoseconds; 0: not yet
}

// ErrClosed is returned after Close.
var ErrClosed = errors.New("the recorder is closed")

// Open recovers what an earlier process left: operations without an end are ended as truncated, and what was not sealed
// is. Then it begins a new unit of the journal. The journal, ledger and archive stay the caller's to close, after Close.
func Open(o Options) (*Recorder, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("opening the recorder: %w", err)
	}
	r := &Recorder{o: o, journal: o.Journal, now: o.Now, own: access.SessionID(access.NewID(o.Now()))}
	r.open.running, r.open.abandoned = map[uint64]*Operation{}, map[uint64]*abandoned{}
	r.stopped, r.stop = context.WithCancel(context.Background())
	var err error
	if r.sealer, err = openSealer(r); err != nil {
		return nil, fmt.Errorf("opening the recorder: %w", err)
	}
	if err := r.recover(); err != nil {
		return nil, fmt.Errorf("recovering the journal: %w", err)
	}
	if o.Index != nil {
		r.indexer = newIndexer(r)
		r.done.Go(r.indexer.run)
	}
	if o.SealAge > 0 {
		r.done.Go(r.sealInBackground)
	}
	return r, nil
}

// Close ends what is open as truncated, seals everything, and stops. After it, every call is ErrClosed. What could not
// be sealed is, after the next Open.
func (r *Recorder) Close() error {
	for _, o := range r.open.live() {
		out := access.Outcome{ExitCode: -1, Truncated: stopped, Duration: o.delta()}
		if err := o.End(out); err != nil && !errors.Is(err, ErrEnded) {
			r.o.Log.Error("ending an operation at shutdown", "operation", o.tally.leaf.Operation, "error", err)
		}
	}
	err := r.Seal()
	r.halt()
	return err
}

// halt stops the background work and refuses all that comes.
func (r *Recorder) halt() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
	r.done.Wait()
}

// level is how durable a frame has to be.
func (r *Recorder) level(change bool) journal.Level {
	if r.o.Durability == Paranoid || change && r.o.Durability == Power {
		return journal.Synced
	}
	return journal.Written
}

// appendLocked journals a batch's frames as one group. The recorder's read lock, or its lock, is held.
func (r *Recorder) appendLocked(level journal.Level, g *batch) error {
	if r.closed {
		return ErrClosed
	}
	frames := g.group()
	if err := r.journal.Append(level, frames...); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	r.nextFrame.Add(uint64(len(frames)))
	if r.unitUsed.Load() == 0 {
		r.unitUsed.CompareAndSwap(0, r.now().UnixNano())
	}
	if r.unitBytes.Add(int64(len(g.arena))) >= r.o.SealBytes {
		r.sealer.wake()
	}
	return nil
}

func (r *Recorder) append(level journal.Level, g *batch) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.appendLocked(level, g)
}

func (r *Recorder) wakeIndex() {
	if r.indexer != nil {
		r.indexer.wake()
	}
}

// Begin records an operation that is about to run: the operation, its decision and approval (nil: none was needed) and
// its whole request payload (nil: none). When it returns a nil error all of that is in the journal, on disk where change
// is set and durability asks for it, and only then may a byte go upstream. The caller must End what it gets. The
// operation is not retained.
func (r *Recorder) Begin(op *access.Operation, d access.Decision, approval *access.Approval, payload io.Reader, change bool) (*Operation, error) {
	g := r.batches.get()
	defer r.batches.put(g)
	opening := Opening{Operation: *op, Decision: d, Approval: approval, Change: change}
	o, err := r.begin(g, &opening)
	if err != nil {
		return nil, fmt.Errorf("recording operation %s: %w", op.ID, err)
	}
	o.mu.Lock()
	err = o.record(g, payload)
	o.mu.Unlock()
	if err == nil {
		r.wakeIndex()
		return o, nil
	}
	out := access.Outcome{ExitCode: -1, Truncated: "the request could not be recorded whole: " + err.Error(), Duration: o.delta()}
	if r.open.has(o.number) {
		err = errors.Join(err, o.End(out))
	}
	return nil, err
}

// begin checks the operation, gives it a number and adds its first frame to the batch.
func (r *Recorder) begin(g *batch, opening *Opening) (*Operation, error) {
	op := &opening.Operation
	if err := archive.CheckSession(string(op.Session)); err != nil {
		return nil, err
	}
	if op.ID == "" || len(op.ID) > maxText {
		return nil, fmt.Errorf("an operation id of %d characters: want 1 to %d", len(op.ID), maxText)
	}
	began := r.now()
	if op.Time.IsZero() {
		op.Time = began
	}
	o := &Operation{r: r, number: r.nextOp.Add(1) - 1, change: opening.Change, began: began, tally: newTally(opening, began)}
	frame, err := opening.append(appendBegin(g.arena, o.number, op.Session, op.ID, began, nil))
	if err != nil {
		return nil, err
	}
	if r.o.Index != nil {
		r.recent.begin(o.number, opening, frame[len(g.arena):])
	}
	g.arena = frame
	g.end()
	return o, nil
}

// Refused records an operation that did not run, with its decision and why, as one record. It is never begun.
// An operation without a session is recorded in the gateway's own.
func (r *Recorder) Refused(op *access.Operation, d access.Decision, why *access.Refusal) error {
	g := r.batches.get()
	defer r.batches.put(g)
	refused := access.Refused{Code: why.Code, Message: why.Message, Advice: why.Advice, Approval: why.Approval}
	opening := Opening{Operation: *op, Decision: d, Refused: &refused}
	if op.Session == "" {
		opening.Operation.Session = r.own
	}
	if op.ID == "" {
		opening.Operation.ID = access.OperationID(access.NewID(r.now()))
	}
	o, err := r.begin(g, &opening)
	if err != nil {
		return fmt.Errorf("recording a refusal: %w", err)
	}
	begin, err := Decode(g.arena)
	if err != nil {
		return err
	}
	o.tally.addDecoded(g.arena, &begin)
	closing := Closing{Outcome: refusedOutcome(&refused)}
	if err := o.tally.appendEnd(g, o.number, 0, &closing); err != nil {
		return err
	}
	if err := r.append(r.level(false), g); err != nil {
		return err
	}
	r.wakeIndex()
	return nil
}

// refusedOutcome is that of every operation that did not run.
func refusedOutcome(r *access.Refused) access.Outcome {
	return access.Outcome{ExitCode: -1, Message: r.Message}
}

// Note records something that belongs to a session (empty: to the gateway itself) but to no operation: an approval
// asked or answered, a revocation, a login, a read of a recording. v is kept as JSON. It is as durable as a change.
func (r *Recorder) Note(session, kind string, v any) error {
	if session == "" {
		session = string(r.own)
	}
	if err := archive.CheckSession(session); err != nil {
		return fmt.Errorf("recording a note: %w", err)
	}
	if len(kind) > maxText {
		return fmt.Errorf("recording a note: a kind of %d bytes, at most %d can be", len(kind), maxText)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("recording a note: %w", err)
	}
	g := r.batches.get()
	defer r.batches.put(g)
	at := r.now().UTC()
	g.arena = appendNote(g.arena, access.SessionID(session), at, kind, data)
	g.end()
	leaf := Leaf{Type: LeafNote, Session: access.SessionID(session), Kind: kind, Time: at, Frames: 1}
	t := tally{sum: sha256.New()}
	t.hash(t.sum, g.arena)
	leaf.Digest = t.digest()
	g.arena = leaf.append(appendLeaf(g.arena, leaf.Session, nil))
	g.end()
	return r.append(r.level(true), g)
}
