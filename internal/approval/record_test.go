package approval_test

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"gatebook/internal/access"
	"gatebook/internal/approval"
	"gatebook/internal/store"
)

var errDeaf = errors.New("no space left on device")

// Nothing happens to an approval that is not on record before; what could not be recorded has no effect.
func TestRecordedBeforeItHolds(t *testing.T) {
	var deaf error
	var d *desk
	var seen []access.ApprovalState
	d = open(t, approval.Options{MayEnd: func(access.Principal, access.Approval) bool { return true }, Record: func(e approval.Event) error {
		if as, err := d.store.Approvals(t.Context(), access.ApprovalFilter{ID: e.Approval.ID}); err != nil || len(as) == 0 {
			seen = append(seen, "")
		} else {
			seen = append(seen, as[0].State)
		}
		return deaf
	}})
	op, dec := operation("a"), decision(nil)
	id := d.ask(op, dec).ID
	deaf = errDeaf
	_, err := d.Ask(t.Context(), operation("b"), dec, nil)
	want(t, "asking", err, approval.ErrUnrecorded)
	var refusal *access.Refusal
	if !errors.As(err, &refusal) || refusal.Code != access.CodeNotRecorded {
		t.Errorf("asking is refused with %v", err)
	}
	_, err = d.Answer(t.Context(), id, yes(ada))
	want(t, "answering", err, approval.ErrUnrecorded)
	if a, err := d.Get(t.Context(), id); err != nil || a.State != access.ApprovalPending || len(a.Answers) > 0 {
		t.Errorf("an answer that is not on record has made it %s (%v)", a.State, err)
	}
	deaf = nil
	d.answer(id, yes(ada))
	deaf = errDeaf
	want(t, "use", d.use(id, op, dec), approval.ErrUnrecorded)
	if a, err := d.Get(t.Context(), id); err != nil || a.State != access.ApprovalGranted {
		t.Errorf("a use that is not on record has made it %s (%v)", a.State, err)
	}
	deaf = nil
	want(t, "use", d.use(id, op, dec), nil)
	// Each was recorded while it was still as before.
	states := []access.ApprovalState{"", "", access.ApprovalPending, access.ApprovalPending, access.ApprovalGranted, access.ApprovalGranted}
	if !slices.Equal(seen, states) {
		t.Errorf("when recorded, they were %q, want %q", seen, states)
	}
}

// failing is an index that cannot change approvals.
type failing struct{ *store.Store }

func (failing) ReplaceApproval(context.Context, access.Approval, access.Approval, string, access.OperationID, time.Time, ...[]byte) (bool, error) {
	return false, errDeaf
}

// An index that is lost is what it was, from the record: what was used stays used, what was not done is not.
func TestRestore(t *testing.T) {
	var record [][]byte
	d := open(t, approval.Options{MayEnd: func(access.Principal, access.Approval) bool { return true }, Record: func(e approval.Event) error {
		b, err := json.Marshal(e)
		record = append(record, b)
		return err
	}})
	dec := decision(nil)
	ops := []*access.Operation{operation("used"), operation("granted"), operation("denied"), operation("pending"), operation("ended"), operation("task")}
	var ids []access.ApprovalID
	for _, op := range ops {
		ids = append(ids, d.ask(op, dec).ID)
	}
	for i, a := range []access.Answer{yes(ada), yes(ada), {Approver: ada}, {}, yes(ada), {Approver: ada, Yes: true, Scope: access.ScopeSession}} {
		if i != 3 {
			d.answer(ids[i], a)
		}
	}
	want(t, "use", d.use(ids[0], ops[0], dec), nil)
	want(t, "use", d.use(ids[5], ops[5], dec), nil)
	if _, err := d.End(t.Context(), ids[4], bob, "enough"); err != nil {
		t.Fatal(err)
	}
	// A yes that is recorded, and that the index then cannot take.
	before := d.everything()
	o := d.o
	o.Store, o.MayBreakGlass = failing{d.store}, func(access.Principal, access.Approval) bool { return true }
	for _, a := range []access.Answer{yes(ada), {Approver: ada, Yes: true, BreakGlass: true, Reason: "now"}} {
		if _, err := approval.New(o).Answer(t.Context(), ids[3], a); !errors.Is(err, errDeaf) {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Join(t.TempDir(), "index.db"), d.path} { // lost, and still there
		d.path = path
		d.restart()
		for range 2 {
			if err := approval.Restore(t.Context(), d.store, events(t, record)); err != nil {
				t.Fatal(err)
			}
		}
		if after := d.everything(); !slices.Equal(before, after) {
			t.Errorf("restored are\n%s\nand were\n%s", after, before)
		}
		if err := approval.Restore(t.Context(), d.store, events(t, record)[:2*len(ops)-1]); err != nil { // before anything was used or ended
			t.Fatal(err)
		}
		if after := d.everything(); !slices.Equal(before, after) {
			t.Errorf("the beginning of the record takes it back to\n%s\nfrom\n%s", after, before)
		}
		want(t, "use of what was used", d.use(ids[0], again(ops[0]), dec), approval.ErrUsed)
		want(t, "use of what was ended", d.use(ids[4], again(ops[4]), dec), approval.ErrEnded)
		want(t, "the same use for a task", d.use(ids[5], ops[5], dec), approval.ErrUsed)
	}
	want(t, "use of what was granted", d.use(ids[1], ops[1], dec), nil)
}

// everything is all that the index has of approvals.
func (d *desk) everything() (out []string) {
	d.t.Helper()
	as, err := d.store.Approvals(d.t.Context(), access.ApprovalFilter{})
	if err != nil {
		d.t.Fatal(err)
	}
	for _, a := range as {
		b, err := json.Marshal(a)
		if err != nil {
			d.t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return out
}

func events(t *testing.T, record [][]byte) (out []approval.Event) {
	t.Helper()
	for _, b := range record {
		var e approval.Event
		if err := json.Unmarshal(b, &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// The account that was made again under the name of another does not inherit what that one was granted.
func TestAccountMadeAgain(t *testing.T) {
	d := open(t, approval.Options{})
	op, dec := operation("a"), decision(nil)
	op.Principal.Workload.ServiceAccountUID = "uid-1"
	id := d.ask(op, dec).ID
	d.answer(id, access.Answer{Approver: ada, Yes: true, Scope: access.ScopeTime, For: dec.Approval.MaxGrant})
	made := again(op)
	made.Principal.Workload.ServiceAccountUID = "uid-2"
	want(t, "use by the new account", d.use(id, made, dec), approval.ErrBinding)
	if a := d.ask(made, dec); a.ID == id || a.State != access.ApprovalPending {
		t.Errorf("the new account's question is %s, %s", a.ID, a.State)
	}
	want(t, "use by the account", d.use(id, again(op), dec), nil)
}
