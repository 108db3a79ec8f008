package approval

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatebook/internal/access"
)

// Store keeps approvals. Both changes are durable and whole when they return true; they return false, having done
// nothing, where another open approval holds slot, and ReplaceApproval also where the approval is no longer as was or
// use already ran under it. The messages are queued for sending in the same step. at is the time of the change.
type Store interface {
	// CreateApproval also gives false where its principal has most questions open by then.
	CreateApproval(ctx context.Context, a access.Approval, slot string, most int, messages ...[]byte) (bool, error)
	ReplaceApproval(ctx context.Context, was, now access.Approval, slot string, use access.OperationID, at time.Time, messages ...[]byte) (bool, error)
	Approvals(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error)
	CountPending(ctx context.Context, principal string, now time.Time) (int, error)
}

const (
	defaultDenial  = time.Minute
	defaultMaxOpen = 64
	defaultExpires = time.Hour
	defaultValid   = 15 * time.Minute
	attempts       = 8 // to change what others change, too
	sweepEvery     = 10 * time.Second
)

// Options of a Desk. Store is required.
type Options struct {
	Store Store
	Now   func() time.Time
	// MayApprove says who answers questions for which policy names nobody. Nil: nobody.
	MayApprove func(access.Principal, access.Approval) bool
	// MayBreakGlass says who may answer outside of policy's terms. Nil: nobody.
	MayBreakGlass func(access.Principal, access.Approval) bool
	// MayEnd says who, beside those whom policy names as approvers, takes back a yes. Nil: nobody.
	MayEnd func(access.Principal, access.Approval) bool
	// Record keeps each event before it has any effect, in order, one at a time; its error refuses the change. What then
	// could not be done is recorded as Void. Nil: nothing is recorded.
	Record func(Event) error
	// Notify is told of each event once it is on disk, in order, one at a time; it must not change an approval.
	Notify func(Event)
	// Message makes what is sent outside for an event; nil: nothing. It is queued in the same step as the event.
	Message func(Event) []byte
	// Denial is how long a no answers the same request without asking people again. Default: one minute.
	Denial time.Duration
	// MaxOpen bounds the questions that one principal can have open. Default: 64.
	MaxOpen int
	Log     *slog.Logger
}

// Desk is safe for concurrent use.
type Desk struct {
	o    Options
	turn sync.Mutex // one change at a time, so that events are told in order

	mu     sync.Mutex
	held   map[access.ApprovalID]*held
	asking map[string]chan struct{}
}

// New makes a desk.
func New(o Options) *Desk {
	nobody := func(access.Principal, access.Approval) bool { return false }
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MayApprove == nil {
		o.MayApprove = nobody
	}
	if o.MayBreakGlass == nil {
		o.MayBreakGlass = nobody
	}
	if o.MayEnd == nil {
		o.MayEnd = nobody
	}
	if o.Record == nil {
		o.Record = func(Event) error { return nil }
	}
	if o.Notify == nil {
		o.Notify = func(Event) {}
	}
	if o.Message == nil {
		o.Message = func(Event) []byte { return nil }
	}
	if o.Denial <= 0 {
		o.Denial = defaultDenial
	}
	if o.MaxOpen <= 0 {
		o.MaxOpen = defaultMaxOpen
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Desk{o: o, held: map[access.ApprovalID]*held{}, asking: map[string]chan struct{}{}}
}

// Get gives an approval as it stands now.
func (d *Desk) Get(ctx context.Context, id access.ApprovalID) (access.Approval, error) {
	a, err := d.stored(ctx, id)
	if err != nil {
		return a, err
	}
	return d.view(a), nil
}

// List gives the approvals that f selects, newest first, as they stand now; those that lapsed since the last sweep
// are still found under the state they had.
func (d *Desk) List(ctx context.Context, f access.ApprovalFilter) ([]access.Approval, error) {
	out, err := d.o.Store.Approvals(ctx, f)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i] = d.view(out[i])
	}
	return out, nil
}

// Use spends a granted approval: op may run when it returns nil, and only then. It is refused where the approval is
// not granted, has lapsed, is for something else, was asked on other terms, or was used. The error is an
// *access.Refusal around one of this package's.
func (d *Desk) Use(ctx context.Context, id access.ApprovalID, op *access.Operation, dec access.Decision) error {
	_, err := d.change(ctx, id, func(a access.Approval, now time.Time) (step, error) { return use(a, op, dec, now) })
	if err != nil {
		return refusal(id, err)
	}
	return nil
}

