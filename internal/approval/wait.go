package approval

import (
	"context"
	"time"

	"gatebook/internal/access"
)

// held counts the clients that are held for an approval.
type held struct {
	clients int
	changed chan struct{} // closed at each change
}

// Wait gives the approval when it is answered or has expired. Where ctx ends first it gives ctx's error, with the
// approval as it was last seen; the approval stays as it is, and waits for the same request to come again.
func (d *Desk) Wait(ctx context.Context, id access.ApprovalID) (access.Approval, error) {
	a, err := d.wait(ctx, id)
	return d.view(a), err
}

func (d *Desk) wait(ctx context.Context, id access.ApprovalID) (a access.Approval, err error) {
	h := d.hold(id)
	defer d.release(id, h)
	for {
		changed := d.changed(h)
		if a, err = d.stored(ctx, id); err != nil || a.State != access.ApprovalPending {
			return a, err
		}
		left := a.Expires.Sub(d.now())
		if left <= 0 {
			return a, d.expire(ctx, id) // the caller's view of it is that it has expired, or what it became meanwhile
		}
		if err := until(ctx, changed, left); err != nil {
			return a, err
		}
	}
}

// until returns at a change, when the time is up, or with the error of ctx.
func until(ctx context.Context, changed <-chan struct{}, left time.Duration) error {
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

func (d *Desk) hold(id access.ApprovalID) *held {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := d.held[id]
	if h == nil {
		h = &held{changed: make(chan struct{})}
		d.held[id] = h
	}
	h.clients++
	return h
}

func (d *Desk) release(id access.ApprovalID, h *held) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h.clients--; h.clients == 0 {
		delete(d.held, id)
	}
}

func (d *Desk) changed(h *held) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return h.changed
}

func (d *Desk) wake(id access.ApprovalID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if h := d.held[id]; h != nil {
		close(h.changed)
		h.changed = make(chan struct{})
	}
}
