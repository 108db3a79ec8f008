package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"gatebook/internal/access"
)

// Only what ended before goes, in small steps, and with all that belongs to it.
func TestPrune(t *testing.T) {
	s := fresh(t)
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	before := at.Add(12 * time.Hour)
	op := func(i int, session string, when time.Time, out *access.Outcome) access.IndexEntry {
		p := access.Principal{Issuer: "i", Subject: "s", Name: "agent"}
		return access.IndexEntry{Record: &access.Record{Operation: access.Operation{ID: access.OperationID(fmt.Sprint("op", i)), Session: access.SessionID(session),
			Time: when, Principal: p, Target: access.Target{Name: "t"}, Command: "kubectl get pods"}, Outcome: out}}
	}
	entries := []access.IndexEntry{
		op(1, "old", at, &access.Outcome{}), op(2, "old", at.Add(time.Minute), &access.Outcome{}), op(3, "old", at.Add(time.Hour), &access.Outcome{}),
		op(4, "runs", at, nil),
		op(5, "long", at, &access.Outcome{Duration: 13 * time.Hour}),
		op(6, "new", before, &access.Outcome{}),
	}
	if err := s.PutBatch(entries); err != nil {
		t.Fatal(err)
	}
	approval := func(created, until time.Time, state access.ApprovalState, slot string) access.ApprovalID {
		a := access.Approval{ID: access.ApprovalID(access.NewID(created)), State: access.ApprovalPending, Created: created, Expires: created.Add(time.Hour)}
		if ok, err := s.CreateApproval(t.Context(), a, slot, 9, []byte("notice")); !ok || err != nil {
			t.Fatal(ok, err)
		}
		now := a
		now.State, now.ValidUntil, now.Answers = state, until, []access.Answer{{Yes: true}}
		if ok, err := s.ReplaceApproval(t.Context(), a, now, map[bool]string{true: slot}[state == access.ApprovalGranted], "op1", created); !ok || err != nil {
			t.Fatal(ok, err)
		}
		return a.ID
	}
	gone := approval(at, at.Add(2*time.Hour), access.ApprovalUsed, "1")
	kept := []access.ApprovalID{approval(at.Add(time.Second), at.Add(24*time.Hour), access.ApprovalUsed, "2"),
		approval(at.Add(time.Minute), at.Add(2*time.Hour), access.ApprovalGranted, "3")}
	for id, until := range map[string]time.Time{"lapsed": at, "lasts": at.Add(24 * time.Hour), "for good": {}} {
		if err := s.PutRevocation(t.Context(), access.Revocation{ID: id, Subject: "i|x", Until: until}); err != nil {
			t.Fatal(err)
		}
	}
	for what, want := range map[Prunable]int{Operations: 3, Sessions: 0, Approvals: 1, Revocations: 1, Notices: 3} {
		if n, err := s.CountPrunable(t.Context(), what, before); n != want || err != nil {
			t.Errorf("%d %s can be pruned (%v), want %d", n, what, err, want)
		}
	}
	for _, step := range []int{2, 1, 0} {
		if n, err := s.Prune(t.Context(), Operations, before, 2); n != step || err != nil {
			t.Errorf("%d operations were pruned (%v), want %d", n, err, step)
		}
	}
	for _, what := range []Prunable{Sessions, Approvals, Revocations, Notices} {
		if _, err := s.Prune(t.Context(), what, before, 10); err != nil {
			t.Error(err)
		}
	}
	left, _, err := s.Search(t.Context(), OperationFilter{Text: "kubectl"})
	var ids []access.OperationID
	for _, r := range left {
		ids = append(ids, r.Operation.ID)
	}
	slices.Sort(ids)
	if err != nil || !slices.Equal(ids, []access.OperationID{"op4", "op5", "op6"}) {
		t.Errorf("found are %v (%v)", ids, err)
	}
	sessions, _, err := s.Sessions(t.Context(), SessionFilter{})
	if err != nil || len(sessions) != 3 || slices.ContainsFunc(sessions, func(x access.SessionSummary) bool { return x.ID == "old" }) {
		t.Errorf("%+v (%v)", sessions, err)
	}
	as, err := s.Approvals(t.Context(), access.ApprovalFilter{})
	if err != nil || len(as) != 2 || as[0].ID != kept[1] || as[1].ID != kept[0] {
		t.Errorf("%+v (%v)", as, err)
	}
	if uses, err := s.ApprovalUses(t.Context(), gone); err != nil || len(uses) > 0 {
		t.Errorf("uses of what is gone: %v %v", uses, err)
	}
	rs, err := s.Revocations(t.Context(), at)
	if err != nil || len(rs) != 2 {
		t.Errorf("%+v (%v)", rs, err)
	}
	var rest int
	err = s.read.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM revocations) + (SELECT count(*) FROM answers) + (SELECT count(*) FROM messages) +
		(SELECT count(*) FROM operations_text) + (SELECT count(*) FROM session_targets)`).Scan(&rest)
	if want := 2 + 2 + 0 + 3 + 3; err != nil || rest != want {
		t.Errorf("%d rows are left (%v), want %d", rest, err, want)
	}
}

// BenchmarkPrune removes old operations step by step, as the janitor does, from an index of 20,000.
func BenchmarkPrune(b *testing.B) {
	s := fresh(b)
	at := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	p := access.Principal{Issuer: "i", Subject: "s", Name: "agent"}
	n := 0
	fill := func() {
		for range 20 {
			var entries []access.IndexEntry
			for range 1000 {
				n++
				entries = append(entries, access.IndexEntry{Record: &access.Record{Outcome: &access.Outcome{Code: 200}, Operation: access.Operation{
					ID: access.OperationID(access.NewID(at)), Session: "s", Time: at.Add(time.Duration(n)), Principal: p, Target: access.Target{Name: "t"},
					Command: fmt.Sprint("kubectl get pod web-", n), Kubernetes: &access.Kubernetes{Verb: "get", Resource: "pods", Namespace: "web", Name: fmt.Sprint("web-", n)}}}})
			}
			if err := s.PutBatch(entries); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		done, err := s.Prune(b.Context(), Operations, at.Add(time.Hour), 200)
		if err != nil {
			b.Fatal(err)
		}
		if done == 0 {
			b.StopTimer()
			fill()
			b.StartTimer()
		}
	}
}
