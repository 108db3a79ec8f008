package gate

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gatebook/internal/access"
)

// pair is two operations of which both run or none: a is decided by policy one, b by policy two.
type pair struct {
	stages [2]chan struct{}
	failed chan struct{}
	n      [2]atomic.Int32
}

func (p *pair) together(ctx context.Context, s Stage) error {
	if p.n[s].Add(1) == 2 {
		close(p.stages[s])
	}
	select {
	case <-p.stages[s]:
		return nil
	case <-p.failed:
		return access.Refuse(access.CodeDenied, nil, "the other was refused")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newPair() *pair {
	return &pair{stages: [2]chan struct{}{make(chan struct{}), make(chan struct{})}, failed: make(chan struct{})}
}

// byCommand decides by what the operation is called.
func byCommand(byWhat map[string]rules) rules {
	return func(op *access.Operation) (access.Decision, []string) { return byWhat[op.Command](op) }
}

// Where one of two is denied, nobody is asked about the other, and it does not run.
func TestTogetherNobodyIsAskedInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, byCommand(map[string]rules{"a": ruling("one", access.Approve), "b": ruling("two", access.Deny)}))
		p := newPair()
		a, b := request("a"), request("b")
		a.Operation.Command, b.Operation.Command = "a", "b"
		a.Together, b.Together = p.together, p.together
		ch := w.admit(t.Context(), a)
		synctest.Wait()
		_, err := w.Admit(t.Context(), b)
		w.refused(t, b.Operation, err, access.CodeDenied)
		close(p.failed)
		w.refused(t, a.Operation, (<-ch).err, access.CodeDenied)
		list, err := w.desk.List(t.Context(), access.ApprovalFilter{})
		if err != nil || len(list) != 0 {
			t.Errorf("asked: %+v %v", list, err)
		}
	})
}

// A yes is used up only when both may run.
func TestTogetherAYesIsNotUsedUpAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		p := newPair()
		a, b := request("a"), request("b")
		a.Together, b.Together = p.together, p.together
		var held access.ApprovalID
		a.Held = func(x access.Approval, _ context.CancelCauseFunc) { held = x.ID }
		cha, chb := w.admit(t.Context(), a), w.admit(t.Context(), b)
		synctest.Wait()
		list, err := w.desk.List(t.Context(), access.ApprovalFilter{})
		if err != nil || len(list) != 2 || held == "" {
			t.Fatalf("asked: %+v %v, held for %q", list, err, held)
		}
		for _, x := range list {
			w.answer(t, x.ID, ada, x.ID == held)
		}
		w.refused(t, b.Operation, (<-chb).err, access.CodeApprovalDenied)
		close(p.failed)
		w.refused(t, a.Operation, (<-cha).err, access.CodeDenied)
		if x, err := w.desk.Get(t.Context(), held); err != nil || x.State != access.ApprovalGranted {
			t.Errorf("the yes is %s, %v", x.State, err)
		}
	})
}
