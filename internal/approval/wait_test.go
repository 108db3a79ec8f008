package approval_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/approval"
)

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		dec := decision(nil)
		waiting := func(id access.ApprovalID, want bool) {
			t.Helper()
			synctest.Wait()
			as, err := d.List(t.Context(), access.ApprovalFilter{ID: id})
			if err != nil || len(as) != 1 || as[0].Waiting != want {
				t.Errorf("%d approvals (%v), waiting is not %v", len(as), err, want)
			}
		}
		type result struct {
			a   access.Approval
			err error
		}
		wait := func(ctx context.Context, id access.ApprovalID) <-chan result {
			ch := make(chan result, 1)
			go func() { a, err := d.Wait(ctx, id); ch <- result{a, err} }()
			return ch
		}
		op := operation("a")
		id := d.ask(op, dec).ID
		waiting(id, false)
		first := wait(t.Context(), id)
		ctx, cancel := context.WithCancel(t.Context())
		gone := wait(ctx, id)
		waiting(id, true)
		cancel()
		if r := <-gone; !errors.Is(r.err, context.Canceled) || r.a.State != access.ApprovalPending {
			t.Errorf("a client that has gone: %v %v", r.a.State, r.err)
		}
		waiting(id, true)
		d.answer(id, yes(ada))
		if r := <-first; r.err != nil || r.a.State != access.ApprovalGranted {
			t.Errorf("answered: %v %v", r.a.State, r.err)
		}
		waiting(id, false)

		lapsing := d.ask(operation("b"), dec).ID
		ch := wait(t.Context(), lapsing)
		if r := <-ch; r.err != nil || r.a.State != access.ApprovalExpired || !time.Now().Equal(r.a.Expires) {
			t.Errorf("expired: %v %v at %v", r.a.State, r.err, time.Now())
		}
		if a, err := d.store.Approvals(t.Context(), access.ApprovalFilter{ID: lapsing}); err != nil || a[0].State != access.ApprovalExpired {
			t.Error("its expiry is not on record")
		}
		if _, err := d.Wait(t.Context(), "nothing"); !errors.Is(err, approval.ErrNotFound) {
			t.Error(err)
		}
	})
}

// I101: the client dies while held, then the yes comes: nothing runs; the same request sent again uses it, once.
func TestClientGoneGrantWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{})
		op, dec := operation("a"), decision(nil)
		id := d.ask(op, dec).ID
		ctx, die := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { _, err := d.Wait(ctx, id); done <- err }()
		synctest.Wait()
		die()
		if err := <-done; err == nil {
			t.Fatal("a dead client's wait succeeded")
		}
		d.answer(id, yes(ada))
		synctest.Wait()
		if uses, err := d.store.ApprovalUses(t.Context(), id); err != nil || len(uses) != 0 {
			t.Fatalf("it ran: %v %v", uses, err)
		}
		d.restart()
		op2 := again(op)
		if a := d.ask(op2, dec); a.ID != id || a.State != access.ApprovalGranted || a.Waiting {
			t.Fatalf("%v %v", a.ID == id, a.State)
		}
		if err := d.use(id, op2, dec); err != nil {
			t.Error(err)
		}
		want(t, "third time", d.use(id, again(op), dec), approval.ErrUsed)
	})
}
