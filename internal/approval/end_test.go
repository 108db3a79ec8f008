package approval_test

import (
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/approval"
)

// A grant that is ended lets nothing run any more, also after a restart; a new one can be asked for.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := open(t, approval.Options{MayEnd: func(p access.Principal, _ access.Approval) bool { return p.Name == bob.Name }})
		op, dec := operation("a"), decision(nil)
		id := d.ask(op, dec).ID
		end := func(who access.Principal, why string) error {
			_, err := d.End(t.Context(), id, who, why)
			return err
		}
		want(t, "ending a question", end(bob, "why"), approval.ErrNotGranted)
		d.answer(id, access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: time.Hour})
		want(t, "use", d.use(id, op, dec), nil)
		want(t, "by who may not", end(ada, "why"), approval.ErrNotAllowed)
		want(t, "by the agent", end(agent, "why"), approval.ErrNotAllowed)
		want(t, "by nobody", end(access.Principal{}, "why"), approval.ErrNotAllowed)
		want(t, "without a reason", end(bob, " "), approval.ErrInvalid)
		want(t, "use", d.use(id, again(op), dec), nil)
		want(t, "ending", end(bob, "the task is done"), nil)
		want(t, "use after the end", d.use(id, again(op), dec), approval.ErrEnded)
		want(t, "ending twice", end(bob, "why"), approval.ErrNotGranted)
		d.restart()
		want(t, "use after a restart", d.use(id, again(op), dec), approval.ErrEnded)
		a, err := d.Get(t.Context(), id)
		if err != nil || a.State != access.ApprovalEnded || len(a.Answers) != 2 || a.Answers[1].Approver.Name != bob.Name || a.Answers[1].Reason != "the task is done" {
			t.Errorf("%s %+v (%v)", a.State, a.Answers, err)
		}
		if b := d.ask(again(op), dec); b.ID == id || b.State != access.ApprovalPending {
			t.Errorf("the same request gives %s, %s", b.ID, b.State)
		}
		if k := d.kinds(); k[len(k)-2] != approval.Ended || d.events[len(k)-2].Answer.Approver.Name != bob.Name {
			t.Errorf("told: %v", k)
		}
	})
}

// Who policy names as an approver ends without a role.
func TestEndByWhomPolicyNames(t *testing.T) {
	d := open(t, approval.Options{})
	id := d.ask(operation("a"), decision(func(a *access.ApprovalTerms) { a.Users = []string{ada.Name} })).ID
	d.answer(id, yes(ada))
	if a, err := d.End(t.Context(), id, ada, "I was wrong"); err != nil || a.State != access.ApprovalEnded {
		t.Errorf("%s %v", a.State, err)
	}
}
