package gate

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"gatebook/internal/access"
)

func TestApproved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		r := request("a")
		r.Change = false
		ch := w.admit(t.Context(), r)
		synctest.Wait()
		w.answer(t, w.held(t).ID, ada, true)
		got := <-ch
		if got.err != nil || !got.p.Valid() {
			t.Fatal(got.err)
		}
		end(t, got.p)
		rec := w.one(t, r.Operation).opening
		if rec.Approval == nil || len(rec.Approval.Answers) != 1 || rec.Approval.Answers[0].Approver.Name != "ada" || !rec.Change {
			t.Errorf("recorded %+v", rec)
		}
		again := request("a")
		again.Budget = 0
		_, err := w.Admit(t.Context(), again)
		if why := w.refused(t, again.Operation, err, access.CodeApprovalPending); why.Approval == rec.Approval.ID {
			t.Error("a used approval is asked about again")
		}
	})
}

func TestAnsweredNoOrNotAtAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		r := request("a")
		ch := w.admit(t.Context(), r)
		synctest.Wait()
		id := w.held(t).ID
		w.answer(t, id, ada, false)
		if why := w.refused(t, r.Operation, (<-ch).err, access.CodeApprovalDenied); why.Message != "denied by ada: since" || why.Approval != id {
			t.Errorf("%+v", why)
		}

		r = request("b")
		ch = w.admit(t.Context(), r)
		synctest.Wait()
		id = w.held(t).ID
		got := <-ch // when the client's budget is used up
		why := w.refused(t, r.Operation, got.err, access.CodeApprovalPending)
		if why.Approval != id || !strings.Contains(why.Message+why.Advice, string(id)) {
			t.Errorf("%+v", why)
		}
		w.answer(t, id, ada, true)
		p, err := w.Admit(t.Context(), request("b")) // the same request joins it
		if err != nil {
			t.Fatal(err)
		}
		end(t, p)
	})
}

// I101: a client that has gone is never acted for, and its approval waits for the same request to come again.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		ctx, leave := context.WithCancel(t.Context())
		r := request("a")
		ch := w.admit(ctx, r)
		synctest.Wait()
		id := w.held(t).ID
		leave()
		w.refused(t, r.Operation, (<-ch).err, access.CodeApprovalPending)
		w.answer(t, id, ada, true)
		synctest.Wait()
		if a, err := w.desk.Get(t.Context(), id); err != nil || a.State != access.ApprovalGranted {
			t.Errorf("its approval is %s (%v)", a.State, err)
		}

		// Gone in the moment between the answer and the act: while policy judges again.
		ctx, leave = context.WithCancel(t.Context())
		late := request("a")
		judged := 0
		w.enact(func(op *access.Operation) (access.Decision, []string) {
			if judged++; judged == 2 {
				leave()
			}
			return ruling("one", access.Approve)(op)
		})
		p, err := w.Admit(ctx, late)
		if err == nil || p.Valid() {
			t.Error("acted for a client that is gone")
		}
		if a, err := w.desk.Get(t.Context(), id); err != nil || a.State != access.ApprovalGranted {
			t.Errorf("its approval is %s (%v)", a.State, err)
		}
		p, err = w.Admit(t.Context(), request("a"))
		if err != nil {
			t.Fatal(err)
		}
		end(t, p)
	})
}

// Two that are held for the same question: one yes lets one of them run.
func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, ruling("one", access.Approve))
		one, two := request("a"), request("a")
		ch1, ch2 := w.admit(t.Context(), one), w.admit(t.Context(), two)
		synctest.Wait()
		w.answer(t, w.held(t).ID, ada, true)
		r1, r2 := <-ch1, <-ch2
		if (r1.err == nil) == (r2.err == nil) {
			t.Fatalf("%v and %v", r1.err, r2.err)
		}
		op := one.Operation
		if r1.err == nil {
			op, r1.err = two.Operation, r2.err
		}
		w.refused(t, op, r1.err, access.CodeApprovalExpired)
	})
}

// A policy that changes while a person is asked judges again, whichever way it changed.
func TestPolicyChangesDuringTheHold(t *testing.T) {
	for _, c := range []struct {
		name string
		now  rules
		want access.Code
	}{
		{"to deny", ruling("none", access.Deny), access.CodeDenied},
		{"to another question", ruling("two", access.Approve), access.CodeApprovalPending},
		{"to allow", ruling("all", access.Allow), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := open(t, ruling("one", access.Approve))
				r := request("a")
				ch := w.admit(t.Context(), r)
				synctest.Wait()
				id := w.held(t).ID
				w.enact(c.now)
				w.answer(t, id, ada, true)
				got := <-ch
				if c.want != "" {
					w.refused(t, r.Operation, got.err, c.want)
				} else if got.err != nil || w.one(t, r.Operation).opening.Approval != nil {
					t.Errorf("%v", got.err)
				}
				if a, err := w.desk.Get(t.Context(), id); err != nil || a.State != access.ApprovalGranted {
					t.Errorf("the approval of the old policy is %s (%v)", a.State, err)
				}
			})
		})
	}
}

// What policy looks at is read again when time has passed: it may have changed while a person was asked.
func TestStoredChangesDuringTheHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const field = access.FieldKubernetesStored
		w := open(t, func(op *access.Operation) (access.Decision, []string) {
			if len(op.Fetched) == 0 {
				return access.Decision{}, []string{field}
			}
			if op.Kubernetes.Stored["protected"] == true {
				return ruling("one", access.Deny)(op)
			}
			return ruling("one", access.Approve)(op)
		})
		var protected atomic.Bool
		r := request("a")
		r.Operation.Kubernetes = &access.Kubernetes{Verb: "delete", Resource: "namespaces", Name: "a"}
		r.Complete = func(context.Context, []string) error {
			r.Operation.Kubernetes.Stored = map[string]any{"protected": protected.Load()}
			r.Operation.Fetched = append(r.Operation.Fetched, field)
			return nil
		}
		ch := w.admit(t.Context(), r)
		synctest.Wait()
		protected.Store(true)
		w.answer(t, w.held(t).ID, ada, true)
		w.refused(t, r.Operation, (<-ch).err, access.CodeDenied)
	})
}