// Run expires what lapses, for the record and for those who are notified, until ctx ends. Nothing that has lapsed
// works in the meantime.
func (d *Desk) Run(ctx context.Context) {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		if err := d.Sweep(ctx); err != nil && ctx.Err() == nil {
			d.o.Log.Error("approvals that lapsed could not be expired", "error", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// Sweep expires what has lapsed by now.
func (d *Desk) Sweep(ctx context.Context) error {
	for {
		due, err := d.o.Store.Approvals(ctx, access.ApprovalFilter{Due: d.now(), Brief: true})
		if err != nil || len(due) == 0 {
			return err
		}
		for _, a := range due {
			if err := d.expire(ctx, a.ID); err != nil {
				return err
			}
		}
	}
}

// expire expires an approval that has lapsed; of any other it leaves the state alone.
func (d *Desk) expire(ctx context.Context, id access.ApprovalID) error {
	_, err := d.change(ctx, id, func(a access.Approval, now time.Time) (step, error) {
		if !lapsed(a, now) {
			return step{was: a, now: a}, nil
		}
		return expire(a, now, nil), nil
	})
	return err
}

// change records one move of an approval, makes it durable, and then tells of it.
func (d *Desk) change(ctx context.Context, id access.ApprovalID, move func(a access.Approval, now time.Time) (step, error)) (access.Approval, error) {
	d.turn.Lock()
	defer d.turn.Unlock()
	var s step
	for range attempts {
		a, err := d.stored(ctx, id)
		if err != nil {
			return a, err
		}
		now := d.now()
		s, err = move(a, now)
		if err != nil || len(s.events) == 0 {
			return d.view(a), err
		}
		name, err := slot(s.now)
		if err != nil {
			return a, err
		}
		ok, err := d.recorded(s.events, func() (bool, error) {
			return d.o.Store.ReplaceApproval(ctx, s.was, s.now, name, s.use, now, d.messages(s.events)...)
		})
		if err != nil {
			return a, err
		}
		if ok {
			d.tell(s.events)
			return d.view(s.now), s.err
		}
	}
	if s.use != "" { // a grant that nobody else changes, and that this operation cannot use: it has already
		return access.Approval{}, ErrUsed
	}
	return access.Approval{}, errors.New("changing approval: others keep changing it")
}

// recorded records events and then does what they tell of. Where that is not done, the record says so. d.turn is held.
func (d *Desk) recorded(events []Event, do func() (bool, error)) (bool, error) {
	for i, e := range events {
		if err := d.o.Record(e); err != nil {
			if i > 0 { // what is on record of this change is not done
				d.void(e)
			}
			return false, fmt.Errorf("%w: %w", ErrUnrecorded, err)
		}
	}
	ok, err := do()
	if err != nil || !ok {
		d.void(events[0])
	}
	return ok, err
}

func (d *Desk) void(e Event) {
	if err := d.o.Record(Event{Kind: Void, Approval: access.Approval{ID: e.Approval.ID, Operation: access.Operation{Session: e.Approval.Operation.Session}}, Time: e.Time}); err != nil {
		d.o.Log.Error("an approval's change was recorded and not done, and that could not be recorded", "approval", e.Approval.ID, "kind", e.Kind, "error", err)
	}
}

// now has no monotonic part, so that what is stored reads back the same.
func (d *Desk) now() time.Time { return d.o.Now().UTC().Round(0) }

// tell wakes who waits for an approval, and notifies.
func (d *Desk) tell(events []Event) {
	for _, e := range events {
		d.wake(e.Approval.ID)
		d.o.Notify(e)
	}
}

func (d *Desk) messages(events []Event) [][]byte {
	var out [][]byte
	for _, e := range events {
		if m := d.o.Message(e); m != nil {
			out = append(out, m)
		}
	}
	return out
}

func (d *Desk) stored(ctx context.Context, id access.ApprovalID) (access.Approval, error) {
	if id == "" {
		return access.Approval{}, ErrNotFound
	}
	as, err := d.o.Store.Approvals(ctx, access.ApprovalFilter{ID: id, Limit: 1})
	if err != nil {
		return access.Approval{}, err
	}
	if len(as) == 0 {
		return access.Approval{}, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	return as[0], nil
}

// view is an approval as it stands now, whatever was last written down.
func (d *Desk) view(a access.Approval) access.Approval {
	if lapsed(a, d.now()) {
		a.State = access.ApprovalExpired
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.held[a.ID]
	a.Waiting = h != nil && h.clients > 0
	return a
}
